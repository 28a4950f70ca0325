// MUSHRA (ITU-R BS.1534-3): rate unnamed versions, a hidden reference and a low anchor among them,
// against an open reference. The order is drawn by the browser.

const GRADES = ["bad", "poor", "fair", "good", "excellent"]; // each a fifth of 0 to 100
// One listener's answers in this page. (crypto.randomUUID is for https only, this is not.)
const SESSION = crypto.getRandomValues(new Uint32Array(1))[0].toString(36);

function shuffled(items) {
  const drawn = [...items];
  for (let last = drawn.length - 1; last > 0; last--) {
    const other = crypto.getRandomValues(new Uint32Array(1))[0] % (last + 1);
    [drawn[last], drawn[other]] = [drawn[other], drawn[last]];
  }
  return drawn;
}

// One version: its button, and a slider that says its grade in words too.
function ratingRow(engine, index, onRate) {
  const name = `Version ${index}`;
  const listen = sourceButton(engine, index, name, index < 10 ? String(index) : "");
  const slider = element("input", {
    type: "range", min: "0", max: "100", value: "50", "aria-label": `Rating of version ${index}`,
  });
  const score = element("output", {}, "–");
  const show = () => {
    const grade = GRADES[Math.min(4, Math.floor(slider.value / 20))];
    slider.setAttribute("aria-valuetext", `${slider.value}, ${grade}`);
    score.textContent = slider.value;
    onRate(index, Number(slider.value));
  };
  slider.addEventListener("focus", () => engine.select(index));
  slider.addEventListener("input", show);
  slider.addEventListener("click", show); // the middle is a rating too, once it is meant
  return element("div", { class: "el-rating" }, listen, score, slider);
}

const RECOGNIZED = 90; // ITU-R BS.1534-3: a listener who rates the reference lower is left out

// What was which, from best to worst, and whether the hidden reference was found.
function ratingBars(answers) {
  const rows = [...answers].sort((one, other) => other.score - one.score).map(({ system, score }) =>
    element("div", { class: "el-score" }, element("span", {}, system),
      element("div", {}, element("i", { style: `width:${score}%` })), element("span", {}, String(score))));
  const { score } = answers.find(({ system }) => system === "reference");
  const verdict = score >= RECOGNIZED
    ? `You gave the hidden reference ${score}: you found it, and the other ratings count.`
    : `You gave the hidden reference ${score}. Under ${RECOGNIZED} the standard (ITU-R BS.1534) leaves `
      + "a listener out: what you heard as worse was the original itself.";
  return [element("p", {}, verdict), element("div", { class: "el-scores" }, ...rows)];
}

function mountMushra(root, spec, report) {
  const order = shuffled(spec.sources.keys());
  const engine = makeEngine(spec, { choices: [0, ...order], together: true });
  const [scores, heard, began] = [new Map(), new Set(), performance.now()];
  const time = clockFace();
  const track = timeline(engine, "Position in the clip", element("div", { class: "el-blank" }));
  const reference = element("div", { class: "el-sources" }, sourceButton(engine, 0, "Reference", "0"));
  const bar = element("div", { class: "el-bar" }, playButton(engine), time, loopControls(engine), reference);
  const plot = element("div", { class: "el-plot el-plain" }, track.lane, track.axis);
  const grades = element("div", { class: "el-grades", "aria-hidden": "true" },
    ...GRADES.map((grade) => element("span", {}, grade)));
  const rows = order.map((_, at) => ratingRow(engine, at + 1, (index, score) => {
    scores.set(index, score);
    update();
  }));
  const done = element("button", { type: "button", "data-action": "finish" }, "Finish");
  const result = element("div", { class: "el-result", role: "status" });
  const instructions = "Rate every version against the reference (100: no difference). One of them is "
    + "the reference itself: at least one should get 100.";
  root.append(heading(spec, describe(spec)), bar, plot,
    element("div", { class: "el-ratings" }, grades, ...rows), done, result,
    hint(spec.note, instructions, `Space plays, 0–${Math.min(9, order.length)} switch, L loops.`));

  const update = () => {
    if (engine.state === "playing") heard.add(engine.active);
    done.disabled = !(scores.size === order.length && order.every((_, at) => heard.has(at + 1)));
  };
  done.addEventListener("click", () => {
    engine.pause();
    const answers = order.map((source, at) => ({
      session: SESSION, title: spec.title, system: source === 0 ? "reference" : spec.sources[source].name,
      score: scores.get(at + 1), version: at + 1,
      seconds: ((performance.now() - began) / 1000).toFixed(1), utc: new Date().toISOString(),
    }));
    report(answers);
    rows.forEach((row, at) => {
      row.querySelector("input").disabled = true;
      row.querySelector("[data-source] span").textContent = answers[at].system;
    });
    done.hidden = true;
    result.replaceChildren(...ratingBars(answers),
      element("p", {}, downloadLink(answers, `${slug(spec.title)}.csv`)));
  });
  engine.addEventListener("change", update);
  followPosition(root, engine, track, time);
  const digits = Object.fromEntries([0, ...order].slice(0, 10).map((_, at) =>
    [String(at), () => engine.select(at)]));
  bindKeys(root, engine, digits);
  reportFailure(root, engine);
  return engine;
}
