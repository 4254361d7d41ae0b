// The search: words are parts of the name of a layer, and a number at the end is that of a filter.
"use strict";

const query = document.getElementById("query");
const list = document.getElementById("matches");
const MOST = 12; // matches that are listed

// The matches of a text, the best first, as [layer, filter or null].
function matches(text) {
  const words = text
    .toLowerCase()
    .split(/[\s:#]+/)
    .filter(Boolean);
  if (!words.length) return [];
  const layers = network.atlases.flatMap((atlas) => atlas.layers);
  const named = (parts) => layers.filter(({ name }) => parts.every((word) => name.toLowerCase().includes(word)));
  const number = /^\d+$/.test(words.at(-1)) ? Number(words.at(-1)) : null;
  const filters = number === null ? [] : named(words.slice(0, -1)).filter((layer) => number < layer.filters);
  const whole = named(words);
  // "conv1 17" means a filter. "3" may be a part of a name as well; a layer with exactly this name comes first.
  const exact = whole.filter(({ name }) => name.toLowerCase() === text.trim().toLowerCase());
  return [
    ...exact.map((layer) => [layer, null]),
    ...filters.map((layer) => [layer, number]),
    ...whole.filter((layer) => !exact.includes(layer)).map((layer) => [layer, null]),
  ].slice(0, MOST);
}

function listMatches() {
  const found = matches(query.value);
  list.replaceChildren(
    ...found.map(([layer, i], k) => {
      const option = element(
        "li",
        { role: "option", id: `match-${k}`, "aria-selected": "false" },
        i === null ? null : picture(layer, i),
        element("span", { class: "layer" }, layer.name),
        i === null ? `${written(layer.filters)} filters` : `filter ${i}`,
        network.atlases.length > 1 ? element("span", { class: "atlas" }, layer.atlas.name) : null,
      );
      option.addEventListener("mousedown", (event) => event.preventDefault()); // the field keeps the focus
      option.addEventListener("click", () => go(layer, i));
      option.go = () => go(layer, i);
      return option;
    }),
  );
  if (query.value.trim() && !found.length)
    list.append(
      element("li", { role: "option", "aria-disabled": "true", "aria-selected": "false" }, "no such layer or filter"),
    );
  const shown = list.children.length > 0;
  list.hidden = !shown;
  query.setAttribute("aria-expanded", shown);
  select(found.length ? 0 : -1);
}

function picture(layer, i) {
  const made = element("span", { class: `tile ${state(layer, i)}`, "aria-hidden": "true" });
  paint(made, layer, i);
  return made;
}

function select(k) {
  [...list.children].forEach((option, at) => option.setAttribute("aria-selected", at === k));
  if (k < 0) return query.removeAttribute("aria-activedescendant");
  query.setAttribute("aria-activedescendant", `match-${k}`);
  list.children[k].scrollIntoView({ block: "nearest" });
}

function go(layer, i) {
  shut();
  query.value = "";
  if (i !== null) {
    query.blur(); // or the panel would give the focus back to the search
    return show(layer, i);
  }
  layer.tiles[0]?.focus({ preventScroll: true });
  layer.tiles[0]?.closest(".row").scrollIntoView();
}

function shut() {
  list.hidden = true;
  query.setAttribute("aria-expanded", false);
  query.removeAttribute("aria-activedescendant");
}

query.addEventListener("input", listMatches);
query.addEventListener("focus", () => query.value && listMatches());
query.addEventListener("blur", shut);
query.addEventListener("keydown", (event) => {
  const options = [...list.children].filter((option) => option.go);
  const at = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && options.length) {
    event.preventDefault();
    if (list.hidden) listMatches();
    else select((at + step + options.length) % options.length);
  } else if (event.key === "Enter" && at >= 0) {
    event.preventDefault(); // else the filter that gets the focus would be clicked by the same key
    options[at].go();
  } else if (event.key === "Escape") {
    query.value = "";
    shut();
    query.blur();
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target === query) return;
  event.preventDefault();
  if (panel.open) {
    leave(); // first, so that the focus does not go to the filter
    panel.close();
  }
  query.focus();
});
