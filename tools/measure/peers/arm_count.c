/* A plugin for qemu-user that counts the instructions between two marks.

   The program under emulation marks by asking for the process group of a process that cannot exist
   (system call 155 on ARM): every mark prints what ran since the one before and starts again. Built
   by tools/measure/peers/arm.py. The functions are those of qemu-plugin.h, API version 1. */

#include <inttypes.h>
#include <stdio.h>

#define MARK 0x7ffffff1
#define GETPGID 155

enum { ADD_U64 = 0 };
typedef uint64_t plugin_id;

extern size_t qemu_plugin_tb_n_insns(const void *block);
extern void qemu_plugin_register_vcpu_tb_exec_inline(void *block, int operation, void *counter,
                                                     uint64_t value);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id,
                                                  void (*callback)(plugin_id, void *));
extern void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id id, void (*callback)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t,
                                   uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));

int qemu_plugin_version = 1;
static uint64_t counted;

static void on_block(plugin_id id, void *block) {
  qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &counted,
                                           qemu_plugin_tb_n_insns(block));
}

static void on_call(plugin_id id, unsigned cpu, int64_t number, uint64_t first, uint64_t b,
                    uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
  if (number == GETPGID && first == MARK) {
    fprintf(stderr, "counted %" PRIu64 "\n", counted);
    counted = 0;
  }
}

int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments) {
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
  qemu_plugin_register_vcpu_syscall_cb(id, on_call);
  return 0;
}
