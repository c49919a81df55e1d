// Small pictures of numbers: learning curves, images of signed numbers, filters.

import { colour, short } from "./pictures.js";

const SVG = "http://www.w3.org/2000/svg";

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

// -------------------------------------------------------------------------------------------------------------- curves

const WIDTH = 460;
const HEIGHT = 240;
const EDGE = { left: 50, right: 14, top: 14, bottom: 30 };

// Two charts, loss and accuracy, of curves [{name, points: [[step, loss, accuracy], …], ended}].
export function curves(box, all) {
  const shown = all.filter((curve) => curve.points.length);
  box.replaceChildren();
  if (!shown.length) return;
  const most = Math.max(1, ...shown.map((curve) => curve.points.at(-1)[0]));
  box.append(
    chart("loss of the training batches", shown, 1, most, Math.max(0.5, ...values(shown, 1)), short),
    chart("test digits read right", shown, 2, most, 1, percent),
  );
  for (const curve of all) {
    if (curve.ended) box.append(element("p", { className: "wrong", textContent: `${curve.name}: ${curve.ended}` }));
  }
}

const values = (all, column) => all.flatMap((curve) => curve.points.map((point) => point[column])).filter((value) => value !== null);

function chart(title, all, column, most, top, say) {
  const x = (step) => EDGE.left + (step / most) * (WIDTH - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - (Math.min(value, top) / top) * (HEIGHT - EDGE.top - EDGE.bottom);
  const said = all.map((curve) => `${curve.name} ${say(curve.points.at(-1)[column])}`).join(", ");
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${said}` });
  for (const part of [0, 0.5, 1]) {
    svg.append(
      shape("line", { class: "grid", x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(part * top), y2: y(part * top) }),
      shape("text", { class: "axis", x: EDGE.left - 6, y: y(part * top) + 4, "text-anchor": "end" }, column === 2 ? `${100 * part} %` : short(part * top)),
    );
  }
  svg.append(shape("text", { class: "axis", x: WIDTH - EDGE.right, y: HEIGHT - 8, "text-anchor": "end" }, `step ${most.toLocaleString("en")}`));
  all.forEach((curve, place) => {
    const points = curve.points.filter((point) => point[column] !== null).map((point) => `${x(point[0])},${y(point[column])}`);
    svg.append(shape("polyline", { class: `curve curve-${place}`, points: points.join(" ") }));
  });
  return element("figure", {}, element("figcaption", {}, `${title}: `, ...legend(all, column, say)), svg);
}

function legend(all, column, say) {
  return all.flatMap((curve, place) => {
    const last = say(curve.points.at(-1)[column]);
    const text = all.length > 1 ? `${place ? "– – " : "— "}${curve.name} ${last}` : last;
    return [element("span", { className: `curve-${place}`, textContent: text }), " "];
  });
}

// -------------------------------------------------------------------------------------------------------------- images

// Draws numbers, row by row, on a canvas of as many pixels, in the microscope's colours. most: the size of the fullest colour.
export function signed(canvas, numbers, most) {
  const image = new ImageData(canvas.width, canvas.height);
  const dark = document.documentElement.dataset.theme === "dark";
  numbers.forEach((number, i) => image.data.set([...colour(most > 0 ? number / most : 0, dark), 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

export const largest = (numbers) => numbers.reduce((most, number) => Math.max(most, Math.abs(number)), 0);

// Draws ink, 0 to 255, on a canvas of 28 × 28 pixels: white on black, as in MNIST.
export function ink(canvas, pixels) {
  const image = new ImageData(canvas.width, canvas.height);
  pixels.forEach((value, i) => image.data.set([value, value, value, 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// The first layer's filters, and below them their gradients.
export function filters(box, found) {
  box.replaceChildren();
  if (!found) return;
  box.append(element("h3", { textContent: `${found.address}, ${found.of}` }), row(found, found.values, "weights"));
  if (found.gradient) box.append(row(found, found.gradient, "gradient"));
  else box.append(element("p", { className: "wrong", textContent: "Its gradient is not finite." }));
}

function row(found, pictures, what) {
  const most = Math.max(...pictures.map(largest));
  const made = element("div", { className: "filters" }, element("span", { textContent: `${what}, up to ${short(most)}` }));
  pictures.forEach((numbers, place) => {
    const canvas = element("canvas", { className: "pixels", width: found.columns, height: found.rows });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${what} of filter ${place}`);
    signed(canvas, numbers, most);
    made.append(canvas);
  });
  return made;
}
