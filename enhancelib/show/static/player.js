// The A/B player: any number of sources, one playhead.

function bytesFromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}

// A path in the site, whatever the depth of the page: Sphinx says where its root is.
function siteUrl(path) {
  if (path.startsWith("data:")) return path;
  return new URL((document.documentElement.dataset.content_root ?? "") + path, document.baseURI).href;
}

// FLAC bytes to samples; an offline context decodes without a click and does not resample.
function decode(bytes, sampleRate) {
  return new OfflineAudioContext(1, 1, sampleRate).decodeAudioData(bytes);
}

// The bytes of a clip in growing parts, each a file that can be decoded: [bytes, whole or not].
async function* clipBytes(source) {
  if (source.audio instanceof DataView) {
    const { buffer, byteOffset, byteLength } = source.audio;
    return yield [buffer.slice(byteOffset, byteOffset + byteLength), true];
  }
  if (source.audio) return yield [bytesFromBase64(source.audio), true];
  const response = await fetch(siteUrl(source.url));
  if (!response.ok) throw new Error(`${source.url}: ${response.status} ${response.statusText}`);
  const bytes = new Uint8Array(source.bytes);
  const heads = [...(source.heads ?? [])];
  let there = 0;
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes.set(value, there);
    there += value.length;
    const head = heads.filter((each) => each.bytes <= there).at(-1);
    if (!head || there === bytes.length) continue;
    heads.splice(0, heads.indexOf(head) + 1);
    const part = bytes.slice(0, head.bytes); // whole frames, under a header that counts them
    part.set(new Uint8Array(bytesFromBase64(head.header)));
    yield [part.buffer, false];
  }
  if (there < bytes.length) throw new Error(`${source.url}: cut short`);
  yield [bytes.buffer, true];
}

// What the engine loads: buffers of the whole length, and how many seconds of them are there.
function loader({ sources, sampleRate, seconds }) {
  return async function* load(index) {
    for await (const [bytes, whole] of clipBytes(sources[index])) {
      const decoded = await decode(bytes, sampleRate);
      if (whole) yield { buffer: decoded, seconds };
      else yield { buffer: lengthened(decoded, seconds), seconds: decoded.duration };
    }
  };
}

function lengthened(decoded, seconds) {
  const { numberOfChannels, sampleRate } = decoded;
  const length = Math.round(seconds * sampleRate);
  const buffer = new AudioBuffer({ numberOfChannels, length, sampleRate });
  for (let channel = 0; channel < numberOfChannels; channel++) {
    buffer.copyToChannel(decoded.getChannelData(channel), channel);
  }
  return buffer;
}

// The outline of a wave, from one byte for each column: theme colours come from CSS.
function outline(source) {
  const peaks = new Uint8Array(bytesFromBase64(source.peaks));
  const points = Array.from(peaks, (peak, x) => `${x} ${(128 - Math.max(peak, 1) / 2).toFixed(1)}`);
  const mirrored = Array.from(peaks, (peak, x) => `${x} ${(128 + Math.max(peak, 1) / 2).toFixed(1)}`);
  const d = `M${points.join("L")}L${mirrored.reverse().join("L")}Z`;
  const picture = (name) => svg("svg", {
    class: name, viewBox: `0 0 ${peaks.length - 1} 256`, preserveAspectRatio: "none",
    "aria-hidden": "true",
  }, svg("path", { d }));
  return element("div", { class: "el-wave" }, picture("el-rest"), picture("el-played"));
}

function frequencyAxis(sampleRate) {
  const top = sampleRate / 2000;
  const step = [0.5, 1, 2, 5, 10, 20].find((candidate) => top / candidate <= 5) ?? 20;
  const axis = element("div", { class: "el-frequency-axis", "aria-hidden": "true" });
  for (let tick = 0; tick < top * 0.95; tick += step) {
    axis.append(element("span", { style: `bottom:${(100 * tick) / top}%` }, String(tick)));
  }
  axis.append(element("span", { class: "el-unit" }, "kHz"));
  return axis;
}

function sourceButton(engine, index, name, key, detail = "") {
  const button = element("button", { type: "button", "data-source": String(index) });
  if (key) button.append(element("kbd", { "aria-hidden": "true" }, key));
  button.append(element("span", {}, name));
  if (detail) button.append(element("small", {}, detail));
  button.addEventListener("click", () => engine.select(index));
  engine.addEventListener("change", () => {
    button.setAttribute("aria-pressed", String(index === engine.active));
    button.setAttribute("aria-busy", String(index === engine.wish?.active));
  });
  return button;
}

function sourceButtons(engine, names, details = [], keys = "123456789") {
  return element("div", { class: "el-sources", role: "group", "aria-label": "Source" },
    ...names.map((name, index) => sourceButton(engine, index, name, keys[index], details[index])));
}

function heading(spec, about) {
  const title = element("span", { class: "el-title" }, spec.title);
  return element("div", { class: "el-heading" }, title, element("span", { class: "el-about" }, about));
}

// What to know and do; the part about keys is left out where there is no keyboard.
function hint(note, text, keys) {
  return element("p", { class: "el-hint" }, [note, text, ""].filter((part, at) => part || at > 1).join(" "),
    element("span", { class: "el-keys" }, keys));
}

function describe(spec) {
  const channels = spec.channels === 1 ? "mono" : "stereo";
  const bytes = spec.sources.reduce((sum, source) => sum + (source.url ? source.bytes : 0), 0);
  const about = `${spec.seconds.toFixed(1)} s · ${channels} · ${kilohertz(spec.sampleRate)}`;
  return bytes ? `${about} · loads ${megabytes(bytes)} on play` : about;
}

function reportFailure(root, engine) {
  engine.addEventListener("failure", (event) => {
    const text = `The audio could not be loaded (${event.detail.message}).`;
    root.querySelector(".el-error")?.remove();
    root.append(element("p", { class: "el-error", role: "alert" }, text));
  });
}

function makeEngine(spec, options = {}) {
  return new Engine({
    sampleRate: spec.sampleRate,
    seconds: spec.seconds,
    gainsDb: spec.sources.map((source) => source.gainDb),
    load: loader(spec),
    ...options,
  });
}

// What an error is, and how loud beside the original.
function errorLevel({ levelDb, loweredDb }) {
  if (levelDb === null) return "no difference";
  const beside = `${Math.abs(levelDb).toFixed(1)} dB ${levelDb < 0 ? "below" : "above"} the original`;
  return loweredDb > -0.05 ? beside : `${beside}, played ${(-loweredDb).toFixed(1)} dB lower`;
}

// What is lost and added: a switch between the chosen version and its difference to the original.
function errorButton(engine, spec) {
  const original = spec.sources[spec.reference].name;
  const button = element("button", { type: "button", "data-action": "error" },
    element("kbd", { "aria-hidden": "true" }, "E"), element("span", {}, "error"));
  button.addEventListener("click", () => engine.setDifference(!engine.difference));
  engine.addEventListener("change", () => {
    const { active, difference } = engine.wish ?? engine;
    const { name, error } = spec.sources[active];
    button.disabled = !error;
    button.setAttribute("aria-pressed", String(engine.difference));
    button.setAttribute("aria-busy", String(Boolean(engine.wish && difference)));
    button.title = error ? `Hear ${original} − ${name}: ${errorLevel(error)}`
      : `Choose another version than ${original} first`;
  });
  return button;
}

// One for each source and, where there is an original, one for its error: an outline, a picture that
// is loaded when it is shown, and a label.
function makeViews(spec) {
  const view = ({ peaks, image }, label) => {
    const picture = element("img", { alt: "", draggable: "false" });
    const load = () => picture.getAttribute("src") ?? picture.setAttribute("src", siteUrl(image));
    return { wave: outline({ peaks }), picture, label, load };
  };
  const original = spec.sources[spec.reference]?.name;
  return {
    sources: spec.sources.map((source) => view(source, source.name)),
    errors: spec.sources.map(({ name, error }) =>
      error && view(error, `${original} − ${name}: ${errorLevel(error)}`)),
  };
}

function mountPlayer(root, spec) {
  const engine = makeEngine(spec, {
    reference: spec.reference, errors: spec.sources.map(({ error }) => error),
  });
  const views = makeViews(spec);
  const all = [...views.sources, ...views.errors.filter(Boolean)];
  const now = element("div", { class: "el-now", "aria-hidden": "true" });
  const track = timeline(engine, `Position in ${spec.title || "the clip"}`,
    element("div", { class: "el-waves" }, ...all.map(({ wave }) => wave)),
    element("div", { class: "el-pictures" }, ...all.map(({ picture }) => picture)));
  track.lane.append(now);
  const details = spec.sources.map(({ shownDb }) =>
    spec.matched && Math.abs(shownDb) >= 0.05 ? decibels(shownDb) : "");
  const time = clockFace();
  const sources = sourceButtons(engine, spec.sources.map((source) => source.name), details);
  const withError = spec.reference !== null && spec.sources.length > 1;
  if (withError) sources.append(errorButton(engine, spec));
  const zoom = zoomButton(track);
  const bar = element("div", { class: "el-bar" }, playButton(engine), time,
    loopControls(engine, zoom), sources);
  const plot = element("div", { class: "el-plot" },
    frequencyAxis(spec.sampleRate), track.lane, track.axis);
  root.append(heading(spec, describe(spec)), bar, plot,
    hint(spec.note && `${spec.note} Each button shows by how many dB.`,
      "Drag over the picture to loop a part.",
      `Space plays, 1–${Math.min(9, spec.sources.length)} choose the version with that number, `
      + "←→ seek, L loops"
      + `${withError ? ", E lets you hear the error" : ""}${zoom ? ", Z zooms" : ""}.`));
  engine.addEventListener("change", () => {
    const shown = (engine.difference ? views.errors : views.sources)[engine.active];
    shown.load();
    if (engine.state !== "paused") views.sources.forEach(({ load }) => load());
    for (const { wave, picture } of all) {
      wave.classList.toggle("el-shown", wave === shown.wave);
      picture.classList.toggle("el-shown", picture === shown.picture);
    }
    now.textContent = shown.label;
    root.dataset.error = String(engine.difference);
  });
  followPosition(root, engine, track, time);
  bindKeys(root, engine, {
    e: () => engine.setDifference(!engine.difference),
    z: () => zoom?.click(),
  });
  reportFailure(root, engine);
  return engine;
}
