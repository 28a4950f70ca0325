// Blind ABX: X is A or B, drawn anew for each trial. No picture, and no score before the end, but for
// practice, which has a louder difference and says whether each answer was right.


function randomBit() {
  return crypto.getRandomValues(new Uint8Array(1))[0] & 1;
}

// P(at least `hits` of `trials` by guessing), exact.
function guessingP(hits, trials) {
  let [term, sum] = [0.5 ** trials, 0];
  for (let k = 0; k <= trials; k++) {
    if (k >= hits) sum += term;
    term *= (trials - k) / (k + 1);
  }
  return Math.min(1, sum);
}

function csv(rows) {
  const cell = (value) => (/[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
  return [Object.keys(rows[0]), ...rows.map(Object.values)]
    .map((row) => row.map(cell).join(",") + "\n").join("");
}

function downloadLink(rows, name) {
  const href = URL.createObjectURL(new Blob([csv(rows)], { type: "text/csv" }));
  const link = element("a", { href, download: name, class: "el-download" }, "Download the answers (CSV)");
  return link;
}

const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "abx";

// How often guessers get each number of hits, as bars; those that do as well or better are filled.
function guessersPicture(hits, trials) {
  const shares = Array.from({ length: trials + 1 }, (_, k) =>
    guessingP(k, trials) - guessingP(k + 1, trials));
  const [width, height, top] = [100 / (trials + 1), 60, Math.max(...shares)];
  const bars = shares.map((share, k) => svg("rect", {
    x: k * width + 0.15 * width, width: 0.7 * width, class: k >= hits ? "el-as-well" : "el-worse",
    y: height - (height * share) / top, height: Math.max(0.6, (height * share) / top),
  }));
  const label = `Bars of how many of ${trials} guessers get right; ${hits} and more are marked.`;
  const picture = svg("svg", { viewBox: `0 0 100 ${height}`, preserveAspectRatio: "none", role: "img",
    "aria-label": label }, ...bars);
  const axis = element("div", { class: "el-hits", "aria-hidden": "true" }, ...shares.map((_, k) =>
    element("span", k === hits ? { class: "el-you" } : {}, k === hits ? `${k} (you)` : String(k))));
  return element("div", { class: "el-guessers" }, picture, axis,
    element("small", {}, `How many of ${trials} a guesser gets right; filled: as many as you, or more.`));
}

// What p allows to say.
function verdict(hits, trials) {
  const p = guessingP(hits, trials);
  const odds = p > 0.5 ? "Most guessers do as well" : `One guesser in ${Math.round(1 / p)} does as well`;
  const meaning = p <= 0.05
    ? "Luck is unlikely: you probably heard a difference."
    : "This may be luck. It does not show that there is nothing to hear.";
  const shown = p < 0.001 ? p.toExponential(1) : p.toFixed(3);
  return `${hits} of ${trials} right (p = ${shown}). ${odds}. ${meaning}`;
}

// Answers survive a reload of a published page, where the browser allows it.
function memory(spec) {
  const key = `el-abx ${[spec.title, spec.trials, ...spec.sources.map(({ name, bytes }) => name + bytes)]}`;
  const store = (action) => {
    try {
      return spec.published ? action(localStorage) : null;
    } catch {
      return null; // no storage for this page
    }
  };
  return {
    read: () => JSON.parse(store((storage) => storage.getItem(key)) ?? "[]"),
    write: (rows) => store((storage) => storage.setItem(key, JSON.stringify(rows))),
  };
}

// A link to this page that tells the score; the page that it opens shows it beside the test.
function shareLink(spec, hits, trials) {
  const link = new URL(location.href);
  link.hash = `abx=${slug(spec.title)}.${hits}.${trials}`;
  return element("a", { href: link.href, class: "el-share" }, "Link to share this result");
}

function sharedScore(spec) {
  const [, title, hits, trials] = location.hash.match(/^#abx=([a-z0-9-]+)\.(\d+)\.(\d+)$/) ?? [];
  if (title !== slug(spec.title)) return "";
  return `Whoever sent you here got ${hits} of ${trials} right.`;
}

function mountAbx(root, spec, report) {
  const [a, b, practice] = spec.sources;
  const engine = makeEngine(spec, { choices: [0, 1, 0], together: true }); // the third is X
  const kept = memory(spec);
  let [isB, rows, began, listens, last] = [0, kept.read(), 0, 0, -1];
  let practised = rows.length ? spec.practice : 0;
  const heard = new Set();

  const time = clockFace();
  const track = timeline(engine, "Position in the clip", element("div", { class: "el-blank" }));
  const progress = element("p", { class: "el-progress", role: "status" });
  const feedback = element("p", { class: "el-feedback", role: "status" }, sharedScore(spec));
  const answer = (letter) => {
    const button = element("button", { type: "button", "data-answer": letter }, `X is ${letter}`,
      element("kbd", { "aria-hidden": "true" }, `⇧${letter}`));
    button.addEventListener("click", () => give(letter));
    return button;
  };
  const answers = element("div", { class: "el-answers", role: "group", "aria-label": "Your answer" },
    answer("A"), answer("B"));
  const undo = element("button", { type: "button", "data-action": "undo" }, "Undo the last answer");
  const result = element("div", { class: "el-result", role: "status" });
  const sources = sourceButtons(engine, ["A", "B", "X"], [], ["A", "B", "X"]);
  const bar = element("div", { class: "el-bar" }, playButton(engine), time, loopControls(engine),
    sources);
  const plot = element("div", { class: "el-plot el-plain" }, track.lane, track.axis);
  const who = a.name === "A" ? "" : `A: ${a.name} · B: ${b.name} · `;
  root.append(heading(spec, who + describe(spec)), progress, bar, plot, answers, feedback, undo, result,
    hint(spec.note, "Listen to X and to A or B, then answer; the score comes after the last trial.",
      "A, B and X play, with Shift A and B answer, Space pauses, L loops."));

  const trialsLeft = () => rows.length < spec.trials;
  const practising = () => practised < spec.practice;
  const ready = () => trialsLeft() && heard.has(2) && heard.size > 1;
  const update = () => {
    if (engine.state === "playing") {
      if (engine.active !== last) listens += 1;
      last = engine.active;
      heard.add(engine.active);
    }
    for (const button of answers.children) button.disabled = !ready();
    undo.hidden = practising() || !rows.length || !trialsLeft();
  };
  // The sound goes on, with A; whatever was drawn before is drawn again for an undone answer.
  const next = (drawn = randomBit()) => {
    engine.select(0);
    isB = drawn;
    const second = practising() ? 2 : 1;
    engine.choices = [0, second, isB ? second : 0];
    [began, listens, last] = [performance.now(), 0, -1];
    heard.clear();
    progress.textContent = practising()
      ? `Practice ${practised + 1} of ${spec.practice}, with ${practice.name} as B`
      : `Trial ${rows.length + 1} of ${spec.trials}`;
    engine.changed();
  };
  const give = (letter) => {
    if (!ready()) return;
    root.querySelector("[data-action=play]").focus();
    const x = "AB"[isB];
    if (practising()) {
      practised += 1;
      feedback.textContent = (x === letter ? `Right: X was ${x}.` : `No, X was ${x}.`)
        + (practising() ? "" : " From now on it counts, and nothing is told before the end.");
      return next();
    }
    feedback.textContent = "";
    rows.push({
      title: spec.title, a: a.name, b: b.name, trial: rows.length + 1, x, answer: letter,
      correct: Number(x === letter), seconds: ((performance.now() - began) / 1000).toFixed(2),
      listens, utc: new Date().toISOString(),
    });
    keep();
    if (trialsLeft()) next();
    else finish();
  };
  const keep = () => {
    kept.write(rows);
    report(rows.map((row) => ({ ...row })));
  };
  undo.addEventListener("click", () => {
    const { x } = rows.pop();
    root.querySelector("[data-action=play]").focus(); // this button goes, and the focus with it
    keep();
    next("AB".indexOf(x));
  });
  const finish = () => {
    engine.pause();
    const hits = rows.reduce((sum, row) => sum + row.correct, 0);
    progress.textContent = "Done";
    const again = element("button", { type: "button", "data-action": "again" }, "Start again");
    again.addEventListener("click", () => {
      rows = [];
      keep();
      result.replaceChildren();
      next();
    });
    result.replaceChildren(
      element("p", {}, verdict(hits, rows.length)), guessersPicture(hits, rows.length),
      element("p", {}, downloadLink(rows, `${slug(spec.title)}.csv`), " · ",
        shareLink(spec, hits, rows.length), " ", again));
    update();
  };
  const listen = (choice) => {
    engine.select(choice);
    if (engine.state === "paused") engine.play();
  };

  engine.addEventListener("change", update);
  followPosition(root, engine, track, time);
  bindKeys(root, engine, {
    a: (event) => (event.shiftKey ? give("A") : listen(0)),
    b: (event) => (event.shiftKey ? give("B") : listen(1)),
    x: () => listen(2),
  });
  reportFailure(root, engine);
  if (trialsLeft()) next();
  else finish();
  return engine;
}
