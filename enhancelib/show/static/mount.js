// Doors into the module: a notebook widget (anywidget) or the comparisons found in a static page.

const MOUNTS = { player: mountPlayer, abx: mountAbx, mushra: mountMushra };

function mount(root, spec, report = () => {}) {
  root.className = `el-root el-${spec.kind}`;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", spec.title || "Audio comparison");
  root.replaceChildren();
  const engine = MOUNTS[spec.kind](root, spec, report);
  const forget = followTheme(root);
  engine.changed();
  root.engine = engine;
  return () => (engine.dispose(), forget());
}

export function mountAll(scope = document) {
  if (!scope.elKeys) bindPageKeys(scope);
  scope.elKeys = true;
  for (const root of scope.querySelectorAll(".el-root:not([data-state])")) {
    const spec = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    mount(root, { ...spec, published: true });
  }
  scope.querySelectorAll(".el-gallery:not([data-state])").forEach(mountGallery);
}

export function render({ model, el }) {
  const spec = structuredClone(model.get("spec"));
  spec.sources.forEach((source, index) => (source.audio = model.get("audio")[index]));
  const root = document.createElement("div");
  el.append(root);
  return mount(root, spec, (answers) => (model.set("answers", answers), model.save_changes()));
}

export default { render };
