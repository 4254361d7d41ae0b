// The sheets: the filters of each layer as a grid of small pictures, which the arrow keys walk through.
"use strict";

const COLUMNS = 16; // of the sheets in the files,
const SHEET = 256; // and filters in each; `sheets.py` has the same numbers

// Why there is no picture of a filter: "dead", "lost" or "missing"; "" if there is one.
function state(layer, i) {
  return layer.states.get(i) ?? "";
}

// What there is to say of a filter in one line.
function told(layer, i) {
  const words = { dead: "dead", lost: "no picture", missing: "not computed yet" };
  return `filter ${i}, ${words[state(layer, i)] ?? `score ${written(layer.scores[i])}`}`;
}

// Show the small picture of a filter in an element: its place in the sheet of the layer.
function paint(place, layer, i) {
  if (state(layer, i)) return;
  const [sheet, there] = [Math.floor(i / SHEET), i % SHEET];
  const count = Math.min(SHEET, layer.filters - sheet * SHEET);
  const [columns, rows] = [Math.min(COLUMNS, count), Math.ceil(count / COLUMNS)];
  const part = (k, n) => (n > 1 ? (100 * k) / (n - 1) : 0);
  place.style.backgroundImage = `url("${layer.folder}/sheet-${sheet}.webp")`;
  place.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
  place.style.backgroundPosition = `${part(there % COLUMNS, columns)}% ${part(Math.floor(there / COLUMNS), rows)}%`;
}

// A small picture to click on.
function tile(layer, i) {
  return element("button", {
    type: "button",
    class: `tile ${state(layer, i)}`,
    tabindex: -1,
    "aria-label": told(layer, i),
  });
}

// The shape of the pictures of a layer, for all tiles in an element.
function shaped(place, layer) {
  place.style.setProperty("--shape", `${layer.size[1]} / ${layer.size[0]}`);
  return place;
}

// The sheet of a layer, with its name and what is known of it.
function sheet(layer) {
  layer.tiles = Array.from({ length: layer.filters }, (_, i) => tile(layer, i));
  if (layer.tiles.length) layer.tiles[0].tabIndex = 0; // one stop of the Tab key for each layer
  const readout = element("p", { class: "readout", "aria-hidden": "true" });
  const grid = element(
    "div",
    { class: "grid", role: "group", "aria-label": `Filters of ${layer.name}` },
    ...layer.tiles,
  );
  shaped(grid, layer);
  const found = (event) => layer.tiles.indexOf(event.target);
  grid.addEventListener("click", (event) => found(event) >= 0 && show(layer, found(event)));
  grid.addEventListener("pointerover", (event) => tell(found(event)));
  grid.addEventListener("pointerleave", () => tell(-1));
  grid.addEventListener("focusin", (event) => {
    grid.querySelector("[tabindex='0']")?.setAttribute("tabindex", -1);
    event.target.setAttribute("tabindex", 0);
    tell(found(event));
  });
  grid.addEventListener("keydown", (event) => walk(event, layer, found(event)));
  function tell(i) {
    readout.textContent = i < 0 ? "" : told(layer, i);
  }
  const made = element(
    "div",
    { class: "sheet" },
    element(
      "div",
      { class: "name" },
      element("h2", {}, layer.name),
      element("p", { class: "facts" }, layer.facts.join(" · ")),
      readout,
    ),
    grid,
  );
  near.observe(made);
  painting.set(made, layer);
  return made;
}

// The pictures of a layer are loaded when its sheet comes near to the window.
const painting = new Map();
const near = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      const layer = painting.get(target);
      layer.tiles.forEach((made, i) => paint(made, layer, i));
    }
  },
  { rootMargin: "1000px" },
);

// The arrow keys go to the next filter, also into the next layer; Home and End to the ends of the layer.
function walk(event, layer, i) {
  const { tiles } = layer;
  const columns = getComputedStyle(event.currentTarget).gridTemplateColumns.split(" ").length;
  const column = i % columns;
  const lastRow = Math.floor((tiles.length - 1) / columns);
  const [before, after] = [-1, 1].map((step) => layer.atlas.layers[layer.number + step]?.tiles ?? []);
  const steps = {
    ArrowLeft: () => tiles[i - 1] ?? before.at(-1),
    ArrowRight: () => tiles[i + 1] ?? after[0],
    ArrowUp: () => tiles[i - columns] ?? before[lastRowStart(before.length, columns) + column] ?? before.at(-1),
    ArrowDown: () =>
      tiles[i + columns] ?? (Math.floor(i / columns) < lastRow ? tiles.at(-1) : (after[column] ?? after.at(-1))),
    Home: () => tiles[0],
    End: () => tiles.at(-1),
  };
  const modified = event.ctrlKey || event.altKey || event.metaKey || event.shiftKey;
  if (i < 0 || modified || !(event.key in steps)) return;
  event.preventDefault();
  steps[event.key]()?.focus();
}

function lastRowStart(count, columns) {
  return columns * Math.floor((count - 1) / columns);
}
