// The page: what the reader sees and presses. The model works in worker.mjs, the sound in playback.mjs.

const here = (name) => new URL(name, import.meta.url).href;
const site = await (await fetch(here("device.json"), { cache: "no-cache" })).json();
for (const file of [site.runtime, ...site.models, ...site.clips]) file.url = here(file.url);

const LONGEST_S = 900; // decoded, a quarter of an hour of stereo takes 320 MB
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
const clock = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const percent = (share) => `${Math.round(100 * share)} %`;

// The model's Worker; `ask` resolves to what it answers, `heard` gets what it says unasked.
class Colleague {
  constructor(heard) {
    this.worker = new Worker(here("worker.mjs"), { type: "module" });
    this.waiting = new Map();
    this.awake = new Promise((awake, broken) => {
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
    this.count = 0;
  }

  async ask(order, details = {}, transfer = []) {
    await this.awake;
    const id = ++this.count;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ order, id, ...details }, transfer);
    });
  }

  end() {
    this.worker.terminate();
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
  site.models.forEach(({ title, bytes }, index) => {
    const input = element("input", { type: "radio", name, value: index, checked: index === 0 });
    group.append(element("label", {}, input, ` ${title} (${megabytes(bytes)})`));
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
    this.column = this.paper.createImageData(2, 128);
    this.pixels = new Uint32Array(this.column.data.buffer);
  }

  follow(context, source, output) {
    this.analyser = new AnalyserNode(context, { fftSize: 2048, smoothingTimeConstant: 0 });
    source.connect(this.analyser, output);
    this.levels = new Float32Array(this.analyser.frequencyBinCount);
  }

  draw() {
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
    this.clips = element("select", { onchange: () => this.choose(site.clips[this.clips.value]) },
      ...site.clips.map(({ title, bytes }, index) =>
        element("option", { value: index }, `${title} (${megabytes(bytes)})`)));
    this.own = element("option", { value: "own", hidden: true });
    this.clips.append(this.own);
    const file = element("input", {
      type: "file", accept: "audio/*,video/mp4", class: "el-file", "aria-label": "Your own track",
      onchange: () => file.files[0] && this.choose(file.files[0]),
    });
    this.root.addEventListener("dragover", (event) => event.preventDefault());
    this.root.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files[0]) this.choose(event.dataTransfer.files[0]);
    });
    this.play = element("button", { type: "button", "data-action": "play", onclick: () => this.toggle() });
    this.buttons = ["Lossy", "Enhanced"].map((name, index) =>
      element("button", { type: "button", "data-source": index, onclick: () => this.select(index) },
        name, element("kbd", { "aria-hidden": "true" }, index + 1)));
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
    this.error = element("p", { class: "el-error", role: "alert", hidden: true });
    this.root.append(
      this.choice,
      element("fieldset", {}, element("legend", {}, "Track"),
        element("label", {}, "supplied ", this.clips), element("label", {}, "or your own ", file)),
      element("div", { class: "el-bar" }, this.play, this.time,
        element("div", { class: "el-sources", role: "group", "aria-label": "Source" }, ...this.buttons)),
      this.seeker,
      element("label", { class: "el-amount" }, "Amount ", this.slider, this.amountText),
      ...this.pictures.map(({ canvas }, index) =>
        element("figure", {}, element("figcaption", {}, ["Lossy", "Enhanced"][index]), canvas)),
      this.status, this.counters, this.error);
    this.root.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
    if (event.key === "1" || event.key === "2") this.select(event.key - 1);
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

  choose(source) {
    this.source = source;
    this.position = 0;
    const own = source instanceof File;
    if (own) this.own.textContent = source.name;
    this.own.hidden = !own && !this.own.textContent;
    this.clips.value = own ? "own" : site.clips.indexOf(source);
    this.changed();
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
  }

  pause() {
    this.turn = (this.turn ?? 0) + 1;
    this.state = "paused";
    this.node?.port.postMessage({ playing: false });
    this.show("");
  }

  // Model, track and audio thread, each only if it is not there yet.
  async load() {
    this.worker ??= new Colleague((news) => this.hear(news));
    const { model, source, rate } = this;
    if (this.opened !== model) {
      this.opened = null;
      await this.worker.ask("open", { runtime: site.runtime, file: model });
      this.opened = model;
    }
    if (this.track?.source !== source || this.track.rate !== rate) {
      this.track = null;
      const channels = await decode(source, rate);
      this.samples = channels[0].length;
      this.node?.disconnect();
      this.node = null;
      await this.worker.ask("track", { channels }, channels.map((samples) => samples.buffer));
      this.track = { source, rate };
    }
    if (this.node?.context !== this.context) await this.wire();
  }

  async wire() {
    const { context, samples } = this;
    await context.audioWorklet.addModule(here("playback.mjs"));
    this.node = new AudioWorkletNode(context, "playback", {
      numberOfInputs: 0, numberOfOutputs: 3, outputChannelCount: [2, 2, 2],
      processorOptions: { samples },
    });
    this.node.connect(new GainNode(context, { gain: HEADROOM })).connect(context.destination);
    this.pictures.forEach((picture, index) => picture.follow(context, this.node, index + 1));
    this.node.port.onmessage = ({ data }) => this.report(data);
    this.node.port.postMessage({ heard: this.heard, amount: this.amount });
    const { port1, port2 } = new MessageChannel();
    this.node.port.postMessage({ port: port1 }, [port1]);
    await this.worker.ask("attach", { port: port2 }, [port2]);
  }

  seek(sample) {
    this.position = Math.max(0, Math.min(Math.round(sample), Math.max(0, this.samples - 1)));
    if (!this.node) return;
    this.epoch++;
    const order = { epoch: this.epoch, at: this.position };
    this.node.port.postMessage(order);
    this.worker.ask("seek", order);
  }

  select(heard) {
    this.heard = heard;
    this.node?.port.postMessage({ heard });
    this.show();
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
    if (failure) this.fail(new Error(failure));
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
        `${(news.ready / this.rate).toFixed(1)} s ahead · ` +
        (under ? `${under} of ${news.quanta} blocks too late` : "nothing too late") +
        (economy ? " · slow device: the middle of the stereo image is enhanced, the sides pass" : "");
      this.root.dataset.speed = speed;
      this.root.dataset.economy = Boolean(economy);
    }
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
    this.pictures.forEach(({ canvas }, index) =>
      canvas.parentElement.classList.toggle("el-shown", index === this.heard));
    this.time.textContent = this.samples
      ? `${clock(this.position / this.rate)} / ${clock(this.samples / this.rate)}` : "0:00";
    if (document.activeElement !== this.seeker || state === "playing") {
      this.seeker.value = this.samples ? this.position / this.samples : 0;
    }
    this.seeker.setAttribute("aria-valuetext", this.time.textContent);
    const needed = this.opened === this.model ? [] : [site.runtime, this.model];
    const idle = needed.length
      ? `Play loads ${megabytes(total(needed))}: the runtime and the model. Nothing leaves your device.`
      : "Space plays, 1 and 2 switch.";
    const text = status || (state === "paused" ? idle : "");
    if (status !== undefined && this.status.textContent !== text) this.status.textContent = text;
    if (status === undefined && state === "paused") this.status.textContent = idle;
  }
}

// The channels of a file or of a supplied clip, at the model's rate.
async function decode(source, sampleRate) {
  const name = source.name ?? source.title;
  if (source instanceof File) await refuseLong(source);
  const bytes = source instanceof File ? await source.arrayBuffer() : await (await fetch(source.url)).arrayBuffer();
  let audio;
  try {
    audio = await new OfflineAudioContext(2, 1, sampleRate).decodeAudioData(bytes);
  } catch {
    throw new Error(`${name} is no audio that this browser can decode; try MP3, AAC, FLAC or WAV`);
  }
  if (audio.numberOfChannels > 2) {
    throw new Error(`${name} has ${audio.numberOfChannels} channels; mix it down to stereo`);
  }
  return Array.from({ length: audio.numberOfChannels }, (_, index) =>
    audio.getChannelData(index).slice());
}

// Decoding needs memory; the length is known before.
async function refuseLong(file) {
  const url = URL.createObjectURL(file);
  const seconds = await new Promise((known) => {
    const probe = Object.assign(new Audio(), { preload: "metadata" });
    probe.onloadedmetadata = () => known(probe.duration);
    probe.onerror = () => known(0); // decoding will tell
    probe.src = url;
  });
  URL.revokeObjectURL(url);
  if (Number.isFinite(seconds) && seconds > LONGEST_S) {
    throw new Error(`${file.name} lasts ${clock(seconds)}; take one of at most ${clock(LONGEST_S)}`);
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
      `Loads up to ${megabytes(total([site.runtime, ...site.models]))} and takes half a minute. ` +
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
    this.files = [site.runtime, ...site.models, ...site.clips];
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
