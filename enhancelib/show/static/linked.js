// In a page whose comparisons are files of the site: load the module and the style, once for all.
const at = (path) =>
  new URL((document.documentElement.dataset.content_root ?? "") + path, document.baseURI).href;
const [module, style] = [at("MODULE_PATH"), at("STYLE_PATH")];
if (!document.querySelector(`link[href="${style}"]`)) {
  document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href: style }));
}
try {
  (await import(module)).mountAll();
} catch (error) { // a page opened from disk may not import: offer the clips one by one
  for (const root of document.querySelectorAll(".el-root:not([data-state])")) {
    root.dataset.state = "plain";
    for (const { name, url } of JSON.parse(root.querySelector("script").textContent).sources) {
      const audio = Object.assign(new Audio(at(url)), { controls: true, preload: "none", title: name });
      const label = Object.assign(document.createElement("p"), { textContent: `${name}: ` });
      root.append(label);
      label.append(audio);
    }
  }
}
