// Parts of the page that every comparison shares: transport, timeline with loop region, keyboard.

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const ICONS = {
  play: "M8 5v14l11-7z",
  pause: "M7 5h4v14H7zM13 5h4v14h-4z",
  loop: "M17 2l4 4-4 4V7H7v4H5V5h12zM7 22l-4-4 4-4v3h10v-4h2v6H7z",
  zoom: "M10 3a7 7 0 1 0 4.2 12.6l5.1 5.1 1.4-1.4-5.1-5.1A7 7 0 0 0 10 3zm0 2a5 5 0 1 1 0 10 5 5 0 0 1 0-10zM9 7h2v2h2v2h-2v2H9v-2H7V9h2z",
  loading: "M12 4a8 8 0 1 0 8 8h-2a6 6 0 1 1-6-6z",
};

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function icon(name) {
  const path = svg("path", { d: ICONS[name] });
  return svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true", class: `el-icon-${name}` }, path);
}

const clock = (seconds) =>
  `${Math.floor(seconds / 60)}:${(Math.floor((seconds % 60) * 10) / 10).toFixed(1).padStart(4, "0")}`;

const kilohertz = (hz) => `${+(hz / 1000).toFixed(2)} kHz`;

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e5 ? 2 : 1)} MB`;

const decibels = (db) => {
  const rounded = Math.round(db * 10) / 10;
  const sign = rounded < 0 ? "−" : rounded > 0 ? "+" : "±";
  return `${sign}${Math.abs(rounded).toFixed(1)} dB`;
};

// Dark or light? Ask the page itself, so that every host (book, JupyterLab, editor) is right.
function followTheme(root) {
  const update = () => {
    let node = root.parentElement;
    let rgb = null;
    for (; node && !rgb; node = node.parentElement) {
      const parts = getComputedStyle(node).backgroundColor.match(/[\d.]+/g)?.map(Number);
      if (parts && (parts.length < 4 || parts[3] > 0.5)) rgb = parts;
    }
    const declared = getComputedStyle(document.documentElement).colorScheme;
    const dark = rgb ? 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2] < 128 : declared === "dark";
    root.dataset.elTheme = dark ? "dark" : "light";
  };
  const observer = new MutationObserver(() => (update(), setTimeout(update, 400)));
  for (const node of [document.documentElement, document.body]) {
    observer.observe(node, { attributes: true });
  }
  const query = matchMedia("(prefers-color-scheme: dark)");
  query.addEventListener("change", update);
  update();
  requestAnimationFrame(update); // a widget is attached to the page after it is made
  return () => (observer.disconnect(), query.removeEventListener("change", update));
}

function playButton(engine) {
  const button = element("button", { type: "button", class: "el-play", "data-action": "play" });
  button.append(icon("play"), icon("pause"), icon("loading"));
  button.addEventListener("click", () => engine.toggle());
  engine.addEventListener("change", () => {
    const label = { paused: "Play", playing: "Pause", loading: "Loading, press to cancel" };
    button.setAttribute("aria-label", label[engine.state]);
  });
  return button;
}

function iconButton(action, label, ...content) {
  const node = element("button", { type: "button", "data-action": action, title: label }, ...content);
  node.setAttribute("aria-label", label);
  return node;
}

function loopControls(engine, ...more) {
  const loop = iconButton("loop", "Loop (L)", icon("loop"));
  const from = iconButton("loop-start", "Loop from here ([)", "[");
  const to = iconButton("loop-end", "Loop up to here (])", "]");
  const clear = iconButton("loop-clear", "Loop everything (Escape)", "×");
  loop.addEventListener("click", () => engine.setLoop(!engine.looping));
  from.addEventListener("click", () => markLoop(engine, 0));
  to.addEventListener("click", () => markLoop(engine, 1));
  clear.addEventListener("click", () => (engine.setLoop(engine.looping, null), loop.focus()));
  engine.addEventListener("change", () => {
    loop.setAttribute("aria-pressed", String(engine.looping));
    clear.disabled = !engine.region;
  });
  return element("div", { class: "el-loop", role: "group", "aria-label": "Loop" },
    loop, from, to, clear, ...more.filter(Boolean));
}

// Set one end of the loop region at the playhead; the other end stays if it is still on its side.
function markLoop(engine, end) {
  const at = engine.position;
  const [start, stop] = engine.loopRange;
  const region = end === 0
    ? [at, stop - at >= MIN_LOOP_S ? stop : engine.seconds]
    : [at - start >= MIN_LOOP_S ? start : 0, at];
  engine.setLoop(true, region);
}

function timeAxis(seconds, zoom = 1) {
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];
  const step = steps.find((candidate) => seconds / zoom / candidate <= 6) ?? 600;
  const ticks = element("div", { class: "el-strip" });
  for (let tick = 0; tick <= seconds + 1e-6; tick += step) {
    const text = `${+tick.toFixed(1)}${tick + step > seconds ? " s" : ""}`;
    ticks.append(element("span", { style: `left:${(100 * tick) / seconds}%` }, text));
  }
  return element("div", { class: "el-time-axis", "aria-hidden": "true" }, ticks);
}

// The timeline: a slider with a playhead and the loop region over whatever pictures it is given.
// Zoomed, it shows a few seconds and moves along, so that the playhead stays in the middle.
function timeline(engine, label, ...pictures) {
  const region = element("div", { class: "el-region" });
  const head = element("div", { class: "el-playhead" });
  const strip = element("div", { class: "el-strip" }, ...pictures, region, head);
  const lane = element("div", {
    class: "el-lane", role: "slider", tabindex: "0", "aria-label": label,
    "aria-valuemin": "0", "aria-valuemax": engine.seconds.toFixed(1),
  }, strip);
  const track = { lane, head, engine, axis: timeAxis(engine.seconds), zoom: 1 };
  track.setZoom = (zoom) => {
    const axis = timeAxis(engine.seconds, zoom);
    track.axis.replaceWith(axis);
    Object.assign(track, { zoom, axis });
    engine.changed();
  };
  track.follow = (at) => {
    const width = lane.clientWidth;
    const shift = Math.min(Math.max(0, (at / engine.seconds) * track.zoom - 0.5), track.zoom - 1);
    for (const each of [strip, track.axis.firstChild]) {
      each.style.width = `${100 * track.zoom}%`;
      each.style.transform = track.zoom > 1 ? `translateX(${-shift * width}px)` : "";
    }
  };
  let drag = null;
  const timeAt = (event) => {
    const box = strip.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * engine.seconds;
  };
  lane.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const grab = (8 / strip.clientWidth) * engine.seconds;
    const at = timeAt(event);
    const edge = engine.region?.findIndex((end) => Math.abs(end - at) < grab) ?? -1;
    drag = { from: edge < 0 ? at : engine.region[1 - edge], x: event.clientX, moved: edge >= 0 };
    lane.setPointerCapture(event.pointerId);
  });
  lane.addEventListener("pointermove", (event) => {
    if (!drag || (!drag.moved && Math.abs(event.clientX - drag.x) < 5)) return;
    drag.moved = true;
    drag.region = [drag.from, timeAt(event)].sort((a, b) => a - b);
    showRegion(drag.region, true);
  });
  lane.addEventListener("pointerup", (event) => {
    if (drag?.region) engine.setLoop(true, drag.region);
    else if (drag && !drag.moved) engine.seek(timeAt(event));
    drag = null;
    engine.changed();
  });
  lane.addEventListener("pointercancel", () => (drag = null, engine.changed()));
  lane.addEventListener("dblclick", () => engine.setLoop(engine.looping, null));
  const showRegion = (range, on) => {
    region.hidden = !range;
    if (!range) return;
    region.classList.toggle("el-off", !on);
    region.style.left = `${(100 * range[0]) / engine.seconds}%`;
    region.style.width = `${(100 * (range[1] - range[0])) / engine.seconds}%`;
  };
  engine.addEventListener("change", () => showRegion(engine.region, engine.looping));
  return track;
}

const ZOOMED_S = 4; // so much is shown of a longer clip
const WORTH_ZOOMING_S = 6;

function zoomButton(track) {
  const { seconds } = track.engine;
  if (seconds < WORTH_ZOOMING_S) return null;
  const button = iconButton("zoom", "Zoom in and follow the playhead (Z)", icon("zoom"));
  button.addEventListener("click", () => track.setZoom(track.zoom > 1 ? 1 : seconds / ZOOMED_S));
  track.engine.addEventListener("change", () =>
    button.setAttribute("aria-pressed", String(track.zoom > 1)));
  return button;
}

function clockFace() {
  return element("div", { class: "el-clock" }, element("span"), element("small"));
}

// Playhead, clock and data attributes follow the sound; frames are asked for only while it plays.
function followPosition(root, engine, track, time) {
  const { lane, head } = track;
  let frame = 0;
  let spoken = -1;
  const show = () => {
    const at = engine.position;
    root.dataset.position = at.toFixed(3);
    head.style.left = `${(100 * at) / engine.seconds}%`;
    track.follow(at);
    lane.style.setProperty("--el-played", `${(100 * at) / engine.seconds}%`);
    time.firstChild.textContent = `${clock(at)} / ${clock(engine.seconds)}`;
    if (engine.state !== "playing" || Math.abs(at - spoken) >= 1) {
      spoken = at;
      lane.setAttribute("aria-valuenow", at.toFixed(1));
      lane.setAttribute("aria-valuetext", `${at.toFixed(1)} of ${engine.seconds.toFixed(1)} seconds`);
    }
    frame = engine.state === "playing" ? requestAnimationFrame(show) : 0;
  };
  engine.addEventListener("change", () => {
    const part = engine.region?.map((seconds) => seconds.toFixed(2)).join("–");
    time.lastChild.textContent = part ? `loop ${part} s` : "";
    root.dataset.state = engine.state;
    root.dataset.active = String(engine.active);
    cancelAnimationFrame(frame);
    show();
  });
}

// Keys work while the focus is anywhere inside the comparison; `extra` maps further keys.
function bindKeys(root, engine, extra = {}) {
  const keys = {
    ArrowLeft: (event) => engine.seek(engine.position - (event.shiftKey ? 0.1 : 1)),
    ArrowRight: (event) => engine.seek(engine.position + (event.shiftKey ? 0.1 : 1)),
    Home: () => engine.seek(0),
    End: () => engine.seek(engine.seconds),
    l: () => engine.setLoop(!engine.looping),
    "[": () => markLoop(engine, 0),
    "]": () => markLoop(engine, 1),
    Escape: () => engine.setLoop(engine.looping, null),
  };
  for (let source = 0; source < Math.min(9, engine.choices.length); source++) {
    keys[String(source + 1)] = () => engine.select(source);
  }
  Object.assign(keys, extra);
  root.keys = keys;
  root.dataset.lmSuppressShortcuts = "true"; // JupyterLab: keys pressed here are not its shortcuts
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("a")) return;
    if (event.target.matches("input") && /^(Arrow|Home|End)/.test(event.key)) { // its own keys
      event.stopPropagation();
      return;
    }
    const pressed = event.target.closest("button");
    const idle = !pressed || pressed.matches("[data-source][aria-pressed=true]");
    const action = event.key === " " && idle ? () => engine.toggle()
      : keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action(event);
  });
}

// In a published page digits, and A, B and X of a blind test, work without the focus, where one
// comparison alone is in view.
function bindPageKeys(scope) {
  scope.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (!/^[0-9abx]$/i.test(event.key) || event.target.isContentEditable) return;
    if (event.target.closest("input, select, textarea, .el-root")) return;
    const inView = [...scope.querySelectorAll(".el-root")].filter((root) => root.keys && visible(root));
    if (inView.length === 1) inView[0].keys[event.key.toLowerCase()]?.(event);
  });
}

// Its middle, or a large part of it, is on the screen.
function visible(root) {
  const { top, bottom } = root.getBoundingClientRect();
  const shown = Math.min(bottom, innerHeight) - Math.max(top, 0);
  return shown > 0.5 * Math.min(bottom - top, innerHeight);
}
