// Arrays as pictures: signed colours, maps side by side, short vectors as bars, and arrays too large for either in blocks.

import { closedGate, flatOf, gateFor, indexOf, size } from "./rules.js";

// Blue, nothing, orange: told apart by everybody who can see blue, and 0 is the colour of the page.
const LIGHT = [[8, 48, 107], [33, 113, 181], [158, 202, 225], [255, 255, 255], [253, 190, 120], [217, 95, 14], [127, 39, 4]];
const DARK = [[198, 224, 255], [88, 166, 255], [24, 78, 150], [0, 0, 0], [140, 66, 8], [245, 140, 40], [255, 224, 178]];
const SHUT = { light: [176, 178, 184], dark: [84, 88, 96] }; // of a number that something holds at 0

// [red, green, blue] of a value between −1 and 1. Its root, so that small numbers are seen beside large ones.
export function colour(value, dark) {
  const stops = dark ? DARK : LIGHT;
  if (Number.isNaN(value)) return [200, 0, 200];
  const place = (Math.sign(value) * Math.sqrt(Math.min(1, Math.abs(value))) + 1) * 3;
  const low = Math.min(5, Math.floor(place));
  return stops[low].map((from, i) => from + (stops[low + 1][i] - from) * (place - low));
}

const STEPS = 512; // of the colours on each side of 0
const TABLES = Object.fromEntries(
  [false, true].map((dark) => [dark, Uint32Array.from({ length: 2 * STEPS + 1 }, (_, i) => packed(colour(i / STEPS - 1, dark)))]),
);

// A colour as ImageData has it: a byte each for red, green, blue and opacity.
function packed(rgb) {
  return new Uint32Array(new Uint8ClampedArray([...rgb, 255]).buffer)[0];
}

// The same as ``colour``, packed, and from a table.
function shade(value, dark) {
  if (Number.isNaN(value)) return packed(colour(NaN, dark));
  return TABLES[dark][Math.round((Math.max(-1, Math.min(1, value)) + 1) * STEPS)];
}

// How an array is cut into tiles, each a picture of rows × cols cells: images into their channels, kernels into their filters, the
// weights of a dense layer into its units. A tile of a vector is wrapped; its last cells may not exist.
export class Layout {
  constructor(sheet, address) {
    const { shape, view, batch, units } = sheet.array(address);
    const rest = batch ? view.slice(1) : view;
    this.samples = batch ? shape[0] : 1;
    this.batch = batch;
    this.rest = rest;
    this.each = size(rest); // numbers of a sample
    this.tiles = units ? rest.at(-1) : size(rest.slice(2));
    this.count = this.tiles === 0 ? 0 : this.each / this.tiles; // cells of a tile
    const wrapped = rest.length < 2 || units;
    this.cols = wrapped ? wrap(this.count) : rest[1];
    this.rows = this.cols === 0 ? 0 : Math.ceil(this.count / this.cols);
    this.vector = rest.length < 2;
  }

  // The flat position of a cell, −1 where there is none.
  flat(sample, tile, row, col) {
    const cell = row * this.cols + col;
    if (row < 0 || col < 0 || col >= this.cols || cell >= this.count) return -1;
    return (this.batch ? sample * this.each : 0) + cell * this.tiles + tile;
  }

  place(flat) {
    const inside = flat % this.each;
    const cell = Math.floor(inside / this.tiles);
    return {
      sample: Math.floor(flat / this.each),
      tile: inside % this.tiles,
      row: Math.floor(cell / this.cols),
      col: cell % this.cols,
    };
  }

  // How many tiles stand side by side: a kernel's filters, or about as many as fill a square.
  columns() {
    if (this.rest.length === 4 && this.rest[2] > 1 && this.rest[2] * this.rest[3] === this.tiles) return this.rest[3];
    const square = Math.ceil(Math.sqrt((this.tiles * this.rows) / this.cols));
    return Math.max(1, Math.min(this.tiles, square));
  }
}

// The columns of a vector that is shown as a rectangle: a divisor of its length, if there is one near its root.
function wrap(count) {
  if (count <= 16) return count;
  const root = Math.ceil(Math.sqrt(count));
  for (let cols = root; cols <= 2 * root; cols++) if (count % cols === 0) return cols;
  return root;
}

const ON_CPU = { willReadFrequently: true }; // dozens of small canvases are drawn faster without the graphics card

// Draw an image of which each pixel is a number, tile below tile, so that each tile stands at its corner, with cells of this size.
function place(pen, image, rows, corners, cell) {
  const small = new OffscreenCanvas(image.width, image.height);
  small.getContext("2d", ON_CPU).putImageData(image, 0, 0);
  corners.forEach(([x, y], t) => pen.drawImage(small, 0, t * rows, image.width, rows, x, y, image.width * cell, rows * cell));
}

const gates = new WeakMap(); // sheet → address → what closedGate says of its entries, as far as asked

// What holds a number at 0 on its way: "slope", "wins", "mask", or null.
export function gateOf(sheet, address, flat) {
  if (!gates.has(sheet)) gates.set(sheet, {});
  const found = (gates.get(sheet)[address] ??= []);
  if (found[flat] === undefined) found[flat] = closedGate(sheet, address, flat);
  return found[flat];
}

// What pictures have in common: a size in CSS pixels, draw(canvas), locate(x, y) → flat position or −1, and rect(flat).
class Picture {
  constructor(sheet, address, sample) {
    Object.assign(this, { sheet, address, sample, layout: new Layout(sheet, address) });
    this.numbers = sheet.numbers(address);
    this.most = sheet.largest(address) || 1;
  }

  // A canvas of the right size, sharp on dense screens; returns what to draw on it with.
  prepare(canvas) {
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(this.width * scale));
    canvas.height = Math.max(1, Math.round(this.height * scale));
    canvas.style.width = `${this.width}px`;
    canvas.style.height = `${this.height}px`;
    const pen = canvas.getContext("2d", ON_CPU);
    pen.scale(scale, scale);
    pen.imageSmoothingEnabled = false;
    return pen;
  }

  tint(flat, dark) {
    return shade(this.numbers[flat] / this.most, dark);
  }
}

export class Tiles extends Picture {
  // tiles: which ones. cell: the size of a number. gap: between tiles. text: whether numbers are written where there is room.
  constructor(sheet, address, sample, { tiles, columns, cell, gap = 2 }) {
    super(sheet, address, sample);
    const { rows, cols } = this.layout;
    Object.assign(this, { tiles, columns, cell, gap });
    this.stepX = cols * cell + gap;
    this.stepY = rows * cell + gap;
    this.width = Math.max(1, columns * this.stepX - gap);
    this.height = Math.max(1, Math.ceil(tiles.length / columns) * this.stepY - gap);
  }

  draw(canvas, dark) {
    const pen = this.prepare(canvas);
    const { rows, cols } = this.layout;
    if (rows * cols * this.tiles.length === 0) return;
    const image = new ImageData(cols, rows * this.tiles.length);
    const pixels = new Uint32Array(image.data.buffer);
    const gated = gateFor(this.sheet, this.address) !== null;
    const grey = packed(SHUT[dark ? "dark" : "light"]);
    const shut = [];
    this.tiles.forEach((tile, t) => {
      for (let row = 0; row < rows; row++) {
        for (let col = 0; col < cols; col++) {
          const flat = this.layout.flat(this.sample, tile, row, col);
          if (flat < 0) continue;
          const at = (t * rows + row) * cols + col;
          pixels[at] = this.tint(flat, dark);
          if (!gated || gateOf(this.sheet, this.address, flat) === null) continue;
          if (this.cell >= 5) shut.push(flat);
          else if (this.numbers[flat] === 0 && (row + col) % 2) pixels[at] = grey; // hatched, as far as there is room
        }
      }
    });
    place(pen, image, rows, this.tiles.map((_, t) => this.corner(t)), this.cell);
    hatch(pen, shut.map((flat) => this.rect(flat)), dark);
    if (this.cell >= 44) this.write(pen, dark);
  }

  corner(t) {
    return [(t % this.columns) * this.stepX, Math.floor(t / this.columns) * this.stepY];
  }

  // The numbers themselves, in cells that are large enough.
  write(pen, dark) {
    pen.font = `${Math.min(15, this.cell / 3.6)}px system-ui, sans-serif`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    for (const tile of this.tiles) {
      for (let cell = 0; cell < this.layout.count; cell++) {
        const flat = this.layout.flat(this.sample, tile, Math.floor(cell / this.layout.cols), cell % this.layout.cols);
        const [red, green, blue] = colour(this.numbers[flat] / this.most, dark);
        const [x, y, width, height] = this.rect(flat);
        pen.fillStyle = 0.3 * red + 0.59 * green + 0.11 * blue > 130 ? "#000" : "#fff";
        pen.fillText(short(this.numbers[flat]), x + width / 2, y + height / 2, width - 2);
      }
    }
  }

  locate(x, y) {
    const across = Math.floor(x / this.stepX);
    const down = Math.floor(y / this.stepY);
    const tile = this.tiles[down * this.columns + across];
    if (tile === undefined || across >= this.columns || across < 0 || down < 0) return -1;
    const row = Math.floor((y - down * this.stepY) / this.cell);
    const col = Math.floor((x - across * this.stepX) / this.cell);
    return row < this.layout.rows ? this.layout.flat(this.sample, tile, row, col) : -1;
  }

  rect(flat) {
    const { sample, tile, row, col } = this.layout.place(flat);
    const t = this.tiles.indexOf(tile);
    if (t < 0 || (this.layout.batch && sample !== this.sample)) return null;
    const [x, y] = this.corner(t);
    return [x + col * this.cell, y + row * this.cell, this.cell, this.cell];
  }
}

export class Bars extends Picture {
  constructor(sheet, address, sample, { width = 120, line = 15 }) {
    super(sheet, address, sample);
    this.line = line;
    this.width = width;
    this.height = this.layout.each * line;
  }

  draw(canvas, dark) {
    const pen = this.prepare(canvas);
    const font = Math.min(14, this.line - 3);
    const [left, right] = [font * 1.6, font * 4]; // the place's number, and the value
    const middle = left + (this.width - left - right) / 2;
    pen.font = `${font}px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    for (let i = 0; i < this.layout.each; i++) {
      const flat = this.first + i;
      const value = this.numbers[flat];
      const length = (value / this.most) * (this.width - left - right) * 0.5;
      const y = i * this.line;
      pen.fillStyle = dark ? "#9aa4b2" : "#5a6472";
      pen.textAlign = "right";
      pen.fillText(String(i), left - 5, y + this.line / 2);
      pen.fillRect(middle - 0.5, y, 1, this.line);
      pen.fillStyle = `rgb(${colour(value < 0 ? -0.6 : 0.6, dark)})`;
      pen.fillRect(Math.min(middle, middle + length), y + 1.5, Math.abs(length), this.line - 3);
      if (gateOf(this.sheet, this.address, flat) !== null) hatch(pen, [[left, y, this.width - left - right, this.line]], dark);
      pen.fillStyle = dark ? "#e6e9ee" : "#1b2430";
      pen.fillText(short(value), this.width - 2, y + this.line / 2, right);
    }
  }

  get first() {
    return this.layout.batch ? this.sample * this.layout.each : 0;
  }

  locate(x, y) {
    const i = Math.floor(y / this.line);
    return i >= 0 && i < this.layout.each ? this.first + i : -1;
  }

  rect(flat) {
    const i = flat - this.first;
    return i < 0 || i >= this.layout.each ? null : [0, i * this.line, this.width, this.line];
  }
}

// An array with too many numbers for a screen: a line for each tile, and each dot is the largest of a block of numbers.
export class Blocks extends Picture {
  constructor(sheet, address, sample, { width = 150, height = 128 }) {
    super(sheet, address, sample);
    this.stepX = Math.ceil(this.layout.count / width);
    this.stepY = Math.ceil(this.layout.tiles / height);
    this.across = Math.ceil(this.layout.count / this.stepX);
    this.down = Math.ceil(this.layout.tiles / this.stepY);
    [this.width, this.height] = [this.across, this.down];
    this.best = new Int32Array(this.across * this.down).fill(-1);
    const largest = new Float64Array(this.best.length).fill(-1);
    let flat = this.layout.flat(sample, 0, 0, 0);
    for (let cell = 0; cell < this.layout.count; cell++) {
      for (let tile = 0; tile < this.layout.tiles; tile++, flat++) {
        const block = Math.floor(tile / this.stepY) * this.across + Math.floor(cell / this.stepX);
        const value = Math.abs(this.numbers[flat]);
        if (value > largest[block]) [largest[block], this.best[block]] = [value, flat];
      }
    }
  }

  draw(canvas, dark) {
    const pen = this.prepare(canvas);
    const image = new ImageData(this.across, this.down);
    const pixels = new Uint32Array(image.data.buffer);
    this.best.forEach((flat, block) => (pixels[block] = this.tint(flat, dark)));
    place(pen, image, this.down, [[0, 0]], 1);
  }

  locate(x, y) {
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return -1;
    return this.best[Math.floor(y) * this.across + Math.floor(x)];
  }

  rect(flat) {
    const { sample, tile } = this.layout.place(flat);
    if (this.layout.batch && sample !== this.sample) return null;
    const cell = Math.floor((flat % this.layout.each) / this.layout.tiles);
    return [Math.floor(cell / this.stepX), Math.floor(tile / this.stepY), 1, 1];
  }
}

// The terms of a sum, or one factor of each, laid out by the indices that are summed over. terms: one for each place of these lengths,
// or undefined. order: which of the indices go down, across, and from tile to tile.
export class Sum {
  constructor(terms, lengths, order, valueOf, room) {
    this.line = lengths.length < 2;
    const sorted = order.map((axis) => lengths[axis]);
    const cols = this.line ? wrap(size(lengths)) : sorted[1];
    const rows = this.line ? Math.ceil(size(lengths) / cols) : sorted[0];
    this.rest = this.line ? [] : sorted.slice(2);
    Object.assign(this, { terms, lengths, order, rows, cols, valueOf });
    const tiles = size(this.rest);
    this.columns = Math.max(1, Math.ceil(Math.sqrt((tiles * rows) / cols)));
    const lines = Math.ceil(tiles / this.columns);
    this.gap = tiles > 1 ? 1 : 0;
    const fit = Math.min((room - this.gap * this.columns) / (this.columns * cols), (room - this.gap * lines) / (lines * rows));
    this.cell = Math.max(1, Math.min(20, Math.floor(fit)));
    this.stepX = cols * this.cell + this.gap;
    this.stepY = rows * this.cell + this.gap;
    this.width = this.columns * this.stepX;
    this.height = lines * this.stepY;
    this.largest = terms.reduce((most, term) => (term ? Math.max(most, Math.abs(valueOf(term))) : most), 0);
    this.most = this.largest || 1;
  }

  draw(canvas, dark) {
    const pen = Picture.prototype.prepare.call(this, canvas);
    const tiles = size(this.rest);
    const image = new ImageData(this.cols, this.rows * tiles);
    const pixels = new Uint32Array(image.data.buffer);
    const grey = packed(SHUT[dark ? "dark" : "light"]);
    this.terms.forEach((term, number) => {
      const [row, col, tile] = this.position(number);
      pixels[(tile * this.rows + row) * this.cols + col] = term ? shade(this.valueOf(term) / this.most, dark) : grey;
    });
    const corners = Array.from({ length: tiles }, (_, tile) => [(tile % this.columns) * this.stepX, Math.floor(tile / this.columns) * this.stepY]);
    place(pen, image, this.rows, corners, this.cell);
  }

  // The row, the column and the tile of a term.
  position(number) {
    if (this.line) return [Math.floor(number / this.cols), number % this.cols, 0];
    const index = indexOf(this.lengths, number);
    const [row, col, ...rest] = this.order.map((axis) => index[axis]);
    return [row, col, flatOf(this.rest, rest)];
  }

  // The term at a place of the picture, or undefined.
  locate(x, y) {
    const tile = Math.floor(y / this.stepY) * this.columns + Math.floor(x / this.stepX);
    const [row, col] = [Math.floor((y % this.stepY) / this.cell), Math.floor((x % this.stepX) / this.cell)];
    return this.terms.find((_, number) => String(this.position(number)) === String([row, col, tile]));
  }
}

// The picture of a whole array, about ``room`` pixels wide and high.
export function thumbnail(sheet, address, sample, room) {
  const layout = new Layout(sheet, address);
  if (layout.vector && layout.each <= 12) return new Bars(sheet, address, sample, { width: room, line: Math.max(14, room / 9) });
  if (layout.each > 60000) return new Blocks(sheet, address, sample, { width: room * 1.2, height: room });
  const columns = layout.columns();
  const lines = Math.ceil(layout.tiles / columns);
  const gap = layout.tiles < 2 ? 0 : layout.count <= 64 ? 2 : 1;
  const fit = Math.min((room * 1.3 - columns * gap) / (columns * layout.cols), (room - lines * gap) / (lines * layout.rows));
  const cell = Math.max(1, Math.min(layout.vector ? room / 14 : room / 6, Math.floor(fit)));
  return new Tiles(sheet, address, sample, { tiles: [...Array(layout.tiles).keys()], columns, cell, gap });
}

// The picture of one tile, as large as there is room.
export function enlarged(sheet, address, sample, tile, room) {
  const layout = new Layout(sheet, address);
  if (layout.vector && layout.each <= 16) {
    return new Bars(sheet, address, sample, { width: Math.min(room, 460), line: 26 });
  }
  const cell = Math.max(2, Math.min(64, Math.floor(room / layout.cols), Math.floor((room * 1.1) / layout.rows)));
  return new Tiles(sheet, address, sample, { tiles: [tile], columns: 1, cell, gap: 0 });
}

// Diagonal lines over numbers that something holds at 0.
function hatch(pen, boxes, dark) {
  if (boxes.length === 0) return;
  const [step, width] = [Math.max(3, Math.min(7, boxes[0][3] / 2)), pen.canvas.width];
  pen.save();
  pen.beginPath();
  for (const box of boxes) pen.rect(...box);
  pen.clip();
  pen.beginPath();
  for (let at = 0; at < width + pen.canvas.height; at += step) {
    pen.moveTo(at, 0);
    pen.lineTo(0, at);
  }
  pen.strokeStyle = `rgb(${SHUT[dark ? "dark" : "light"]})`;
  pen.lineWidth = 1;
  pen.stroke();
  pen.restore();
}

// A number in four digits, with a minus sign that is as wide as a plus.
export function short(value, digits = 3) {
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return String(value).replace("-", "−").replace("Infinity", "∞");
  const small = Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5;
  const text = small ? value.toExponential(digits - 1) : Number(value.toPrecision(digits)).toString();
  return text.replace(/-/g, "−").replace("e+", "e");
}
