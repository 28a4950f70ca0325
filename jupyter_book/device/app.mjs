// The page: what the reader sees and presses. The model works in worker.mjs, the sound in playback.mjs.

import { clock, decode, refuseLong, wav } from "./files.mjs";

const here = (name) => new URL(name, import.meta.url).href;
const site = await (await fetch(here("device.json"), { cache: "no-cache" })).json();
const originals = site.clips.map(({ original }) => original);
for (const file of [site.runtime, ...site.models, ...site.clips, ...originals]) file.url = here(file.url);

const SOUND_AHEAD_S = 0.1; // a switch is heard so much later; less, and slow devices stutter
const HEADROOM = 0.8; // what is enhanced may rise above full scale
const KEPT = "device";

// ---------------------------------------------------------------- small helpers

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const total = (files) => files.reduce((sum, { bytes }) => sum + bytes, 0);
const UNKNOWN_CHANGE = "While it plays, this line says how much the network changes.";
const LITTLE_DB = -50; // lossless music is changed less than that, lossy music mostly more
const percent = (share) => `${Math.round(100 * share)} %`;

// The model's Worker; `ask` resolves to what it answers, `heard` gets what it says unasked.
class Colleague {
  constructor(heard) {
    this.worker = new Worker(here("worker.mjs"), { type: "module" });
    this.waiting = new Map();
    this.awake = new Promise((awake, broken) => {
      this.broken = broken;
      this.worker.onerror = (event) => {
        event.preventDefault();
        broken(new Error(`the model's Worker did not start (${event.message ?? "too old a browser?"})`));
      };
      this.worker.onmessage = ({ data }) => {
        if (data.awake) return awake();
        const asked = this.waiting.get(data.id);
        if (!asked) return heard(data);
        this.waiting.delete(data.id);
        return data.error ? asked.reject(new Error(data.error)) : asked.resolve(data.result);
      };
    });
    this.awake.catch(() => {}); // whoever asks is told
    this.count = 0;
  }

  async ask(order, details = {}, transfer = []) {
    await this.awake;
    if (this.ended) throw this.ended;
    const id = ++this.count;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ order, id, ...details }, transfer);
    });
  }

  // Nobody waits for ever: what was asked and what is asked from now on fails.
  end() {
    this.worker.terminate();
    this.worker.onmessage = null;
    this.ended = new Error("the model's Worker was ended");
    this.broken(this.ended);
    this.waiting.forEach(({ reject }) => reject(this.ended));
  }
}

function card(root, kind, label) {
  root.className = `el-root el-device el-${kind}`;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", label);
  const follow = () => (root.dataset.elTheme = document.documentElement.dataset.theme);
  new MutationObserver(follow).observe(document.documentElement, { attributes: true });
  follow();
  root.replaceChildren();
  return root;
}

function modelChoice(name) {
  const group = element("fieldset", {}, element("legend", {}, "Model"));
  site.models.forEach(({ label, title, bytes }, index) => {
    const input = element("input", { type: "radio", name, value: index, checked: index === 0 });
    group.append(element("label", { title }, input, ` ${label} (${megabytes(bytes)})`));
  });
  return group;
}

// ---------------------------------------------------------------- listening

// Colours from dark to bright, as in the book's spectrograms.
const PALETTE = Uint32Array.from({ length: 256 }, (_, index) => {
  const stops = [[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]];
  const place = (index / 255) * (stops.length - 1);
  const from = Math.min(stops.length - 2, Math.floor(place));
  const [r, g, b] = stops[from].map((value, i) =>
    Math.round(value + (place - from) * (stops[from + 1][i] - value)));
  return (255 << 24) | (b << 16) | (g << 8) | r;
});

// What sounds now enters at the right edge; half the sample rate is at the top.
class Spectrogram {
  constructor(label) {
    this.canvas = element("canvas", { width: 480, height: 128, role: "img", "aria-label": label });
    this.paper = this.canvas.getContext("2d", { alpha: false });
    this.empty = element("span", { class: "el-empty", "aria-hidden": "true" }, "runs while it plays");
    this.column = this.paper.createImageData(2, 128);
    this.pixels = new Uint32Array(this.column.data.buffer);
  }

  follow(context, source, output) {
    this.analyser = new AnalyserNode(context, { fftSize: 2048, smoothingTimeConstant: 0 });
    source.connect(this.analyser, output);
    this.levels = new Float32Array(this.analyser.frequencyBinCount);
  }

  clear() {
    this.paper.fillRect(0, 0, this.canvas.width, this.canvas.height);
    this.empty.hidden = false;
  }

  draw() {
    this.empty.hidden = true;
    const { canvas: { width, height }, paper, column, pixels, levels } = this;
    this.analyser.getFloatFrequencyData(levels);
    const bins = levels.length / height;
    for (let row = 0; row < height; row++) {
      const loudest = Math.max(...levels.subarray(row * bins, (row + 1) * bins));
      const shade = Math.round(Math.min(255, Math.max(0, ((loudest + 110) / 80) * 255)));
      pixels.fill(PALETTE[shade], 2 * (height - 1 - row), 2 * (height - row));
    }
    paper.drawImage(this.canvas, 2, 0, width - 2, height, 0, 0, width - 2, height);
    paper.putImageData(column, width - 2, 0);
  }
}

class Listening {
  constructor(root) {
    this.root = card(root, "listen", "Listen to the model in this browser");
    Object.assign(this, { state: "paused", heard: 1, epoch: 0, position: 0, samples: 0, from: 0 });
    this.amount = 1;
    this.trackRate = 1; // of `position` and `samples`; another model may be chosen already
    this.source = site.clips[0];
    this.build();
    this.worker = null;
    this.show();
  }

  get model() {
    return site.models[this.choice.querySelector(":checked").value];
  }

  get rate() {
    return this.model.facts.sample_rate;
  }

  build() {
    this.choice = modelChoice("listen-model");
    this.choice.addEventListener("change", () => this.changed());
    const chosen = () => site.clips[this.clips.value] ?? this.ownFile;
    this.clips = element("select", { onchange: () => this.choose(chosen()) },
      ...site.clips.map(({ title, bytes }, index) =>
        element("option", { value: index }, `${title} (${megabytes(bytes)})`)));
    this.own = element("option", { value: "own", hidden: true });
    this.clips.append(this.own);
    const file = (label, take) => {
      const input = element("input", {
        type: "file", accept: "audio/*,video/mp4", class: "el-file", "aria-label": label,
        onchange: () => input.files[0] && take(input.files[0]),
      });
      return input;
    };
    this.originalFile = file("The original of your track", (chosen) => this.compareWith(chosen));
    this.play = element("button", { type: "button", "data-action": "play", onclick: () => this.toggle() });
    this.buttons = ["Lossy", "Enhanced", "Original"].map((name, index) =>
      element("button", { type: "button", "data-source": index, onclick: () => this.select(index) },
        element("kbd", { "aria-hidden": "true" }, index + 1), element("span", {}, name)));
    this.seeker = element("input", {
      type: "range", min: 0, max: 1, step: "any", value: 0, "aria-label": "Position",
      oninput: () => this.seek(Number(this.seeker.value) * this.samples),
    });
    this.slider = element("input", {
      type: "range", min: 0, max: 1, step: 0.05, value: 1, "aria-label": "Amount of the enhancement",
      oninput: () => this.setAmount(Number(this.slider.value)),
    });
    this.amountText = element("output", {}, "100 %");
    this.time = element("span", { class: "el-clock" }, "0:00");
    this.pictures = ["Lossy", "Enhanced"].map((name) =>
      new Spectrogram(`Running spectrogram, ${name.toLowerCase()}`));
    this.status = element("p", { class: "el-hint", role: "status" });
    this.counters = element("p", { class: "el-hint el-counters" });
    this.change = element("p", { class: "el-change" }, UNKNOWN_CHANGE);
    this.error = element("p", { class: "el-error", role: "alert", hidden: true });
    this.saver = element("button", { type: "button", "data-action": "save", onclick: () => this.save() });
    this.saved = element("a", { class: "el-download", hidden: true });
    this.tops = this.pictures.map(() => element("span"));
    this.root.append(
      element("div", { class: "el-message" }, this.status, this.error),
      element("fieldset", {}, element("legend", {}, "Track"),
        element("label", {}, "supplied ", this.clips),
        element("label", {}, "or your own ", file("Your own track", (chosen) => this.choose(chosen))),
        element("label", {}, "and, if you have it, its original ", this.originalFile)),
      element("div", { class: "el-bar" }, this.play, this.time,
        element("div", { class: "el-sources", role: "group", "aria-label": "Source" }, ...this.buttons)),
      this.seeker,
      element("label", { class: "el-amount" }, "Amount ", this.slider, this.amountText),
      ...this.pictures.map(({ canvas, empty }, index) =>
        element("figure", {}, element("figcaption", {}, ["Lossy", "Enhanced"][index]),
          element("div", { class: "el-screen" }, canvas, empty,
            element("div", { class: "el-axis", "aria-hidden": "true" },
              this.tops[index], element("span", {}, "0"))))),
      this.change, this.counters,
      element("div", { class: "el-bar" }, this.saver, this.saved),
      this.choice);
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.catchFiles();
  }

  // A file may be dropped anywhere on the page; elsewhere the browser would leave for it.
  catchFiles() {
    const hasFile = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
    const zone = element("div", { class: "el-drop", hidden: true }, "Drop your track here");
    document.body.append(zone);
    addEventListener("dragover", (event) => {
      if (!hasFile(event)) return;
      event.preventDefault();
      zone.hidden = false;
    });
    addEventListener("dragleave", (event) => (zone.hidden ||= !event.relatedTarget));
    addEventListener("drop", (event) => {
      if (!hasFile(event)) return;
      event.preventDefault();
      zone.hidden = true;
      this.choose(event.dataTransfer.files[0]);
      this.root.scrollIntoView({ block: "nearest" });
    });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
    if (/^[123]$/.test(event.key)) this.select(event.key - 1);
    else if (event.key === " " && !event.target.closest("button")) this.toggle();
    else return;
    event.preventDefault();
  }

  // Another model or track: go on with it where one was playing, at the same place if it is one track.
  async changed() {
    const on = this.state !== "paused";
    this.pause();
    if (on) await this.start();
    else this.show();
  }

  // Another track begins at its start, whatever the old one still reports.
  choose(source) {
    this.source = source;
    this.epoch++;
    Object.assign(this, { position: 0, samples: 0, track: null, compared: null });
    const own = source instanceof File;
    if (own) [this.ownFile, this.own.textContent] = [source, source.name]; // to be chosen again
    this.own.hidden = !this.ownFile;
    this.clips.value = own ? "own" : site.clips.indexOf(source);
    this.originalFile.value = "";
    if (!this.original && this.heard === 2) this.heard = 1;
    this.saved.hidden = true;
    this.error.hidden = true;
    this.counters.textContent = "";
    this.change.textContent = UNKNOWN_CHANGE;
    this.pictures.forEach((picture) => picture.clear());
    this.changed();
    if (own) refuseLong(source).catch((error) => this.source === source && (this.pause(), this.fail(error)));
  }

  // What the track can be compared with: its supplied original, or one of the reader's own.
  get original() {
    return this.compared ?? this.source.original;
  }

  compareWith(file) {
    this.compared = file;
    this.select(2);
  }

  toggle() {
    return this.state === "paused" ? this.start() : this.pause();
  }

  async start() {
    const turn = (this.turn = (this.turn ?? 0) + 1); // an order to pause meanwhile makes it stale
    this.error.hidden = true;
    this.state = "loading";
    this.show("Loading …");
    try {
      if (!globalThis.AudioWorkletNode || !globalThis.isSecureContext) {
        throw new Error("the browser plays this only from https or localhost; the benchmark works");
      }
      if (this.context?.sampleRate !== this.rate) {
        this.context?.close();
        this.context = new AudioContext({ sampleRate: this.rate, latencyHint: SOUND_AHEAD_S });
      }
      const running = this.context.resume(); // while the press of the button still counts
      await this.load();
      await running;
      if (this.turn !== turn) return;
      this.state = "playing";
      if (this.position >= this.samples) this.position = 0;
      this.seek(this.position);
      this.node.port.postMessage({ playing: true });
      this.show("");
      this.draw();
    } catch (error) {
      if (this.turn !== turn) return;
      this.state = "paused";
      this.fail(error);
    }
  }

  fail(error) {
    this.error.textContent = `This did not work: ${error.message}.`;
    this.error.hidden = false;
    this.show("");
    this.error.scrollIntoView({ block: "nearest" });
  }

  pause() {
    this.turn = (this.turn ?? 0) + 1;
    this.state = "paused";
    this.node?.port.postMessage({ playing: false });
    this.show("");
  }

  // One after the other: a track that was given up must not arrive after the one that was wanted.
  load() {
    const before = this.loading;
    const turn = async () => {
      await before?.catch(() => {});
      await this.bring();
    };
    return (this.loading = turn());
  }

  // Model, track and audio thread, each only if it is not there yet.
  async bring() {
    const worker = (this.worker ??= new Colleague((news) => this.hear(news)));
    const { model, source, rate } = this;
    if (this.opened !== model) {
      this.opened = null;
      try {
        await worker.ask("open", { runtime: site.runtime, file: model });
      } catch (error) {
        if (this.worker === worker) this.forget();
        throw error;
      }
      this.opened = model;
    }
    if (this.track?.source !== source || this.track.rate !== rate) {
      this.track = null;
      const channels = await decode(source, rate);
      if (this.source !== source) return; // another one was chosen meanwhile, and is next
      this.epoch++; // what the old audio thread still reports is at the old rate
      this.position *= rate / this.trackRate;
      Object.assign(this, { samples: channels[0].length, trackRate: rate });
      this.unwire();
      await worker.ask("track", { channels }, channels.map((samples) => samples.buffer));
      if (this.source !== source) return;
      this.track = { source, rate };
    }
    if (this.node?.context !== this.context) await this.wire(worker);
    if (this.heard === 2) await this.bringOriginal();
  }

  // A Worker that failed may not recover; the next Play begins anew, with another.
  forget() {
    this.worker?.end();
    this.unwire();
    Object.assign(this, { worker: null, opened: null, track: null, brought: null });
  }

  unwire() {
    this.node?.port.postMessage({ end: true });
    this.node?.disconnect();
    this.node = null;
  }

  // The original, when it is asked for; the Worker brings it into step with the track.
  async bringOriginal() {
    const { original: source, track } = this;
    const stale = () => this.original !== source || this.track !== track; // changed meanwhile
    if (this.brought?.source === source && this.brought.track === track) return;
    this.show("Loading the original …");
    try {
      const channels = await decode(source, track.rate);
      if (stale()) return;
      this.brought = null; // the Worker may take this one and the page another
      await this.worker.ask("original", { channels }, channels.map((samples) => samples.buffer));
      if (stale()) return;
      this.brought = { source, track };
      this.show("");
    } catch (error) {
      if (stale()) return;
      this.compared = null;
      if (this.heard === 2) this.select(1);
      throw error;
    }
  }

  async wire(worker) {
    const { context, samples } = this;
    await context.audioWorklet.addModule(here("playback.mjs"));
    const { port1, port2 } = new MessageChannel();
    await worker.ask("attach", { port: port2 }, [port2]);
    this.node = new AudioWorkletNode(context, "playback", {
      numberOfInputs: 0, numberOfOutputs: 3, outputChannelCount: [2, 2, 2],
      processorOptions: { samples },
    });
    this.node.connect(new GainNode(context, { gain: HEADROOM })).connect(context.destination);
    this.pictures.forEach((picture, index) => picture.follow(context, this.node, index + 1));
    this.node.port.onmessage = ({ data }) => this.report(data);
    this.node.port.postMessage({ heard: this.heard, amount: this.amount });
    this.node.port.postMessage({ port: port1 }, [port1]);
  }

  seek(sample) {
    this.position = Math.max(0, Math.min(Math.round(sample), Math.max(0, this.samples - 1)));
    if (!this.node) return;
    this.epoch++;
    const order = { epoch: this.epoch, at: this.position };
    this.node.port.postMessage(order);
    this.worker.ask("seek", order).catch(() => {}); // of a Worker that failed, which is told elsewhere
  }

  async select(heard) {
    if (heard === 2 && !this.original) return;
    this.heard = heard;
    this.error.hidden = true;
    this.node?.port.postMessage({ heard });
    this.show();
    if (heard !== 2 || !this.track) return;
    try {
      await this.bringOriginal();
    } catch (error) {
      this.fail(error);
    }
  }

  // The whole track through the model, in a Worker of its own, as a file.
  async save() {
    if (this.saving) return this.saving.cancel();
    this.pause();
    const { source, model, rate, amount } = this;
    const saving = (this.saving = {});
    const cancelled = new Promise((_, stop) => (saving.cancel = () => stop(null)));
    const worker = new Colleague(({ loading, loaded, bytes, rendered = 0 }) => {
      this.saver.textContent = `Cancel (${percent(rendered)})`;
      if (loading) this.show(`Loading ${loading}: ${megabytes(loaded)} of ${megabytes(bytes)}`);
      else this.show("Enhancing the whole track …");
    });
    this.error.hidden = true;
    this.saver.textContent = "Cancel (0 %)";
    try {
      const work = async () => {
        const channels = await decode(source, rate);
        const order = { runtime: site.runtime, file: model, amount, channels };
        return worker.ask("render", order, channels.map((samples) => samples.buffer));
      };
      const { channels } = await Promise.race([work(), cancelled]);
      const { blob, loweredDb } = wav(channels, rate);
      URL.revokeObjectURL(this.saved.href);
      this.saved.href = URL.createObjectURL(blob);
      this.saved.download = `${(source.name ?? source.title).replace(/\.\w{1,4}$/, "")}_enhanced.wav`;
      this.saved.textContent = `${this.saved.download} (${megabytes(blob.size)}`
        + `${loweredDb > 0.05 ? `, ${loweredDb.toFixed(1)} dB quieter so that nothing clips` : ""})`;
      this.saved.hidden = false;
      this.saved.click();
    } catch (error) {
      if (error) this.fail(error);
    }
    worker.end();
    this.saving = null;
    this.show("");
  }

  setAmount(amount) {
    this.amount = amount;
    this.amountText.textContent = `${Math.round(100 * amount)} %`;
    this.node?.port.postMessage({ amount });
    this.root.dataset.amount = amount;
  }

  hear({ loading, loaded, bytes, channels, of, speed, failure }) {
    if (loading) this.show(`Loading ${loading}: ${megabytes(loaded)} of ${megabytes(bytes)}`);
    if (channels) this.economy = channels < of;
    if (speed) this.speed = speed;
    if (!failure) return;
    this.pause();
    this.forget();
    this.fail(new Error(failure));
  }

  report(news) {
    if (news.epoch !== this.epoch) return;
    Object.assign(this.root.dataset, {
      position: news.position, late: news.late, stalled: news.stalled, quanta: news.quanta,
      waiting: news.waiting,
    });
    this.position = news.position;
    if (this.state === "playing") {
      this.timeClock(news.waiting);
      if (news.position >= this.samples) {
        this.pause();
        this.position = 0;
      }
      this.show(news.waiting ? `Buffering: ${percent(Math.min(1, news.ready / news.need))}` : "");
      const { speed = 0, economy } = this;
      const under = news.late + news.stalled;
      this.counters.textContent = `Work ${percent(speed)} of the time · ` +
        `${Math.max(0, news.ready / this.trackRate).toFixed(1)} s ahead · ` +
        (under ? `${under} of ${news.quanta} blocks too late` : "nothing too late") +
        (economy ? " · slow device: the middle of the stereo image is enhanced, the sides pass" : "");
      this.tellChange(news.changeDb);
      this.root.dataset.speed = speed;
      this.root.dataset.economy = Boolean(economy);
    }
  }

  // How much the network changes, and why that may be next to nothing.
  tellChange(db) {
    if (!Number.isFinite(db)) return;
    this.root.dataset.change = db.toFixed(1);
    this.change.textContent = `What the network adds and takes away now is ${Math.abs(db).toFixed(0)} dB `
      + (db < 0 ? "below" : "above") + " the sound. "
      + (db < LITTLE_DB ? "So little is hardly heard: it finds next to nothing to repair here." : "");
  }

  // Seconds of sound in a second: where the audio thread comes too late, under 1.
  timeClock(waiting) {
    const now = [this.context.currentTime, performance.now() / 1000];
    if (waiting || this.timed?.epoch !== this.epoch) this.timed = { epoch: this.epoch, now };
    const [sound, time] = now.map((value, index) => value - this.timed.now[index]);
    if (time > 1) this.root.dataset.clock = (sound / time).toFixed(4);
  }

  draw() {
    if (this.state !== "playing") return;
    this.pictures.forEach((picture) => picture.draw());
    // A spectrum lasts 46 ms; sound goes before pictures.
    const pause = this.speed > 1 ? 1000 : this.speed > 0.6 ? 200 : 45;
    setTimeout(() => requestAnimationFrame(() => this.draw()), pause);
  }

  show(status) {
    const { state, root } = this;
    root.dataset.state = state;
    root.dataset.active = this.heard;
    this.play.textContent = { paused: "Play", loading: "Cancel", playing: "Pause" }[state];
    this.buttons.forEach((button, index) => button.setAttribute("aria-pressed", index === this.heard));
    this.tops.forEach((top) => (top.textContent = `${(this.rate / 2000).toFixed(0)} kHz`));
    this.buttons[0].lastChild.textContent = this.source instanceof File ? "Your file" : "Lossy";
    this.buttons[2].disabled = !this.original;
    this.buttons[2].title = this.original ? "" : "Choose the original of your track first";
    if (!this.saving) this.saver.textContent = "Save the enhanced track (WAV)";
    this.pictures.forEach(({ canvas }, index) =>
      canvas.parentElement.classList.toggle("el-shown", index === this.heard));
    this.time.textContent = this.samples
      ? `${clock(this.position / this.trackRate)} / ${clock(this.samples / this.trackRate)}` : "0:00";
    if (document.activeElement !== this.seeker || state === "playing") {
      this.seeker.value = this.samples ? this.position / this.samples : 0;
    }
    this.seeker.setAttribute("aria-valuetext", this.time.textContent);
    const needed = this.opened === this.model ? [] : [site.runtime, this.model];
    const idle = needed.length
      ? `Play loads ${megabytes(total(needed))}: the runtime and the model. Nothing leaves your device.`
      : "Space plays, 1 to 3 switch.";
    const text = status || (state === "paused" ? idle : "");
    if (status !== undefined && this.status.textContent !== text) this.status.textContent = text;
    if (status === undefined && state === "paused") this.status.textContent = idle;
  }
}

// ---------------------------------------------------------------- benchmark

const UNITS = {
  latency_ms: "ms", latency_p10_ms: "ms", latency_p90_ms: "ms", latency_p99_ms: "ms",
  latency_max_ms: "ms", rtf: "1", rtf_ahead: "1", startup_s: "s", wasm_mb: "MB", file_mb: "MB", js_kernel_ms: "ms",
};
const COLUMNS = {
  latency_ms: "one hop (ms)", latency_p10_ms: "10 %", latency_p90_ms: "90 %", latency_p99_ms: "99 %",
  latency_max_ms: "longest", rtf: "real-time factor", rtf_ahead: "working ahead",
  startup_s: "start-up (s)", wasm_mb: "memory (MB)",
};

// What the browser tells of the device; no more than it tells every page.
async function deviceName() {
  const cores = `${navigator.hardwareConcurrency} cores`;
  const hints = await navigator.userAgentData?.getHighEntropyValues?.(["model", "platformVersion"])
    .catch(() => null);
  if (!hints) return `${navigator.userAgent.replace(/^Mozilla\/5\.0 /, "")}, ${cores}`;
  const brands = hints.brands.filter(({ brand }) => !/^\W*Not\W?A/.test(brand)); // one is made up
  const brand = brands.find(({ brand }) => brand !== "Chromium") ?? brands[0];
  const system = [hints.platform, hints.platformVersion].filter(Boolean).join(" ");
  return [hints.model, system, `${brand?.brand} ${brand?.version}`, cores].filter(Boolean).join(", ");
}

class Benchmark {
  constructor(root) {
    this.root = card(root, "benchmark", "Benchmark this device");
    this.name = element("input", { type: "text", maxlength: 80, autocomplete: "off" });
    this.button = element("button", { type: "button", "data-action": "benchmark", onclick: () => this.run() },
      "Benchmark this device");
    this.bar = element("progress", { max: 1, value: 0, hidden: true, "aria-label": "Progress" });
    this.status = element("p", { class: "el-hint", role: "status" },
      `Loads up to ${megabytes(total([site.runtime, ...site.models]))} and takes about a minute. ` +
      "Nothing is sent anywhere.");
    this.error = element("p", { class: "el-error", role: "alert", hidden: true });
    this.table = element("div", { class: "el-table", tabindex: "0", role: "region",
      "aria-label": "Results", hidden: true });
    this.link = element("a", { class: "el-download", hidden: true }, "Download the table as JSON");
    this.root.append(element("label", {}, "Name of the device, if you like ", this.name),
      element("div", { class: "el-bar" }, this.button, this.bar),
      this.status, this.table, this.link, this.error);
    this.root.dataset.state = "idle";
  }

  async run() {
    this.root.dataset.state = "running";
    this.button.disabled = true;
    this.error.hidden = true;
    this.bar.hidden = false;
    this.root.dispatchEvent(new CustomEvent("begin", { bubbles: true }));
    try {
      const results = [];
      for (const [index, file] of site.models.entries()) {
        const worker = new Colleague(({ loading, loaded, bytes, benchmarking }) => {
          if (loading) this.status.textContent = `Loading ${loading}: ${megabytes(loaded)} of ${megabytes(bytes)}`;
          else this.status.textContent = `Measuring ${file.title}; leave the page in front.`;
          this.bar.value = (index + (benchmarking ?? 0)) / site.models.length;
        });
        try {
          const rows = await worker.ask("benchmark", { runtime: site.runtime, file });
          results.push(...rows.map((row) => ({ file, ...row })));
        } finally {
          worker.end();
        }
      }
      await this.show(results);
      this.root.dataset.state = "done";
    } catch (error) {
      this.root.dataset.state = "failed";
      this.error.textContent = `This did not work: ${error.message}.`;
      this.error.hidden = false;
    }
    this.button.disabled = false;
    this.bar.hidden = true;
  }

  async show(results) {
    const head = ["model", "channels", ...Object.values(COLUMNS)];
    const body = results.map((row) => [row.file.title, row.channels,
      ...Object.keys(COLUMNS).map((name) => Number(row[name].toPrecision(3)))]);
    this.table.replaceChildren(element("table", {},
      element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
      element("tbody", {}, ...body.map(([title, ...cells]) =>
        element("tr", {}, element("th", { scope: "row" }, title), ...cells.map((cell) => element("td", {}, cell)))))));
    this.table.hidden = false;
    const hopMs = (1000 * results[0].file.facts.hop_length) / results[0].file.facts.sample_rate;
    const fast = results.filter(({ channels, rtf_ahead }) => channels === 2 && rtf_ahead < 1);
    this.status.textContent = fast.length
      ? `This device enhances stereo in real time: a second of music takes ${fast[0].rtf_ahead.toFixed(2)} s. Live, a hop may take ${hopMs.toFixed(1)} ms.`
      : "This device does not enhance stereo in real time; the player above then takes one channel.";
    const browser = await deviceName();
    const device = [this.name.value.trim(), browser].filter(Boolean).join(", ");
    const rows = tidy(results, device);
    const json = new Blob([JSON.stringify(rows, null, 1) + "\n"], { type: "application/json" });
    URL.revokeObjectURL(this.link.href);
    this.link.href = URL.createObjectURL(json);
    const slug = (this.name.value.trim() || device).toLowerCase().replace(/[^a-z0-9]+/g, "-");
    this.link.download = `${slug.slice(0, 60).replace(/^-|-$/g, "")}.json`;
    this.link.hidden = false;
  }
}

// One row for each value, in the columns of every results table of the project.
function tidy(results, device) {
  const utc = new Date().toISOString().replace(/\.\d+/, "");
  return results.flatMap(({ file, channels, ...measures }) =>
    Object.entries(UNITS).map(([metric, unit]) => ({
      piece: "", condition: `browser, ${channels} channel${channels > 1 ? "s" : ""}`,
      system: file.title, preset: file.facts.preset, metric, value: Number(measures[metric].toPrecision(5)),
      unit, seed: 0, commit: site.commit, checkpoint_sha256: file.facts.checkpoint_sha256, device,
      load: null, command: "device page of the book", utc,
    })));
}

// ---------------------------------------------------------------- without a network

class Keeping {
  constructor(root) {
    this.root = card(root, "keep", "Keep this page on your device");
    this.files = [site.runtime, ...site.models, ...site.clips, ...originals];
    this.status = element("p", { class: "el-hint", role: "status" });
    this.button = element("button", { type: "button", "data-action": "keep", onclick: () => this.keep() },
      `Keep models and clips (${megabytes(total(this.files))})`);
    this.install = element("button", { type: "button", hidden: true, onclick: () => this.offer.prompt() },
      "Install as an app");
    addEventListener("beforeinstallprompt", (event) => {
      event.preventDefault();
      this.offer = event;
      this.install.hidden = false;
    });
    addEventListener("appinstalled", () => ((this.install.hidden = true), this.keep()));
    this.root.append(element("div", { class: "el-bar" }, this.button, this.install), this.status);
    this.begin();
  }

  // The page itself is kept at the first visit; whatever is loaded later is kept by sw.js.
  async begin() {
    if (!navigator.serviceWorker || !globalThis.caches) {
      this.button.disabled = true;
      this.status.textContent = "The browser keeps pages only from https or localhost.";
      return;
    }
    try {
      await navigator.serviceWorker.register(here("sw.js"));
      const used = performance.getEntriesByType("resource").map(({ name }) => name)
        .filter((url) => new URL(url).origin === location.origin && !url.endsWith("sw.js"));
      await this.store([location.href.split("#")[0], here("device.json"), ...site.modules.map(here), ...used]);
      const kept = await Promise.all(this.files.map(({ url }) => caches.match(url)));
      this.say(kept.every(Boolean));
    } catch (error) {
      this.status.textContent = `The browser does not keep this page (${error.message}).`;
    }
  }

  say(whole) {
    this.root.dataset.state = whole ? "whole" : "page";
    this.status.textContent = whole
      ? "All of it is kept: this page works without a network."
      : "The page is kept; a model or clip once it has been used.";
  }

  async store(urls) {
    const cache = await caches.open(KEPT);
    for (const url of new Set(urls)) if (!(await cache.match(url))) await cache.add(url);
  }

  async keep() {
    this.button.disabled = true;
    try {
      for (const [index, file] of this.files.entries()) {
        this.status.textContent = `Keeping ${index + 1} of ${this.files.length}: ${file.title}`;
        await this.store([file.url]);
      }
      this.say(true);
    } catch (error) {
      this.status.textContent = `Not everything could be kept (${error.message}).`;
    }
    this.button.disabled = false;
  }
}

const listening = new Listening(document.getElementById("device-listen"));
const benchmark = new Benchmark(document.getElementById("device-benchmark"));
benchmark.root.addEventListener("begin", () => listening.pause());
new Keeping(document.getElementById("device-keep"));
