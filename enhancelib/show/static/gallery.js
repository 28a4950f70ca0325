// Players behind tabs: one is shown. To choose another while one sounds goes on with the new one, in
// the version that was heard.

let galleries = 0;

function mountGallery(gallery) {
  const panels = [...gallery.querySelectorAll(":scope > .el-panel")];
  const engines = panels.map((panel) => panel.querySelector(".el-root").engine);
  const name = `el-gallery-${(galleries += 1)}`;
  let shown = 0;
  const tabs = panels.map((panel, at) => {
    const tab = element("button", {
      type: "button", role: "tab", id: `${name}-tab-${at}`, "aria-controls": `${name}-${at}`,
    }, panel.dataset.tab);
    Object.assign(panel, { id: `${name}-${at}` });
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    tab.addEventListener("click", () => choose(at));
    return tab;
  });
  const show = () => tabs.forEach((tab, at) => {
    tab.setAttribute("aria-selected", String(at === shown));
    tab.tabIndex = at === shown ? 0 : -1;
    panels[at].hidden = at !== shown;
  });
  const choose = (at) => {
    const [before, after] = [engines[shown], engines[at]];
    shown = at;
    show();
    if (before === after) return;
    if (before.choices.length === after.choices.length) after.select((before.wish ?? before).active);
    if (before.state !== "paused") after.play(); // which pauses the other
    after.changed(); // its width is known only now
  };
  const list = element("div", { class: "el-tabs", role: "tablist" }, ...tabs);
  list.setAttribute("aria-label", gallery.getAttribute("aria-label"));
  list.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: shown - 1, ArrowRight: shown + 1, Home: 0, End: tabs.length - 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    choose((steps[event.key] + tabs.length) % tabs.length);
    tabs[shown].focus();
  });
  gallery.prepend(list);
  gallery.dataset.state = "tabs";
  followTheme(gallery);
  show();
}
