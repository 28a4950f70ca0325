// The model's own thread: opens it, enhances a track just ahead of the playhead, measures itself.

const memories = []; // of WebAssembly, so that their size can be told; seen before the runtime loads
globalThis.WebAssembly.Memory = new Proxy(WebAssembly.Memory, {
  construct(Memory, [options]) {
    const memory = new Memory(options);
    if (options.initial) memories.push(memory);
    return memory;
  },
});
const ort = await import("./vendor/ort.wasm.bundle.min.mjs");
const { FrameEngine, Model, lagOf } = await import("./stream.mjs");

const LEAD_S = 4; // how far the enhanced signal runs ahead of the playhead
const MOST_LEAD_S = 10; // where the device is slower than the music; the ring holds 12 s
const LOSSY_LEAD_S = 11;
const LEAST_S = 1; // is there before the sound begins
const RUN_UP_S = 0.5; // before the place that was asked for, so that the network has heard something
const SKIP_S = 0.5; // where it was too late, it goes on so far ahead
const BLOCK = 8; // hops in one call of the model and in one message
const MARGIN = 1.2; // a device this much faster than the music is fast enough
// The warm-up lasts until the browser has compiled what is slow at first.
const BENCHMARK = { seconds: 10, budgetMs: 8000, fewest: 60, warmUp: 100, kernels: 7 };

const player = { epoch: -1, at: 0, position: 0, track: null, original: null, model: null, port: null };
const models = new Map(); // opened, by address
let wake = () => {};

// ---------------------------------------------------------------- files

// The bytes of a file; progress is told in bytes.
async function download({ url, bytes, title }) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${title} could not be loaded (${answer.status})`);
  const parts = [];
  let loaded = 0;
  for (const reader = answer.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    postMessage({ loading: title, loaded: (loaded += value.length), bytes });
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function unzip(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes; // the server did it
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function open({ runtime, file }) {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary ??= await unzip(await download(runtime));
  const bytes = await download(file);
  const began = performance.now();
  const model = await Model.open(ort, bytes);
  model.reset(1);
  await model.step(model.feeds.spectrum.data);
  return Object.assign(model, { startupS: (performance.now() - began) / 1000 });
}

// ---------------------------------------------------------------- playing

// A turn of the event loop, so that messages come in; setTimeout would wait 4 ms.
const turns = new MessageChannel();
const turn = () => new Promise((go) => {
  turns.port1.onmessage = go;
  turns.port2.postMessage(0);
});

// So many samples from there on, silence where there are none.
function cut(samples, start, length) {
  const out = new Float32Array(length);
  const skip = Math.max(0, -start);
  out.set(samples.subarray(Math.max(0, start), Math.max(0, start + length)).subarray(0, length), skip);
  return out;
}

// One journey along the track from where it was asked to begin.
class Run {
  constructor(at, channels) {
    const { model, facts, track } = player;
    Object.assign(this, { track, rate: facts.sample_rate, hop: facts.hop_length });
    this.from = this.done = at;
    this.samples = track[0].length;
    this.engine = new FrameEngine(model, facts.frame_length, channels);
    this.frame = Math.max(0, Math.floor((at - RUN_UP_S * this.rate) / this.hop));
    this.mid = channels < track.length;
    this.busyMs = this.hops = 0;
  }

  get speed() { // seconds of work for a second of music
    if (this.hops < 50) return player.model.speeds?.[this.engine.channels] ?? 0;
    return this.busyMs / 1000 / ((this.hops * this.hop) / this.rate);
  }

  // Too late: leave out what cannot be done in time. What the network remembers stays.
  skip(at) {
    this.done = Math.min(this.samples, at);
    this.frame = Math.floor(this.done / this.hop);
  }

  read(start, length, from = this.track) {
    return from.map((samples) => cut(samples, start, length));
  }

  // The next hops, cut to what was asked for; nothing during the run-up.
  async block() {
    const began = performance.now();
    const at = (this.frame - 1) * this.hop;
    const waves = this.read(at, (BLOCK + 1) * this.hop);
    let final;
    if (!this.mid) final = await this.engine.step(waves);
    else { // the middle of the stereo image is enhanced, the sides stay as they are
      const middle = waves[0].map((left, i) => (left + waves[1][i]) / 2);
      const [better] = await this.engine.step([middle]);
      final = waves.map((side) => better.map((value, i) => value + side[i] - middle[i]));
    }
    this.frame += BLOCK;
    this.busyMs += performance.now() - began;
    this.hops += BLOCK;
    const stop = Math.min(this.samples, at + BLOCK * this.hop);
    if (stop <= this.done) return null;
    const block = final.map((samples) => samples.slice(this.done - at, stop - at));
    this.done = stop;
    return block;
  }
}

// Both channels, or one for a slow device: measured on a moment of noise, once for each model.
async function affordable(wanted) {
  const { model, facts } = player;
  model.speeds ??= {};
  for (let channels = wanted; ; channels--) {
    model.speeds[channels] ??= await speedOf(model, facts, channels);
    if (channels === 1 || model.speeds[channels] * MARGIN < 1) return channels;
  }
}

async function speedOf(model, facts, channels) {
  const wanted = { warmUp: 15, calls: 8, budgetMs: 1000, fewest: 3, hops: BLOCK };
  return realTimeFactor(await timeCalls(model, facts, channels, wanted), facts, BLOCK);
}

function post(kind, at, channels, need) {
  const { epoch, port } = player;
  port.postMessage({ kind, epoch, at, channels, need }, channels.map((samples) => samples.buffer));
}

async function serve() {
  let run = null;
  let lossyEnd = 0;
  let original = null;
  let originalEnd = 0;
  let epoch = -1;
  for (;;) {
    if (!player.port || !player.track || !player.model || player.epoch < 0) {
      await new Promise((go) => (wake = go));
      continue;
    }
    if (epoch !== player.epoch) {
      const channels = player.forced ?? await affordable(player.track.length);
      epoch = player.epoch;
      player.position = lossyEnd = player.at;
      original = null;
      run = new Run(player.at, channels);
      postMessage({ channels, of: player.track.length });
    }
    const { position } = player;
    while (lossyEnd < Math.min(run.samples, position + LOSSY_LEAD_S * run.rate)) {
      const length = Math.min(4096, run.samples - lossyEnd);
      post("lossy", lossyEnd, run.read(lossyEnd, length));
      lossyEnd += length;
    }
    if (original !== player.original) [original, originalEnd] = [player.original, position];
    while (original && originalEnd < Math.min(run.samples, position + LOSSY_LEAD_S * run.rate)) {
      const length = Math.min(4096, run.samples - originalEnd);
      post("original", originalEnd, run.read(originalEnd, length, original));
      originalEnd += length;
    }
    if (run.done < position) run.skip(position + Math.round(SKIP_S * run.rate));
    // A slower device needs a start large enough to last until the end, as far as the ring holds it.
    const left = (run.samples - position) / run.rate;
    const leadS = Math.min(MOST_LEAD_S, Math.max(LEAST_S, (run.speed * MARGIN - 1) * left));
    const enough = position + Math.max(LEAD_S, leadS) * run.rate;
    if (run.done >= Math.min(run.samples, enough)) {
      player.port.postMessage({ kind: "enough", epoch }); // whatever was needed at the last block
      await new Promise((go) => (wake = go));
      continue;
    }
    const block = await run.block();
    if (block && epoch === player.epoch) {
      post("enhanced", run.done - block[0].length, block, Math.round(leadS * run.rate));
      postMessage({ speed: run.speed });
    }
    await turn();
  }
}

// The whole track; in a Worker that plays nothing.
async function render({ runtime, file, channels, amount }) {
  Object.assign(player, { model: await open({ runtime, file }), facts: file.facts, track: channels });
  const run = new Run(0, channels.length);
  const out = channels.map((samples) => samples.slice());
  for (let told = 0; run.done < run.samples; ) {
    const at = run.done;
    const block = await run.block();
    block?.forEach((samples, channel) => samples.forEach((value, i) => {
      out[channel][at + i] += amount * (value - out[channel][at + i]);
    }));
    if (performance.now() - told < 200) continue;
    told = performance.now();
    postMessage({ rendered: run.done / run.samples });
  }
  return { channels: out };
}

// ---------------------------------------------------------------- measuring

const sorted = (values) => Float64Array.from(values).sort();
const quantile = (values, share) => sorted(values)[Math.round(share * (values.length - 1))];
const median = (values) => quantile(values, 0.5);

// A fixed matrix product in plain JavaScript: how fast is this device, apart from the runtime?
const SIDE = 128;
const [left, right, product] = [0, 1, 2].map(() => new Float32Array(SIDE * SIDE).fill(0.5));
function kernelMs() {
  const began = performance.now();
  for (let turn = 0; turn < 12; turn++) {
    for (let i = 0; i < SIDE; i++) {
      for (let j = 0; j < SIDE; j++) {
        let sum = 0;
        for (let k = 0; k < SIDE; k++) sum += left[i * SIDE + k] * right[j * SIDE + k];
        product[i * SIDE + j] = sum;
      }
    }
  }
  return performance.now() - began;
}

// Milliseconds of each call with so many hops of noise, transforms included.
async function timeCalls(model, facts, channels, { warmUp, calls, budgetMs, fewest, hops, told = () => {} }) {
  const engine = new FrameEngine(model, facts.frame_length, channels);
  const waves = Array.from({ length: channels }, () =>
    Float32Array.from({ length: (hops + 1) * facts.hop_length }, () => 0.2 * (Math.random() - 0.5)));
  for (let i = 0; i < warmUp; i++) await engine.step(waves);
  const times = [];
  const until = performance.now() + budgetMs;
  while (times.length < calls && (times.length < fewest || performance.now() < until)) {
    const began = performance.now();
    await engine.step(waves);
    times.push(performance.now() - began);
    if (times.length % 50 === 0) {
      told(times.length / calls);
      await turn();
    }
  }
  return times;
}

function realTimeFactor(times, { hop_length, sample_rate }, hops) {
  const seconds = (times.length * hops * hop_length) / sample_rate;
  return times.reduce((sum, ms) => sum + ms, 0) / 1000 / seconds;
}

// Rows of one model, in a Worker of its own, so that the memory is its own too.
async function benchmark({ runtime, file }) {
  const { facts } = file;
  const kernels = Array.from({ length: BENCHMARK.kernels + 3 }, kernelMs).slice(3); // compiled by then
  const model = await open({ runtime, file });
  const hopS = facts.hop_length / facts.sample_rate;
  const rows = [];
  for (const channels of [1, 2]) {
    const told = (share) => postMessage({ benchmarking: (channels - 1 + share) / 2 });
    const calls = Math.ceil(BENCHMARK.seconds / hopS);
    const times = await timeCalls(model, facts, channels, { ...BENCHMARK, calls, hops: 1, told });
    const ahead = { ...BENCHMARK, warmUp: 15, fewest: 8, calls: Math.ceil(calls / BLOCK), hops: BLOCK };
    const blocks = await timeCalls(model, facts, channels, ahead);
    for (let i = 0; i < BENCHMARK.kernels; i++) kernels.push(kernelMs());
    rows.push({
      channels,
      latency_ms: median(times),
      latency_p10_ms: quantile(times, 0.1),
      latency_p90_ms: quantile(times, 0.9),
      latency_p99_ms: quantile(times, 0.99),
      latency_max_ms: quantile(times, 1),
      rtf: realTimeFactor(times, facts, 1),
      rtf_ahead: realTimeFactor(blocks, facts, BLOCK), // as the player works
      startup_s: model.startupS,
      wasm_mb: memories.reduce((sum, memory) => sum + memory.buffer.byteLength, 0) / 1e6,
      file_mb: file.bytes / 1e6,
    });
  }
  return rows.map((row) => ({ ...row, js_kernel_ms: median(kernels) }));
}

// ---------------------------------------------------------------- orders

const orders = {
  async open(order) {
    player.model = null;
    if (!models.has(order.file.url)) models.set(order.file.url, await open(order));
    Object.assign(player, { model: models.get(order.file.url), facts: order.file.facts });
  },
  track: ({ channels }) => void Object.assign(player, { track: channels, original: null }),
  original({ channels }) {
    const [{ length }] = player.track;
    const lag = lagOf(player.track, channels);
    player.original = channels.map((samples) => cut(samples, lag, length));
    return { lag };
  },
  render,
  // `channels` overrules what the device can afford.
  seek: ({ epoch, at, channels }) => void Object.assign(player, { epoch, at, forced: channels }),
  attach({ port }) {
    player.port?.close();
    player.port = port;
    port.onmessage = ({ data: { epoch, position } }) => {
      if (epoch === player.epoch) player.position = position;
      wake();
    };
  },
  benchmark,
  kernels: () => Array.from({ length: 43 }, kernelMs).slice(3), // compiled by then
};

onmessage = async ({ data: { order, id, ...rest } }) => {
  try {
    const result = await orders[order](rest);
    postMessage({ id, result }, result?.channels?.map((samples) => samples.buffer) ?? []);
  } catch (error) {
    postMessage({ id, error: error.message });
  }
  wake();
};
serve().catch((error) => postMessage({ failure: error.message }));
postMessage({ awake: true });
