// The page: the column of layers, and the sheets of all of them. `data.js` starts it.
"use strict";

const network = { atlases: [] };

// Build the page. A row has the number of a layer of each atlas, or null where an atlas has none beside the others.
function start(atlases, rows) {
  network.atlases = atlases;
  atlases.forEach((atlas, number) => {
    atlas.number = number;
    atlas.layers.forEach((layer, k) => {
      Object.assign(layer, { atlas, number: k });
      layer.states = new Map(Object.entries(layer.states).flatMap(([state, all]) => all.map((i) => [i, state])));
    });
  });
  document.documentElement.dataset.atlases = atlases.length;
  document.getElementById("search").hidden = false;
  const sections = rows.map((row, k) =>
    element(
      "section",
      { class: "row", id: `row-${k}` },
      ...row.map((i, a) => (i === null ? element("div", { class: "sheet" }) : sheet(atlases[a].layers[i]))),
    ),
  );
  const heads = atlases.map(({ name }) => element("p", { class: "atlas" }, name));
  document
    .getElementById("network")
    .replaceChildren(
      ...(atlases.length > 1 ? [element("div", { class: "row heads" }, ...heads)] : []),
      ...sections,
      about(atlases),
    );
  document.getElementById("layers").replaceChildren(column(atlases, rows), keys());
  mark(sections);
  window.addEventListener("hashchange", follow);
  follow();
}

// The column of layers: each with its place in the network, and how much of the image it sees.
function column(atlases, rows) {
  const widest = Math.max(
    2,
    ...atlases.flatMap(({ layers }) => layers.map((layer) => Math.max(...(layer.field?.[0] ?? [1])))),
  );
  let position = null;
  const items = rows.map((row, k) => {
    const layers = row.map((i, a) => (i === null ? null : atlases[a].layers[i])).filter(Boolean);
    const names = [...new Set(layers.map(({ name }) => name))];
    const [first] = layers;
    const between = position === null || first.position === null ? 0 : Math.max(0, first.position - position - 1);
    position = first.position ?? position;
    return element(
      "li",
      {},
      between
        ? element(
            "span",
            { class: "between", title: `${between} other layers of the network`, "aria-hidden": "true" },
            "·".repeat(Math.min(between, 6)),
          )
        : null,
      element(
        "a",
        { href: `#row-${k}`, title: names.join(", ") },
        sight(first, widest),
        element("span", { class: "names" }, ...names.map((name) => element("span", { class: "layer" }, name))),
        element("span", { class: "count" }, [...new Set(layers.map(({ filters }) => written(filters)))].join(" · ")),
      ),
    );
  });
  return element("ol", {}, ...items);
}

// A square, and in it the share of the image that a layer sees, on a scale of powers up to the layer that sees most.
function sight(layer, widest) {
  const sees = Math.max(...(layer.field?.[0] ?? [1]));
  const side = 3 + (15 * Math.log(sees)) / Math.log(widest);
  return shape(
    "svg",
    { class: "sight", viewBox: "0 0 20 20", "aria-hidden": "true" },
    shape("rect", { class: "canvas", x: 0.5, y: 0.5, width: 19, height: 19 }),
    shape("rect", { class: "seen", x: 10 - side / 2, y: 10 - side / 2, width: side, height: side }),
  );
}

function keys() {
  const key = (name) => element("kbd", {}, name);
  return element(
    "p",
    { class: "keys" },
    key("←→↑↓"),
    " move ",
    key("Enter"),
    " opens ",
    key("Esc"),
    " closes ",
    key("/"),
    " searches",
  );
}

// How each atlas was made.
function about(atlases) {
  const lists = atlases.map(({ name, manifest }) =>
    element(
      "div",
      {},
      atlases.length > 1 ? element("h3", {}, name) : null,
      element("dl", {}, ...manifest.flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, value)])),
    ),
  );
  return element("details", { class: "about" }, element("summary", {}, "How the pictures were made"), ...lists);
}

// In the column, mark the layer that is in view.
function mark(sections) {
  const column = document.getElementById("layers");
  const links = [...column.querySelectorAll("a")];
  const shown = new Set();
  const watch = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries)
        shown[isIntersecting ? "add" : "delete"](sections.indexOf(target));
      const current = links[Math.min(...shown)];
      if (!current || current.hasAttribute("aria-current")) return;
      links.forEach((link) => link.removeAttribute("aria-current"));
      current.setAttribute("aria-current", "true");
      const { offsetLeft, offsetTop } = current.parentElement;
      column.scrollTo({ left: offsetLeft - column.clientWidth / 3, top: offsetTop - column.clientHeight / 3 });
    },
    { rootMargin: "-80px 0px -40% 0px" },
  );
  sections.forEach((section) => watch.observe(section));
}
