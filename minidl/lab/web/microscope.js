// The viewer: a network forward and backward, and under it the array and the number that were chosen, with everything they are made of.
//
//   const view = new Microscope(element);
//   await view.show(data);   // what page.py's data_of returns; again and again, if you like: the chosen number stays chosen
//
// With { hash: true } the address bar follows what is shown, so that a link leads to a number, and the browser's buttons work.

import { sheetOf, explain, uses, size, indexOf, flatOf, GATES } from "./rules.js";
import { Layout, Bars, Sum, thumbnail, enlarged, gateOf, short, colour } from "./pictures.js";

const PAGE = 10; // terms are shown at once
const MEANINGS = {
  x: "what comes in",
  z: "before the activation",
  y: "what goes out",
  p: "probabilities",
  t: "targets",
  slope: "slope of the activation",
  wins: "1 where the largest was",
  mask: "what dropout multiplies by",
  loss: "what training makes small",
};

export class Microscope {
  constructor(element, { hash = false } = {}) {
    this.root = element;
    element.microscope = this; // for the console, and for whatever drives the page
    this.hash = hash;
    this.state = { step: 0, sample: 0, address: "", index: [], show: "both", theme: "auto", large: false };
    this.trail = []; // what was chosen before, for the back button
    this.pictures = []; // those of the network: {address, picture, base, over, button}
    this.build();
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.sheet && this.redraw());
    if (hash) window.addEventListener("hashchange", () => this.readHash());
  }

  // Show the traces of data. What was chosen stays chosen where the new data have it.
  async show(data) {
    this.data = data;
    this.fillHeader();
    if (this.hash) this.state = { ...this.state, ...stateOf(location.hash) };
    await this.load(Math.min(this.state.step, data.traces.length - 1));
  }

  // ------------------------------------------------------------------------------------------------------- what is shown

  async load(step) {
    this.wanted = step;
    const sheet = await sheetOf(this.data, step);
    if (this.wanted !== step) return; // the slider has moved on meanwhile
    this.state.step = step;
    this.sheet = sheet;
    this.network = sheet.network;
    this.state.sample = Math.min(this.state.sample, Math.max(0, this.network.samples - 1));
    this.fillSamples();
    this.choose(this.state.address, this.state.index) || this.choose(...this.beginning());
    this.redraw();
  }

  // Where to look first: the largest number that the last layer gives, or else the loss.
  beginning() {
    const addresses = this.network.layers.map((layer) => `${layer.name}:y`).filter((address) => this.sheet.has(address));
    const address = addresses.at(-1) ?? "loss";
    return [address, indexOf(this.sheet.shape(address), this.largestOf(address))];
  }

  // Make this the number that is looked at; false where there is no such number.
  choose(address, index) {
    if (!address || !this.sheet.has(address)) return false;
    const shape = this.sheet.shape(address);
    if (index.length !== shape.length || index.some((place, axis) => !(Number.isInteger(place) && place >= 0 && place < shape[axis]))) return false;
    this.state.address = address;
    this.state.index = index;
    this.flat = flatOf(shape, index);
    if (this.sheet.array(address).batch) this.state.sample = index[0];
    return true;
  }

  // Go to a number, and remember where one came from. neighbour: then the history does not keep it.
  go(address, flat, { neighbour = false } = {}) {
    const before = { address: this.state.address, index: this.state.index };
    const sample = this.state.sample;
    if (!this.choose(address, indexOf(this.sheet.shape(address), flat))) return;
    if (!neighbour) {
      this.trail.push(before);
      this.came = before;
    }
    this.page = 0;
    this.writeHash(neighbour);
    if (sample === this.state.sample) this.redrawChosen();
    else this.redraw();
  }

  back() {
    const before = this.trail.pop();
    if (before === undefined) return;
    if (this.hash) {
      history.back();
      return;
    }
    this.page = 0;
    this.choose(before.address, before.index);
    this.redraw();
  }

  // On to the number that the largest term is made of, of those that are made of others: on the way back to the loss for a gradient, to
  // the input for an activation.
  follow() {
    const { terms, arguments: given } = this.explanation;
    const backward = isGradient(this.state.address);
    for (const { factors } of [...terms, { factors: given }]) {
      const made = factors.filter((factor) => this.sheet.rule(factor.address) !== null && !isGate(factor.address));
      const next = made.find((factor) => isGradient(factor.address) === backward) ?? made[0];
      if (next) return this.go(next.address, next.flat);
    }
  }

  // Why a number of the trace that is shown is what it is; see rules.js.
  explain(address, flat) {
    return explain(this.sheet, address, flat);
  }

  largestOf(address) {
    const layout = new Layout(this.sheet, address);
    const first = layout.batch ? this.state.sample * layout.each : 0;
    const numbers = this.sheet.numbers(address);
    let best = first;
    for (let flat = first; flat < first + layout.each; flat++) {
      if (Math.abs(numbers[flat]) > Math.abs(numbers[best])) best = flat;
    }
    return best;
  }

  writeHash(replace) {
    if (!this.hash) return;
    const { address, index, step, sample, show, theme, large } = this.state;
    const words = new URLSearchParams({ at: address, i: index.join(","), step, n: sample, show, theme, large: large ? 1 : 0 });
    this.written = `#${words}`;
    if (replace) history.replaceState(null, "", this.written);
    else location.hash = this.written;
  }

  async readHash() {
    if (location.hash === this.written || !this.sheet) return;
    this.written = location.hash;
    const state = stateOf(location.hash);
    const reload = state.step !== undefined && state.step !== this.state.step;
    Object.assign(this.state, state);
    this.page = 0;
    if (reload) return this.load(Math.min(this.state.step, this.data.traces.length - 1));
    this.choose(this.state.address, this.state.index);
    this.redraw();
  }

  get dark() {
    const { theme } = this.state;
    return theme === "auto" ? window.matchMedia("(prefers-color-scheme: dark)").matches : theme === "dark";
  }

  // --------------------------------------------------------------------------------------------------------- the frame

  build() {
    this.root.classList.add("microscope");
    this.root.addEventListener("keydown", (event) => {
      if (event.key === "Backspace" && !event.target.matches("input, select")) this.back();
    });
    this.title = make("h1");
    this.verdict = make("p", { class: "verdict" });
    this.controls = make("div", { class: "controls", role: "group", "aria-label": "Settings" });
    this.training = make("div", { class: "training" });
    this.strip = make("div", { class: "strip", role: "toolbar", "aria-label": "The network, from left to right. Arrow keys go from picture to picture." });
    this.strip.addEventListener("keydown", (event) => this.stripKey(event));
    this.stage = make("section", { class: "stage", "aria-label": "The chosen array" });
    this.summary = make("p", { class: "summary", "aria-live": "polite" });
    this.panel = make("div", { class: "panel" });
    const explanation = make("section", { class: "explanation", "aria-label": "The chosen number" }, this.summary, this.panel);
    this.legend = make("div", { class: "legend" });
    this.root.replaceChildren(
      make("header", {}, make("div", { class: "head" }, this.title, this.verdict), this.controls, this.training),
      make("section", { class: "network", "aria-label": "The network" }, this.strip, this.legend),
      make("div", { class: "bench" }, this.stage, explanation),
    );
    this.buildControls();
    this.buildStage();
  }

  buildControls() {
    const choice = (label, name, options) => {
      const buttons = options.map(([value, text]) =>
        make("button", { type: "button", "data-value": value, onclick: () => this.set(name, value) }, text),
      );
      const group = make("div", { class: "choice", role: "group", "aria-label": label, "data-name": name }, ...buttons);
      this.controls.append(group);
    };
    this.backButton = make("button", { type: "button", class: "back", onclick: () => this.back() }, "← Back");
    this.controls.append(this.backButton);
    choice("Directions", "show", [["forward", "Forward"], ["backward", "Backward"], ["both", "Both"]]);
    choice("Colours of the page", "theme", [["light", "Light"], ["dark", "Dark"], ["auto", "Auto"]]);
    this.largeButton = make("button", { type: "button", onclick: () => this.set("large", !this.state.large) }, "Large type");
    this.controls.append(this.largeButton);
  }

  set(name, value) {
    this.state[name] = value;
    this.writeHash(true);
    this.redraw();
  }

  fillHeader() {
    this.title.textContent = this.data.title;
    const traces = this.data.traces;
    this.training.hidden = traces.length < 2;
    if (traces.length < 2) return;
    const slider = make("input", { type: "range", min: 0, max: traces.length - 1, step: 1, value: this.state.step, id: "step" });
    slider.addEventListener("input", async () => {
      await this.load(Number(slider.value));
      this.writeHash(true);
    });
    this.slider = slider;
    this.stepName = make("output", { for: "step" });
    this.training.replaceChildren(make("label", { for: "step" }, "Training"), slider, this.stepName, lossCurve(traces));
  }

  fillSamples() {
    this.sampleBox?.remove();
    if (this.network.samples < 2) return;
    const select = make("select", { id: "sample" });
    for (let n = 0; n < this.network.samples; n++) select.append(make("option", { value: n }, String(n)));
    select.addEventListener("change", () => this.toSample(Number(select.value)));
    this.sampleSelect = select;
    this.sampleBox = make("label", { class: "sample" }, "Sample ", select);
    this.controls.prepend(this.sampleBox);
  }

  toSample(n) {
    this.state.sample = n;
    if (this.sheet.array(this.state.address).batch) {
      this.choose(this.state.address, [n, ...this.state.index.slice(1)]);
    }
    this.writeHash(true);
    this.redraw();
  }

  // ------------------------------------------------------------------------------------------------------- drawing it all

  redraw() {
    const { theme, large, show, step } = this.state;
    const page = document.documentElement;
    page.dataset.theme = this.dark ? "dark" : "light";
    page.dataset.large = large;
    this.root.dataset.show = show;
    for (const button of this.controls.querySelectorAll("[data-value]")) {
      const chosen = { show, theme }[button.parentElement.dataset.name] === button.dataset.value;
      button.setAttribute("aria-pressed", chosen);
    }
    this.largeButton.setAttribute("aria-pressed", large);
    if (this.sampleSelect) this.sampleSelect.value = this.state.sample;
    if (this.slider && this.data.traces.length > 1) {
      this.slider.value = step;
      const { label, loss } = this.data.traces[step];
      this.stepName.textContent = `${label} · loss ${loss}`;
      this.slider.setAttribute("aria-valuetext", this.stepName.textContent);
      this.training.querySelectorAll("[data-step]").forEach((dot) => dot.classList.toggle("now", Number(dot.dataset.step) === step));
    }
    this.writeVerdict();
    this.drawNetwork();
    this.drawLegend();
    this.redrawChosen();
  }

  redrawChosen() {
    this.backButton.disabled = this.trail.length === 0;
    this.explanation = this.explain(this.state.address, this.flat);
    this.drawStage();
    this.drawExplanation();
    this.drawOverlays();
    this.scrollToChosen();
  }

  // Bring the picture of the chosen array into view, if it is not: the network may be wider than the screen.
  scrollToChosen() {
    const current = this.strip.querySelector(".current");
    if (current === null) return;
    const [inside, around] = [current.getBoundingClientRect(), this.strip.getBoundingClientRect()];
    const margin = 60;
    if (inside.left < around.left + margin) this.strip.scrollLeft += inside.left - around.left - margin;
    else if (inside.right > around.right - 20) this.strip.scrollLeft += Math.min(inside.right - around.right + margin, inside.left - around.left - margin);
  }

  writeVerdict() {
    const { sheet, state } = this;
    const words = [];
    if (sheet.has("loss:p") && sheet.has("loss:t") && sheet.shape("loss:p").length === 2) {
      const classes = sheet.shape("loss:p")[1];
      const row = (address) => Array.from({ length: classes }, (_, k) => sheet.number(address, state.sample * classes + k));
      const [p, t] = [row("loss:p"), row("loss:t")];
      const [read, label] = [p.indexOf(Math.max(...p)), t.indexOf(Math.max(...t))];
      words.push(`label ${label}`, `${read === label ? "rightly read" : "read"} as ${read} (${(100 * p[read]).toFixed(1)} %)`);
    }
    words.push(`loss ${short(sheet.number("loss", 0), 5)}`);
    this.verdict.textContent = [words.join(" · "), ...this.network.notes].join(". ");
  }

  // The layers from left to right: above what goes forward, below it what comes back.
  drawNetwork() {
    const focused = this.pictures.findIndex((each) => each.button === document.activeElement);
    const scroll = this.strip.scrollLeft;
    this.pictures = [];
    this.strip.replaceChildren();
    this.strip.append(make("div", { class: "ways", "aria-hidden": "true" }, make("b", { class: "forward" }, "forward →"), make("b", { class: "backward" }, "← backward")));
    const [first] = this.network.layers;
    if (first) this.strip.append(this.block("input", "", [[`${first.name}:x`, `${first.name}:dx`]], []));
    for (const layer of this.network.layers.filter((each) => !each.name.includes("/"))) {
      const inside = this.network.layers.filter((other) => other.name.startsWith(`${layer.name}/`));
      this.strip.append(inside.length ? this.group(layer, inside) : this.layerBlock(layer));
    }
    this.strip.append(this.lossBlock());
    this.pictures.forEach((each, i) => (each.button.tabIndex = i === Math.max(0, focused) ? 0 : -1));
    this.strip.scrollLeft = scroll;
    if (focused >= 0) this.pictures[focused]?.button.focus({ preventScroll: true });
  }

  // A stack and the layers inside it. A residual's own y is a sum, and stands at the end; any other's is that of its last layer.
  group(layer, inside) {
    const stacks = inside.filter((each) => inside.some((other) => other.name.startsWith(`${each.name}/`)));
    const sums = [...stacks, layer].filter((each) => this.sheet.rule(`${each.name}:y`)?.source?.file.endsWith("residual.py"));
    const blocks = inside.filter((each) => !stacks.includes(each)).map((each) => this.layerBlock(each, each.name.slice(layer.name.length + 1)));
    const ends = sums.map((each) => this.layerBlock({ ...each, parameters: [] }, each === layer ? "sum" : `${each.name.slice(layer.name.length + 1)} sum`));
    const title = make("h2", { class: "grouptitle" }, layer.name, make("small", {}, layer.kind));
    return make("div", { class: "group" }, title, make("div", { class: "children" }, ...blocks, ...ends));
  }

  layerBlock(layer, title = layer.name) {
    const at = (name) => `${layer.name}:${name}`;
    const gradient = (name) => (this.sheet.has(`${layer.name}/${name}`) ? `${layer.name}/${name}` : at(`d${name}`));
    const pairs = layer.parameters.map((name) => [at(name), gradient(name)]);
    if (this.sheet.has(at("z")) && this.sheet.origin(at("z")) !== this.sheet.origin(at("y"))) pairs.push([at("z"), at("dz")]);
    pairs.push([at("y"), at("dy")]);
    return this.block(title, layer.kind, pairs, layer.more.map(at));
  }

  lossBlock() {
    const { kind, more } = this.network.loss;
    const shown = ["p", "t"].filter((name) => more.includes(name)).map((name) => [`loss:${name}`, null]);
    const rest = more.filter((name) => !["p", "t", "y_pred"].includes(name)).map((name) => `loss:${name}`);
    const block = this.block("loss", kind, [...shown, ["loss", null]], rest);
    block.append(make("p", { class: "start backward" }, "← The backward pass begins here."));
    return block;
  }

  block(title, kind, pairs, more) {
    const columns = pairs.map(([forward, backward]) =>
      make("div", { class: "pair" }, this.figure(forward, "forward"), backward ? this.figure(backward, "backward") : null),
    );
    const chips = more.map((address) =>
      make("button", { type: "button", class: "chip", title: address, onclick: () => this.go(address, this.largestOf(address)) }, nameOf(address)),
    );
    return make(
      "div",
      { class: "block" },
      make("h2", {}, title, make("small", {}, kind)),
      make("div", { class: "pairs" }, ...columns),
      chips.length ? make("div", { class: "chips" }, ...chips) : null,
    );
  }

  figure(address, direction) {
    if (!this.sheet.has(address)) return make("div", { class: `figure ${direction}` });
    const room = this.state.large ? 200 : 152;
    const picture = thumbnail(this.sheet, address, this.state.sample, room);
    const base = make("canvas");
    const over = make("canvas", { class: "over" });
    picture.draw(base, this.dark);
    const shape = this.sheet.shape(address).slice(this.sheet.array(address).batch ? 1 : 0);
    const button = make(
      "button",
      { type: "button", class: "picture", "aria-label": `${address}, ${meaningOf(address)}, ${shape.join(" by ") || "one number"}` },
      base,
      over,
    );
    button.addEventListener("click", (event) => {
      const found = event.detail === 0 ? -1 : locate(picture, base, event); // 0: by the keyboard
      this.go(address, found >= 0 ? found : this.largestOf(address));
    });
    this.pictures.push({ address, picture, base, over, button });
    const caption = make("figcaption", {}, make("b", {}, nameOf(address)), ` ${shape.join("×")}`);
    return make("figure", { class: `figure ${direction}`, title: `${address}: ${meaningOf(address)}` }, button, caption);
  }

  stripKey(event) {
    const moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const here = this.pictures.findIndex((each) => each.button === document.activeElement);
    if (!(event.key in moves) || here < 0) return;
    event.preventDefault();
    const next = this.pictures[(here + moves[event.key] + this.pictures.length) % this.pictures.length];
    this.pictures[here].button.tabIndex = -1;
    next.button.tabIndex = 0;
    next.button.focus();
  }

  drawLegend() {
    const bar = make("canvas", { class: "bar", role: "img", "aria-label": "Colours: blue is negative, orange is positive" });
    [bar.width, bar.height] = [201, 12];
    const pen = bar.getContext("2d", { willReadFrequently: true });
    for (let i = 0; i <= 200; i++) {
      pen.fillStyle = `rgb(${colour(i / 100 - 1, this.dark)})`;
      pen.fillRect(i, 0, 1, 12);
    }
    const entry = (kind, text) => make("span", { class: "entry" }, make("span", { class: `box ${kind}` }), text);
    this.legend.replaceChildren(
      make("span", { class: "entry" }, "−", bar, "+ the largest of the array (small numbers are shown darker than their share)"),
      entry("shut", "held at 0: dead, not the largest, dropped"),
      entry("read", "what the chosen number is made of"),
      entry("mine", "the chosen number"),
    );
  }

  // The chosen number and what it is made of, outlined in the pictures of the network. one: only these factors.
  drawOverlays(one = null) {
    const factors = one ?? [...this.explanation.arguments, ...this.explanation.terms.flatMap((term) => term.factors)];
    const places = new Map();
    const origins = {};
    for (const { address, flat } of factors) {
      const own = (origins[address] ??= this.sheet.origin(address));
      if (!places.has(own)) places.set(own, []);
      places.get(own).push(flat);
    }
    const chosen = this.sheet.origin(this.state.address);
    for (const { address, picture, over, button } of this.pictures) {
      const own = this.sheet.origin(address);
      button.classList.toggle("current", own === chosen);
      over.hidden = own !== chosen && !places.has(own);
      if (over.hidden) continue;
      const pen = picture.prepare(over);
      outline(pen, picture, places.get(own) ?? [], "read", this.dark);
      if (own === chosen) outline(pen, picture, [this.flat], "chosen", this.dark);
    }
    const pen = this.big.prepare(this.over);
    outline(pen, this.big, places.get(chosen) ?? [], "read", this.dark);
    outline(pen, this.big, [this.flat], "chosen", this.dark);
  }

  // --------------------------------------------------------------------------------------------------------- one array

  buildStage() {
    this.stageTitle = make("h2");
    this.stageNote = make("p", { class: "note" });
    this.tileNav = make("div", { class: "tiles" });
    this.base = make("canvas");
    this.over = make("canvas", { class: "over" });
    this.board = make(
      "div",
      { class: "board", tabindex: 0, role: "application", "aria-label": "Numbers of the array. Arrow keys move, Page Up and Page Down change the map, Enter follows the largest term, Backspace goes back." },
      this.base,
      this.over,
    );
    this.board.addEventListener("keydown", (event) => this.boardKey(event));
    this.board.addEventListener("click", (event) => {
      const flat = locate(this.big, this.base, event);
      if (flat >= 0) this.go(this.state.address, flat);
    });
    this.board.addEventListener("pointermove", (event) => this.readOut(locate(this.big, this.base, event)));
    this.board.addEventListener("pointerleave", () => this.readOut(-1));
    this.readout = make("p", { class: "readout" });
    this.table = make("details", { class: "text" }, make("summary", {}, "These numbers as a table"));
    this.table.addEventListener("toggle", () => this.drawTable());
    this.field = make("input", { type: "text", name: "at", spellcheck: "false", autocomplete: "off", "aria-label": "Address of a number" });
    const form = make("form", { class: "goto" }, this.field, make("button", {}, "Go"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.goTo(this.field.value);
    });
    this.stage.append(this.stageTitle, this.stageNote, this.tileNav, this.board, this.readout, form, this.table);
  }

  // An address as people write it: "conv2d:z[0, 3, 4, 5]", or without an index for the largest number of the array.
  goTo(text) {
    const [, address, index] = text.trim().match(/^(.*?)\s*(?:\[([\d,\s]*)\])?$/);
    if (!this.sheet.has(address)) return this.complain(`There is no ${address}.`);
    const place = index === undefined ? indexOf(this.sheet.shape(address), this.largestOf(address)) : index.split(",").filter((each) => each.trim()).map(Number);
    const shape = this.sheet.shape(address);
    if (place.length !== shape.length || place.some((each, axis) => each >= shape[axis])) {
      return this.complain(`${address} has shape ${shape.join("×") || "()"}: give an index for each axis.`);
    }
    return this.go(address, flatOf(shape, place));
  }

  complain(text) {
    this.readout.textContent = text;
  }

  drawStage() {
    const { address, sample } = this.state;
    const layout = new Layout(this.sheet, address);
    const place = layout.place(this.flat);
    const inside = this.stage.clientWidth - 2 * parseFloat(getComputedStyle(this.stage).paddingLeft) - 4;
    const room = Math.max(180, Math.min(inside, this.state.large ? 640 : 460));
    this.big = enlarged(this.sheet, address, sample, place.tile, room);
    this.big.draw(this.base, this.dark);
    this.stageTitle.textContent = address;
    const shape = this.sheet.shape(address);
    this.stageNote.textContent = `${meaningOf(address)} · shape ${shape.join("×") || "()"} · the largest is ±${short(this.big.most)}`;
    this.field.value = `${address}${written(this.state.index)}`;
    this.readOut(-1);
    this.drawTileNav(layout, place);
    if (this.table.open) this.drawTable();
  }

  drawTileNav(layout, { tile }) {
    this.tileNav.hidden = layout.tiles < 2;
    if (layout.tiles < 2) return;
    const move = (by) => this.toTile((tile + by + layout.tiles) % layout.tiles);
    const fixed = indexOf(layout.rest.slice(layout.rest.length - (this.sheet.array(this.state.address).units ? 1 : layout.rest.length - 2)), tile);
    this.tileNav.replaceChildren(
      make("button", { type: "button", "aria-label": "the map before", onclick: () => move(-1) }, "◀"),
      make("span", {}, `[…, ${fixed.join(", ")}] · ${tile + 1} of ${layout.tiles}`),
      make("button", { type: "button", "aria-label": "the next map", onclick: () => move(1) }, "▶"),
    );
  }

  toTile(tile) {
    const layout = new Layout(this.sheet, this.state.address);
    const { row, col } = layout.place(this.flat);
    this.go(this.state.address, layout.flat(this.state.sample, tile, row, col), { neighbour: true });
  }

  boardKey(event) {
    const layout = new Layout(this.sheet, this.state.address);
    const { tile, row, col } = layout.place(this.flat);
    const line = this.big instanceof Bars;
    const moves = {
      ArrowLeft: [0, 0, -1],
      ArrowRight: [0, 0, 1],
      ArrowUp: line ? [0, 0, -1] : [0, -1, 0],
      ArrowDown: line ? [0, 0, 1] : [0, 1, 0],
      PageUp: [-1, 0, 0],
      PageDown: [1, 0, 0],
    };
    if (event.key === "Enter") this.follow();
    else if (event.key in moves) {
      const [tiles, rows, cols] = moves[event.key];
      const inside = tile + tiles >= 0 && tile + tiles < layout.tiles;
      const flat = inside ? layout.flat(this.state.sample, tile + tiles, row + rows, col + cols) : -1;
      if (flat >= 0) this.go(this.state.address, flat, { neighbour: true });
    } else return;
    event.preventDefault();
  }

  readOut(flat) {
    const at = flat >= 0 ? flat : this.flat;
    const { address } = this.state;
    const gate = gateOf(this.sheet, address, at);
    const value = this.sheet.number(address, at);
    this.readout.textContent = `${address}${written(indexOf(this.sheet.shape(address), at))} = ${short(value, 6)}${gate ? `: ${GATES[gate]}` : ""}`;
  }

  // The tile that is shown, as text.
  drawTable() {
    this.table.querySelector("table")?.remove();
    if (!this.table.open) return;
    const { address, sample } = this.state;
    const layout = new Layout(this.sheet, address);
    const { tile } = layout.place(this.flat);
    const columns = [...Array(layout.cols).keys()];
    const head = make("tr", {}, make("td"), ...columns.map((col) => make("th", { scope: "col" }, String(col))));
    const rows = Array.from({ length: layout.rows }, (_, row) => {
      const cells = columns.map((col) => {
        const flat = layout.flat(sample, tile, row, col);
        return make("td", {}, flat < 0 ? "" : short(this.sheet.number(address, flat)));
      });
      return make("tr", {}, make("th", { scope: "row" }, String(row)), ...cells);
    });
    this.table.append(make("table", {}, make("tbody", {}, head, ...rows)));
  }

  // -------------------------------------------------------------------------------------------------------- one number

  drawExplanation() {
    const { explanation: found } = this;
    const focused = this.panel.contains(document.activeElement);
    const name = `${this.state.address}${written(found.index)}`;
    this.summary.textContent = sentence(name, found);
    this.panel.replaceChildren(
      make("h2", { tabindex: -1 }, name, make("span", { class: "value" }, ` = ${short(found.value, 5)}`)),
      ...this.meaningLine(),
      ...this.gateNote(),
      ...this.ruleLines(),
      ...this.sumPictures(),
      ...this.termTable(),
      ...this.argumentList(),
      ...this.comparison(),
      ...this.sourceLine(),
      this.usesList(),
    );
    if (focused) this.panel.querySelector("h2").focus();
  }

  // A gradient's address differs from its parameter's by one sign, so say which of the two it is.
  meaningLine() {
    const own = this.sheet.origin(this.state.address);
    return isGradient(own) ? [make("p", { class: "note" }, `the gradient ${meaningOf(own)} at this place`)] : [];
  }

  gateNote() {
    const gate = gateOf(this.sheet, this.state.address, this.flat);
    if (gate === null) return [];
    const stops = isGradient(this.state.address) ? "the gradient stops here" : "no gradient comes back through it";
    return [make("p", { class: "shutnote" }, `${GATES[gate]}: ${stops}.`)];
  }

  ruleLines() {
    const { rule } = this.explanation;
    if (rule !== null) {
      const here = rule.axes.map((axis, i) => `${axis} = ${this.explanation.index[i]}`).join(", ");
      return [make("p", { class: "formula" }, rule.formula, here ? make("small", {}, `here ${here}`) : null)];
    }
    const name = nameOf(this.state.address);
    const layer = this.network.layers.find((each) => `${each.name}:${name}` === this.state.address);
    if (layer?.parameters.includes(name)) return [make("p", {}, "A parameter: training chooses it.")];
    const origin = this.sheet.origin(this.state.address);
    if (origin === `${this.network.layers[0]?.name}:x`) return [make("p", {}, "The input: it comes from outside.")];
    return [make("p", {}, "It is given: no rule makes it of other numbers of this page.")];
  }

  // The largest part of a sum as pictures: patch × kernel = products.
  sumPictures() {
    const { terms, rule } = this.explanation;
    const part = rule?.parts.find((each) => each.factors.length > 1 && size(Object.values(each.over)) > 3);
    if (part === undefined || size(Object.values(part.over)) > 20000) return [];
    const [names, lengths] = [0, 1].map((which) => Object.entries(part.over).filter(([, length]) => length > 1).map((each) => each[which]));
    const axes = names.map((_, axis) => axis);
    const order = [...axes.filter((axis) => names[axis] !== "n"), ...axes.filter((axis) => names[axis] === "n")]; // a tile for each sample
    const placed = new Array(size(lengths)).fill(undefined);
    for (const term of terms) if (term.part === part) placed[term.number] = term;
    const figures = part.factors.map((factor, f) => this.sumPicture(placed, lengths, order, nameOf(factor.address), f));
    const signs = figures.flatMap((figure, f) => [f > 0 ? make("span", { class: "sign" }, "×") : null, figure]);
    const sign = make("span", { class: "sign" }, "=");
    return [make("div", { class: "sum" }, ...signs, sign, this.sumPicture(placed, lengths, order, "terms", null))];
  }

  // f: which factor; null: the products.
  sumPicture(placed, lengths, order, name, f) {
    const valueOf = f === null ? (term) => term.product : (term) => term.factors[f].value;
    const picture = new Sum(placed, lengths, order, valueOf, this.state.large ? 200 : 120);
    const canvas = make("canvas");
    picture.draw(canvas, this.dark);
    const find = (event) => locate(picture, canvas, event);
    canvas.addEventListener("pointermove", (event) => this.drawOverlays(find(event)?.factors ?? null));
    canvas.addEventListener("pointerleave", () => this.drawOverlays());
    if (f !== null) {
      canvas.addEventListener("click", (event) => {
        const term = find(event);
        if (term) this.go(term.factors[f].address, term.factors[f].flat);
      });
    }
    return make("figure", { "aria-hidden": "true" }, canvas, make("figcaption", {}, `${name} ±${short(picture.largest)}`));
  }

  termTable() {
    const { terms, rule } = this.explanation;
    if (rule === null || rule.function) return [];
    const most = Math.abs(terms[0]?.product ?? 0) || 1;
    const from = (this.page ?? 0) * PAGE;
    const shown = terms.slice(from, from + PAGE);
    let before = terms.slice(0, from).reduce((sum, term) => sum + term.product, 0);
    const rows = shown.map((term) => this.termRow(term, most, (before += term.product)));
    const head = ["term", "", "is made of", "sum so far"].map((text) => make("th", { scope: "col" }, text));
    const table = make("table", { class: "terms" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
    return [make("p", { class: "count" }, this.countLine()), table, ...this.pager(from, shown.length)];
  }

  // How many terms there are, and why some are nothing.
  countLine() {
    const { terms, rule } = this.explanation;
    const all = rule.parts.reduce((sum, part) => sum + size(Object.values(part.over)), 0);
    const zeros = new Map();
    for (const term of terms) {
      const zero = term.factors.findLast((factor) => factor.value === 0);
      if (zero) zeros.set(zero.address, (zeros.get(zero.address) ?? 0) + 1);
    }
    const words = [`${all} term${all === 1 ? "" : "s"}`];
    if (all > terms.length) words.push(`${all - terms.length} without a place in the array`);
    for (const [address, count] of zeros) words.push(`${nameOf(address)} is 0 in ${count}`);
    const left = terms.filter((term) => term.product !== 0).length;
    const order = left > 1 ? ", the largest first" : "";
    return words.join(", ") + (words.length > 1 ? `: ${left || "none"} left${order}` : order);
  }

  termRow(term, most, sum) {
    const factors = term.factors.flatMap((factor, i) => [i > 0 ? " × " : "", this.link(factor)]);
    const scale = term.scale === 1 ? [] : term.scale === -1 ? ["−"] : [`${short(term.scale, 4)} × `];
    const bar = make("span", { class: term.product < 0 ? "bar minus" : "bar plus" });
    bar.style.width = `${(100 * Math.abs(term.product)) / most}%`;
    const came = this.came && term.factors.some((factor) => this.isCame(factor));
    const row = make(
      "tr",
      { class: came ? "came" : "" },
      make("td", { class: "number" }, short(term.product, 4)),
      make("td", { class: "share" }, bar),
      make("td", {}, ...scale, ...factors),
      make("td", { class: "number" }, short(sum, 4)),
    );
    row.addEventListener("pointerenter", () => this.drawOverlays(term.factors));
    row.addEventListener("pointerleave", () => this.drawOverlays());
    return row;
  }

  isCame({ address, flat }) {
    const { address: before, index } = this.came;
    return this.sheet.origin(before) === this.sheet.origin(address) && flatOf(this.sheet.shape(before), index) === flat;
  }

  // A number that leads on to its own explanation.
  link({ address, flat, value }) {
    const index = written(indexOf(this.sheet.shape(address), flat));
    const same = layerOf(address) === layerOf(this.state.address);
    const button = make(
      "button",
      { type: "button", class: "link", title: `${address}${index}`, onclick: () => this.go(address, flat) },
      make("span", { class: "where" }, `${same ? nameOf(address) : address}${index}`),
      make("span", { class: "what" }, short(value, 4)),
    );
    button.addEventListener("focus", () => this.drawOverlays([{ address, flat }]));
    return button;
  }

  pager(from, count) {
    const { terms } = this.explanation;
    if (terms.length <= PAGE) return [];
    const others = terms.reduce((sum, term, i) => (i >= from && i < from + count ? sum : sum + term.product), 0);
    const turn = (by, text, label, disabled) =>
      make("button", { type: "button", "aria-label": label, disabled, onclick: () => this.turn(by) }, text);
    return [
      make(
        "p",
        { class: "pager" },
        turn(-1, "◀", "larger terms", from === 0),
        ` ${from + 1}–${from + count} of ${terms.length} `,
        turn(1, "▶", "smaller terms", from + count >= terms.length),
        ` the other ${terms.length - count} add up to ${short(others, 4)}`,
      ),
    ];
  }

  turn(by) {
    this.page = (this.page ?? 0) + by;
    this.drawExplanation();
  }

  argumentList() {
    const { arguments: given } = this.explanation;
    if (given.length === 0) return [];
    const rows = given.map((each) => make("li", {}, `${each.name} = `, this.link(each)));
    return [make("ul", { class: "arguments" }, ...rows)];
  }

  // Whether the sum, computed here from the arrays, is what the library computed.
  comparison() {
    const { sum, value, known, differs, rounding, rule, terms } = this.explanation;
    if (rule === null) return [];
    const line = (what, number) => make("tr", {}, make("th", { scope: "row" }, what), make("td", { class: "number" }, number));
    const rows = [line(rule.function ? "result" : `sum of ${terms.length}`, short(sum, 10))];
    if (!known) return [make("table", { class: "sums" }, ...rows), make("p", { class: "note" }, "The library does not keep this number; only the rule makes it.")];
    rows.push(line("the library's", short(value, 10)), line("difference", short(sum - value, 2)));
    const verdict = differs
      ? make("p", { class: "differs", role: "alert" }, `✗ They differ by more than rounding, which is ${short(rounding, 2)} at most.`)
      : make("p", { class: "agrees" }, `✓ Equal up to rounding (${short(rounding, 2)} at most).`);
    return [make("table", { class: "sums" }, ...rows), verdict];
  }

  sourceLine() {
    const source = this.explanation.rule?.source;
    if (!source) return [];
    return [make("p", { class: "source" }, make("span", {}, `${source.file}:${source.line}`), make("code", {}, source.code))];
  }

  isParameterGradient() {
    const own = this.sheet.origin(this.state.address);
    return this.network.layers.some(({ name, parameters }) =>
      parameters.some((each) => [`${name}:d${each}`, `${name}/${each}`].some((address) => this.sheet.has(address) && this.sheet.origin(address) === own)),
    );
  }

  usesList() {
    const found = uses(this.sheet, this.state.address, this.flat);
    const rows = found.map(({ address, flats }) => {
      const largest = flats.map((flat) => ({ address, flat, value: this.sheet.number(address, flat) }));
      largest.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
      const more = flats.length > 4 ? `and ${flats.length - 4} more` : "";
      return make("li", {}, ...largest.slice(0, 4).flatMap((each) => [this.link(each), " "]), more);
    });
    const last = this.isParameterGradient() ? "The optimizer uses it to change the parameter." : "Nothing else on this page does.";
    const list = rows.length ? make("ul", {}, ...rows) : make("p", {}, last);
    return make("section", { class: "uses" }, make("h3", {}, "What uses it"), list);
  }
}

// ------------------------------------------------------------------------------------------------------------- helpers

// An element with attributes and children. Text is always text: names of users' layers never become markup.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function stateOf(hash) {
  const words = new URLSearchParams(hash.slice(1));
  const state = {};
  if (words.has("at")) state.address = words.get("at");
  if (words.has("i")) state.index = words.get("i").split(",").filter((each) => each !== "").map(Number);
  if (words.has("step")) state.step = Math.max(0, Number(words.get("step")) || 0);
  if (words.has("n")) state.sample = Math.max(0, Number(words.get("n")) || 0);
  if (["forward", "backward", "both"].includes(words.get("show"))) state.show = words.get("show");
  if (["light", "dark", "auto"].includes(words.get("theme"))) state.theme = words.get("theme");
  if (words.has("large")) state.large = words.get("large") === "1";
  return state;
}

function written(index) {
  return index.length ? `[${index.join(", ")}]` : "";
}

// "conv2d/kernel" and "conv2d:dkernel" → "dkernel"; "conv2d:y" → "y".
function nameOf(address) {
  const colon = address.lastIndexOf(":");
  const slash = address.lastIndexOf("/");
  if (colon < 0 && slash < 0) return address;
  return colon > slash ? address.slice(colon + 1) : `d${address.slice(slash + 1)}`;
}

function layerOf(address) {
  return address.slice(0, Math.max(address.lastIndexOf(":"), address.lastIndexOf("/")));
}

function isGradient(address) {
  return (address.includes("/") && !address.includes(":")) || /^d/.test(nameOf(address));
}

function isGate(address) {
  return Object.hasOwn(GATES, nameOf(address));
}

function meaningOf(address) {
  const name = nameOf(address);
  if (Object.hasOwn(MEANINGS, name)) return MEANINGS[name];
  return isGradient(address) ? `∂loss/∂${name.slice(1)}` : name;
}

// One sentence for a screen reader.
function sentence(name, { value, terms, arguments: given, differs, rule }) {
  const start = `${name} is ${short(value, 4)}`;
  if (rule === null) return `${start}.`;
  const of = terms.length ? `the sum of ${terms.length} terms, the largest ${short(terms[0].product, 4)}` : `made of ${given.map((each) => each.name).join(" and ") || "nothing"}`;
  return `${start}: ${of}${differs ? ". The library's number differs by more than rounding" : ""}.`;
}

function locate(picture, canvas, event) {
  const box = canvas.getBoundingClientRect();
  const x = ((event.clientX - box.left) * picture.width) / box.width;
  const y = ((event.clientY - box.top) * picture.height) / box.height;
  return picture.locate(x, y);
}

// Boxes around places of a picture: around all of a tile together, since most are a patch.
function outline(pen, picture, flats, kind, dark) {
  const boxes = new Map();
  for (const flat of flats) {
    const rect = picture.rect(flat);
    if (rect === null) continue;
    const { tile } = picture.layout.place(flat);
    const [x, y, width, height] = rect;
    const box = boxes.get(tile) ?? [Infinity, Infinity, -Infinity, -Infinity];
    boxes.set(tile, [Math.min(box[0], x), Math.min(box[1], y), Math.max(box[2], x + width), Math.max(box[3], y + height)]);
  }
  pen.lineWidth = kind === "chosen" ? 2 : 1.5;
  for (const [left, top, right, bottom] of boxes.values()) {
    const grow = Math.max(1, kind === "chosen" ? (6 - (right - left)) / 2 : 0); // a dot needs a ring that can be seen
    const rect = [left - grow, top - grow, right - left + 2 * grow, bottom - top + 2 * grow];
    pen.strokeStyle = dark ? "#000" : "#fff";
    pen.strokeRect(rect[0] - 1, rect[1] - 1, rect[2] + 2, rect[3] + 2);
    pen.strokeStyle = kind === "chosen" ? (dark ? "#7dffb0" : "#0a7a3b") : dark ? "#d28bff" : "#8a2be2";
    pen.strokeRect(...rect);
  }
}

// The losses of the traces, as a line.
function lossCurve(traces) {
  const losses = traces.map((trace) => Number(trace.loss));
  const most = Math.max(...losses.filter(Number.isFinite), 1e-12);
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "-4 -4 208 38");
  svg.setAttribute("class", "curve");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `The loss: from ${traces[0].loss} to ${traces.at(-1).loss}`);
  const points = losses.map((loss, i) => [(200 * i) / Math.max(1, losses.length - 1), 30 - (30 * loss) / most]);
  const line = document.createElementNS(space, "polyline");
  line.setAttribute("points", points.map((point) => point.join(",")).join(" "));
  svg.append(line);
  points.forEach(([x, y], i) => {
    const dot = document.createElementNS(space, "circle");
    Object.entries({ cx: x, cy: y, r: 3, "data-step": i }).forEach(([name, value]) => dot.setAttribute(name, value));
    svg.append(dot);
  });
  return svg;
}
