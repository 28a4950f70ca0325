// The A/B player: any number of sources, one playhead.

function bytesFromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}

// A path in the site, whatever the depth of the page: Sphinx says where its root is.
function siteUrl(path) {
  if (path.startsWith("data:")) return path;
  return new URL((document.documentElement.dataset.content_root ?? "") + path, document.baseURI).href;
}

async function audioBytes(source) {
  if (source.audio instanceof DataView) {
    const { buffer, byteOffset, byteLength } = source.audio;
    return buffer.slice(byteOffset, byteOffset + byteLength);
  }
  if (source.audio) return bytesFromBase64(source.audio);
  const response = await fetch(siteUrl(source.url));
  if (!response.ok) throw new Error(`${source.url}: ${response.status} ${response.statusText}`);
  return response.arrayBuffer();
}

function loader(spec) {
  return () => Promise.all(
    spec.sources.map(async (source) => decode(await audioBytes(source), spec.sampleRate)),
  );
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
  engine.addEventListener("change", () =>
    button.setAttribute("aria-pressed", String(index === engine.active)));
  return button;
}

function sourceButtons(engine, names, details = []) {
  return element("div", { class: "el-sources", role: "group", "aria-label": "Source" },
    ...names.map((name, index) =>
      sourceButton(engine, index, name, index < 9 ? String(index + 1) : "", details[index])));
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

function makeEngine(spec, choices) {
  return new Engine({
    sampleRate: spec.sampleRate,
    seconds: spec.seconds,
    gainsDb: spec.sources.map((source) => source.gainDb),
    load: loader(spec),
    choices,
  });
}

function mountPlayer(root, spec) {
  const engine = makeEngine(spec);
  const waves = spec.sources.map(outline);
  const pictures = spec.sources.map((source) =>
    element("img", { src: siteUrl(source.image), alt: "", draggable: "false" }));
  const track = timeline(engine, `Position in ${spec.title || "the clip"}`,
    element("div", { class: "el-waves" }, ...waves),
    element("div", { class: "el-pictures" }, ...pictures));
  const details = spec.matched ? spec.sources.map((source) => decibels(source.shownDb)) : [];
  const time = clockFace();
  const bar = element("div", { class: "el-bar" }, playButton(engine), time, loopControls(engine),
    sourceButtons(engine, spec.sources.map((source) => source.name), details));
  const plot = element("div", { class: "el-plot" },
    frequencyAxis(spec.sampleRate), track.lane, timeAxis(spec.seconds));
  root.append(heading(spec, describe(spec)), bar, plot,
    hint(spec.note, "Drag over the picture to loop a part.",
      `Space plays, 1–${Math.min(9, spec.sources.length)} switch, ←→ seek, L loops.`));
  engine.addEventListener("change", () => {
    [waves, pictures].forEach((group) => group.forEach((node, index) =>
      node.classList.toggle("el-shown", index === engine.active)));
  });
  followPosition(root, engine, track, time);
  bindKeys(root, engine);
  reportFailure(root, engine);
  return engine;
}
