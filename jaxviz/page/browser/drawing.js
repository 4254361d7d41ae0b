// Elements and drawings. Text is given as a string and becomes a text node, so it is never read as HTML.
"use strict";

const SVG = "http://www.w3.org/2000/svg"; // the name of a vocabulary; nothing is loaded from it

// An element of HTML, with attributes and children. A child is a string or an element; null is left out.
function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

// The same for a drawing.
function shape(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

// A number as people read it: 12.3, 0.00123, 4,224.
function written(number) {
  if (number === null) return "–";
  if (Number.isInteger(number)) return number.toLocaleString("en");
  return Math.abs(number) < 1e-3 || Math.abs(number) >= 1e6
    ? number.toExponential(2)
    : number.toLocaleString("en", { maximumSignificantDigits: 4 });
}

// The curve of a filter's scores, from the first step to the last. A score is null after an ascent was stopped.
function curve(scores, steps) {
  const points = scores
    .map((score, i) => [i / Math.max(1, scores.length - 1), score])
    .filter(([, score]) => score !== null);
  if (!points.length) return null;
  const values = points.map(([, score]) => score);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [left, right, top, bottom] = [48, 312, 10, 118];
  const x = (part) => left + part * (right - left);
  const y = (score) => (high > low ? bottom - ((score - low) / (high - low)) * (bottom - top) : (top + bottom) / 2);
  const label = (at, anchor, text) => shape("text", { x: at[0], y: at[1], "text-anchor": anchor }, text);
  const line = points.map(([part, score]) => `${x(part).toFixed(1)},${y(score).toFixed(1)}`).join(" ");
  const [, end] = points.at(-1);
  return shape(
    "svg",
    {
      class: "curve",
      viewBox: "0 0 320 140",
      role: "img",
      "aria-label": `The score goes from ${written(points[0][1])} to ${written(end)} in ${steps} steps`,
    },
    shape("path", { class: "axis", d: `M${left},${top}V${bottom}H${right}` }),
    label([left - 6, top + 5], "end", written(high)),
    high > low ? label([left - 6, bottom + 2], "end", written(low)) : null,
    label([left, bottom + 16], "start", "step 0"),
    label([right, bottom + 16], "end", written(steps - 1)),
    shape("polyline", { class: "line", points: line }),
    shape("circle", { class: "end", cx: x(points.at(-1)[0]), cy: y(end), r: 3 }),
  );
}

// What one position in the middle of a layer sees of the picture, and, dashed, what the next position sees.
function receptiveField(layer, address) {
  const [height, width] = layer.canvas; // of what the network saw; its picture may be cut out of the middle
  const [down, across] = layer.size;
  const [sides, strides, offsets] = layer.field;
  const middle = [height, width].map((length, axis) => {
    const stride = strides[axis];
    const position = stride ? Math.max(0, Math.round((length / 2 - offsets[axis] - sides[axis] / 2) / stride)) : 0;
    return offsets[axis] + position * stride;
  });
  const window = (shift) => [middle[1] + shift * strides[1], middle[0] + shift * strides[0], sides[1], sides[0]];
  const rectangle = (kind, [x, y, w, h]) => shape("rect", { class: kind, x, y, width: w, height: h });
  const seen = [[0, 0, width, height], window(0), window(1)];
  const [left, top] = [0, 1].map((axis) => Math.min(...seen.map((each) => each[axis])));
  const [right, bottom] = [0, 1].map((axis) => Math.max(...seen.map((each) => each[axis] + each[axis + 2])));
  const margin = 0.02 * Math.max(right - left, bottom - top);
  const whole = [left - margin, top - margin, right - left + 2 * margin, bottom - top + 2 * margin];
  const place = { x: (width - across) / 2, y: (height - down) / 2, width: across, height: down };
  return shape(
    "svg",
    {
      class: "field",
      viewBox: whole.join(" "),
      role: "img",
      "aria-label": `A position of the layer sees ${sides.join(" × ")} of the ${height} × ${width} pixels of this picture`,
    },
    rectangle("canvas", seen[0]),
    address ? shape("image", { ...place, href: address }) : null,
    rectangle("next", seen[2]),
    rectangle("seen", seen[1]),
  );
}
