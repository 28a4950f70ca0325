// Blind ABX: X is A or B, drawn anew for each trial. No picture, and no score before the end.

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

function mountAbx(root, spec, report) {
  const [a, b] = spec.sources;
  const engine = makeEngine(spec, { choices: [0, 1, 0], together: true }); // the third is X
  let [isB, rows, began, listens, last] = [0, [], 0, 0, -1];
  const heard = new Set();

  const time = clockFace();
  const track = timeline(engine, "Position in the clip", element("div", { class: "el-blank" }));
  const progress = element("p", { class: "el-progress", role: "status" });
  const answer = (letter) => {
    const button = element("button", { type: "button", "data-answer": letter }, `X is ${letter}`,
      element("kbd", { "aria-hidden": "true" }, letter));
    button.addEventListener("click", () => give(letter));
    return button;
  };
  const answers = element("div", { class: "el-answers", role: "group", "aria-label": "Your answer" },
    answer("A"), answer("B"));
  const result = element("div", { class: "el-result", role: "status" });
  const sources = sourceButtons(engine, ["A", "B", "X"]);
  const bar = element("div", { class: "el-bar" }, playButton(engine), time, loopControls(engine),
    sources);
  const plot = element("div", { class: "el-plot el-plain" }, track.lane, track.axis);
  const who = a.name === "A" ? "" : `A: ${a.name} · B: ${b.name} · `;
  root.append(heading(spec, who + describe(spec)), progress, bar, plot, answers, result,
    hint(spec.note, "Listen to X and to A or B, then answer; the score comes after the last trial.",
      "Space plays, 1–3 switch, L loops, A and B answer."));

  const trialsLeft = () => rows.length < spec.trials;
  const ready = () => trialsLeft() && heard.has(2) && heard.size > 1;
  const update = () => {
    if (engine.state === "playing") {
      if (engine.active !== last) listens += 1;
      last = engine.active;
      heard.add(engine.active);
    }
    for (const button of answers.children) button.disabled = !ready();
  };
  const next = () => {
    engine.pause();
    isB = randomBit();
    engine.choices[2] = isB;
    [began, listens, last] = [performance.now(), 0, -1];
    heard.clear();
    engine.select(0);
    engine.seek(engine.looping ? engine.loopRange[0] : 0);
    progress.textContent = `Trial ${rows.length + 1} of ${spec.trials}`;
  };
  const give = (letter) => {
    if (!ready()) return;
    const x = "AB"[isB];
    rows.push({
      title: spec.title, a: a.name, b: b.name, trial: rows.length + 1, x, answer: letter,
      correct: Number(x === letter), seconds: ((performance.now() - began) / 1000).toFixed(2),
      listens, utc: new Date().toISOString(),
    });
    report(rows.map((row) => ({ ...row })));
    if (trialsLeft()) next();
    else finish();
    root.querySelector("[data-action=play]").focus();
  };
  const finish = () => {
    engine.pause();
    const hits = rows.reduce((sum, row) => sum + row.correct, 0);
    const p = guessingP(hits, rows.length);
    progress.textContent = "Done";
    const again = element("button", { type: "button", "data-action": "again" }, "Start again");
    again.addEventListener("click", () => (rows = [], result.replaceChildren(), next()));
    const verdict = p <= 0.05 ? "You hear a difference." : "No difference shown: this could be guessing.";
    result.replaceChildren(
      element("p", {}, `${hits} of ${rows.length} right; a guesser does as well with p = `
        + `${p < 0.001 ? p.toExponential(1) : p.toFixed(3)}. ${verdict}`),
      element("p", {}, downloadLink(rows, `${slug(spec.title)}.csv`), " ", again));
    update();
  };

  engine.addEventListener("change", update);
  followPosition(root, engine, track, time);
  bindKeys(root, engine, { a: () => give("A"), b: () => give("B") });
  reportFailure(root, engine);
  next();
  return engine;
}
