// One filter: its large picture, its scores, what it sees, and the filters that are like it. The address of the page
// names the filter that is shown, #/atlas/layer/filter by their numbers, so it can be kept, and the way back closes it.
"use strict";

const panel = document.getElementById("filter");
let shown = ""; // the address of the filter in the panel
const details = new Map(); // the address of a script → a promise of what it gives
const awaited = new Map(); // the same → the function that keeps the promise

// The scripts of the sheets call this.
function arrived(folder, number, found) {
  awaited.get(`${folder}/sheet-${number}.js`)(found);
}

// What is known of the filters of a sheet. It is a script, since a page that is opened from a folder loads no other data.
function load(layer, i) {
  const address = `${layer.folder}/sheet-${Math.floor(i / SHEET)}.js`;
  if (!details.has(address)) {
    const promise = new Promise((keep, fail) => {
      awaited.set(address, keep);
      const script = element("script", { src: address });
      script.addEventListener("error", () => fail(new Error(`${address} is missing`)));
      document.head.append(script);
    });
    details.set(address, promise);
  }
  return details.get(address);
}

function show(layer, i) {
  location.hash = `#/${layer.atlas.number}/${layer.number}/${i}`;
}

// The filter that the address names, as [layer, number], or null.
function named() {
  const match = /^#\/(\d+)\/(\d+)\/(\d+)$/.exec(location.hash);
  if (!match) return null;
  const [atlas, number, i] = match.slice(1).map(Number);
  const layer = network.atlases[atlas]?.layers[number];
  return layer && i < layer.filters ? [layer, i] : null;
}

// Show the filter that the address names, or none.
function follow() {
  const filter = named();
  if (!filter) return panel.open && panel.close();
  const [layer, i] = filter;
  shown = location.hash;
  document
    .getElementById("filter-name")
    .replaceChildren(element("span", { class: "layer" }, layer.name), ` filter ${i}`);
  document.getElementById("previous").disabled = i === 0;
  document.getElementById("next").disabled = i === layer.filters - 1;
  document.getElementById("sides").replaceChildren(...besides(layer, i).map((each) => side(each, i)));
  if (!panel.open) {
    panel.showModal();
    panel.focus(); // and not its first button: the arrow keys turn to the next filter
  }
  panel.scrollTop = 0;
}

// The layers of that name in all atlases that have this filter, or this layer alone.
function besides(layer, i) {
  const same = network.atlases.map((atlas) =>
    atlas.layers.find((each) => each.name === layer.name && i < each.filters),
  );
  return same.includes(layer) ? same.filter(Boolean) : [layer];
}

// A filter in one atlas: what is known at once, and what comes with the script of its sheet.
function side(layer, i) {
  const kind = state(layer, i);
  const address = kind ? null : `${layer.folder}/filter-${i}.webp`;
  const picture = kind ? nothing(layer, kind) : large(layer, i, address);
  const more = element("div", {});
  const numbers = [
    ["Score", layer.scores[i], "at the last step"],
    ["Robust score", layer.robust[i], "the mean when the picture is changed a little: moved, blurred, mirrored"],
  ];
  const terms = numbers
    .filter(([, value]) => value !== null)
    .flatMap(([name, value, title]) => [element("dt", { title }, name), element("dd", {}, written(value))]);
  if (kind !== "missing")
    load(layer, i).then(
      (found) => {
        more.append(...known(layer, i, found));
        if (found.exact[i % SHEET]) picture.append(contrast(layer, i, picture.querySelector("img")));
      },
      (failure) => more.append(words(failure.message)),
    );
  const made = element(
    "article",
    {},
    network.atlases.length > 1 ? element("h3", { class: "atlas" }, layer.atlas.name) : null,
    element(
      "div",
      {},
      picture,
      terms.length ? element("dl", {}, ...terms) : null,
      layer.field ? part("Receptive field", "field", receptiveField(layer, address), words(seenBy(layer))) : null,
    ),
    more,
  );
  return shaped(made, layer);
}

function large(layer, i, address) {
  const [height, width] = layer.size;
  const image = element("img", { src: address, width, height, alt: `What filter ${i} of ${layer.name} looks for` });
  return element("figure", { class: "large" }, image);
}

function nothing(layer, kind) {
  const reason = {
    dead: "This filter is dead: its picture did not move away from its start, so there is nothing to see.",
    lost: "The ascent of this filter ended in numbers that are not finite, so there is no picture.",
    missing: "This filter is not computed yet.",
  }[kind];
  const hatched = element("div", { class: `tile ${kind}` });
  return element("figure", { class: "large" }, hatched, element("figcaption", {}, reason));
}

// A button that shows the large picture in its other contrast.
function contrast(layer, i, image) {
  const made = element("button", { type: "button", "aria-pressed": "false" }, "Contrast as computed");
  made.addEventListener("click", () => {
    const exact = made.getAttribute("aria-pressed") === "false";
    made.setAttribute("aria-pressed", exact);
    image.src = `${layer.folder}/${exact ? "exact" : "filter"}-${i}.webp`;
  });
  return made;
}

// What the script of the sheet says of a filter.
function known(layer, i, found) {
  const at = i % SHEET;
  const drawn = curve(found.curves[at], layer.steps);
  const crops = found.crops[at];
  const alike = Object.entries(found.neighbours).map(([kind, all]) => [kind, all[at]]);
  return [
    drawn && part("Score at each step", "scores", drawn),
    crops.length && part("Strongest crops", "crops", ...crops.map((_, k) => crop(layer, i, crops, k))),
    ...alike.map(
      ([kind, others]) =>
        others.length && part(`Most alike by ${kind}`, "alike", ...others.map((other) => neighbour(layer, ...other))),
    ),
  ].filter(Boolean);
}

function crop(layer, i, crops, k) {
  const [file, score] = crops[k];
  const place = element("div", { class: "tile", role: "img", "aria-label": `Crop of ${file}` });
  place.style.backgroundImage = `url("${layer.folder}/crops-${i}.webp")`;
  place.style.backgroundSize = `${100 * crops.length}% 100%`;
  place.style.backgroundPosition = `${crops.length > 1 ? (100 * k) / (crops.length - 1) : 0}% 0`;
  return element(
    "figure",
    { title: file },
    place,
    element("figcaption", {}, element("span", {}, written(score)), element("span", {}, file)),
  );
}

function neighbour(layer, j, likeness) {
  const made = tile(layer, j);
  made.tabIndex = 0;
  made.addEventListener("click", () => show(layer, j));
  paint(made, layer, j);
  return element("figure", {}, made, element("figcaption", {}, `${j}`, element("span", {}, likeness.toFixed(2))));
}

// A part of the panel, with its heading.
function part(heading, kind, ...children) {
  return element("section", { class: kind }, element("h3", {}, heading), element("div", {}, ...children));
}

function words(text) {
  return element("p", { class: "facts" }, text);
}

function seenBy(layer) {
  const [sides, strides] = layer.field;
  const both = (numbers) => (numbers[0] === numbers[1] ? `${numbers[0]}` : numbers.join(" × "));
  const size = `${sides.join(" × ")} pixels`;
  return both(strides) === "0"
    ? `${size}, the same for all positions.`
    : `${size}, stride ${both(strides)}. Dashed: the next position.`;
}

document.getElementById("close").addEventListener("click", () => panel.close());
document.getElementById("previous").addEventListener("click", () => turn(-1));
document.getElementById("next").addEventListener("click", () => turn(1));
panel.addEventListener("click", (event) => event.target === panel && panel.close()); // beside the panel
panel.addEventListener("close", () => {
  if (location.hash !== shown) return; // the address closed the panel, or names the next filter already
  const [layer, i] = named();
  leave();
  if (document.activeElement !== query) layer.tiles[i].focus(); // a visitor may have gone on to the search by now
});
panel.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  turn(step);
});

// Show the next filter of the layer in place of this one, so that the way back leads to the sheets.
function turn(step) {
  const filter = named();
  if (!filter) return;
  const [layer, i] = filter;
  if (layer.tiles[i + step]) location.replace(`#/${layer.atlas.number}/${layer.number}/${i + step}`);
}

// The address of no filter; it closes the panel.
function leave() {
  location.replace("#/");
}
