// The lab's page: what is drawn and chosen goes to the server, and what it answers is shown.

import { curves, element, filters, ink, largest, percent, signed } from "./charts.js";
import { Microscope } from "./microscope.js";
import { Pad } from "./pad.js";
import { short } from "./pictures.js";

const SLOW = 150; // ms: if the whole trace takes longer, it is asked for when the pen is up

const $ = (id) => document.getElementById(id);
const state = {
  sample: null, // the place of a test digit that is shown instead of a drawing
  label: null, // what the digit should be read as; null for whatever it is read as
  server: null, // the newest state of the server
  wrong: null, // the address and place of a number that a bug has spoilt
  weights: -1, // of the answer that is shown
  asking: false,
  again: false, // something has changed since the question that is on its way
  pace: 0, // ms that the last whole trace took
};
const pad = new Pad($("pad"), drawn);
const microscope = new Microscope($("microscope"));

// --------------------------------------------------------------------------------------------------- talking to the server

// Calls a method of the session. Shows an error and returns null where it is refused.
async function call(name, given = {}) {
  let answer;
  try {
    const response = await fetch(name, { method: "POST", body: JSON.stringify(given) });
    answer = await response.json();
  } catch {
    return complain("The lab does not answer: is it still running?");
  }
  if (answer?.error) return complain(answer.error, name);
  if ([null, name].includes(complaint)) complain(""); // what another call has to say would be gone before it is read
  return answer ?? {};
}

let complaint = null; // the call that the message shown is about

function complain(why, about = null) {
  complaint = why ? about : null;
  $("error").textContent = why;
  $("error").hidden = !why;
  return null;
}

function listen() {
  const events = new EventSource("events");
  events.onmessage = (event) => newState(JSON.parse(event.data));
  events.onerror = () => ($("status").textContent = "The lab is closed.");
}

function newState(found) {
  state.server = found;
  showState(found);
  if (found.weights !== state.weights) ask();
}

// ------------------------------------------------------------------------------------------------- the state of the server

const PHASES = { starting: "Training the lab's own network", training: "Training", comparing: "Training both" };

function showState(found) {
  const { model, accuracy, progress, phase } = found;
  const read = accuracy === null ? "" : `, reads ${percent(accuracy)} of test digits`;
  const layers = model.layers.map((layer) => layer.kind + (layer.name === found.planted?.layer ? " (with a bug)" : ""));
  $("about").textContent = `${model.name}: ${layers.join(" → ")}, ${model.parameters.toLocaleString("en")} parameters${read}`;
  showProgress(phase, progress, found.note);
  showPlanted(found);
  const box = phase === "comparing" || found.curves.length > 1 ? "race" : "curves";
  curves($(box), found.curves);
  filters($(box === "race" ? "race-filters" : "filters"), found.filters);
  listBugs(found);
}

function showProgress(phase, progress, note) {
  const busy = phase !== "idle";
  $("progress").hidden = $("stop").hidden = !busy;
  for (const button of document.querySelectorAll("#step, #reset, #heal, #bugs button, form button")) button.disabled = busy;
  if (!busy) {
    $("status").textContent = note;
    return;
  }
  $("progress").max = progress.total;
  if (progress.done) $("progress").value = progress.done;
  else $("progress").removeAttribute("value");
  const where = progress.done ? `step ${progress.done} of ${progress.total}` : "compiling its kernels, which takes a while the first time";
  $("status").textContent = `${PHASES[phase]}: ${where}`;
}

function showPlanted({ planted, bugs }) {
  $("planted").hidden = !planted;
  if (planted) {
    const { title } = bugs.find((each) => each.bug === planted.bug);
    $("planted").firstElementChild.textContent = `A bug is planted in ${planted.layer}: ${title}.`;
    $("verdict-title").textContent = `${title}, in ${planted.layer}`;
  }
}

// ------------------------------------------------------------------------------------------------------------- one drawing

function drawing() {
  if (state.sample !== null) return { digit: state.sample };
  return pad.strokes.length ? { strokes: pad.strokes } : null;
}

function drawn() {
  state.sample = null;
  newDrawing();
}

function newDrawing() {
  $("stepped").replaceChildren();
  $("hint").hidden = drawing() !== null;
  ask();
}

// Has the server look at what is drawn; while a question is on its way, the next one waits.
async function ask() {
  state.again = true;
  if (state.asking) return;
  state.asking = true;
  try {
    while (state.again) {
      state.again = false;
      await look();
    }
  } finally {
    state.asking = false;
  }
}

async function look() {
  const shown = drawing();
  if (!shown) return nothing();
  const full = $("training").hidden && (!pad.pressed || state.pace < SLOW);
  const started = performance.now();
  const answer = await call("look", { drawing: shown, label: state.label, full });
  if (!answer || !drawing()) return;
  showAnswer(answer);
  if (!full) return;
  showWrong(answer.wrong);
  await lookInside(answer.microscope);
  state.pace = performance.now() - started;
}

function nothing() {
  $("read").textContent = "–";
  $("loss").textContent = "";
  $("stepped").replaceChildren();
  for (const row of $("bars").children) showBar(row, 0, false);
  for (const id of ["seen", "blame"]) $(id).getContext("2d").clearRect(0, 0, 28, 28);
  $("nothing").hidden = false;
  $("microscope").hidden = $("show-wrong").hidden = true;
  $("wrong").firstElementChild.textContent = "Draw a digit to see.";
}

function showAnswer(answer) {
  state.weights = answer.weights;
  $("read").textContent = answer.read;
  [...$("bars").children].forEach((row, digit) => showBar(row, answer.probabilities[digit], digit === answer.read));
  const share = answer.probabilities[answer.label];
  const entropy = state.server?.model.loss.endsWith("Crossentropy") ? ` = −ln ${short(share)}` : "";
  $("loss").textContent = `loss for a ${answer.label}: ${short(answer.loss)}${entropy}`;
  ink($("seen"), answer.image);
  signed($("blame"), answer.dpixels, largest(answer.dpixels));
}

function showBar(row, share, first) {
  row.querySelector(".bar").style.width = `${100 * (share ?? 0)}%`;
  row.querySelector(".share").textContent = share ? percent(share) : "";
  row.classList.toggle("first", first);
}

async function lookInside(data) {
  $("nothing").hidden = true;
  $("microscope").hidden = false;
  await microscope.show(data);
}

// The number that the planted bug has spoilt most.
function showWrong(found) {
  state.wrong = found;
  $("show-wrong").hidden = !found;
  const said = found && `${found.address} has a number that should be ${short(found.right)}, and the layer says ${short(found.given)}.`;
  $("wrong").firstElementChild.textContent = said ?? "On this drawing every gradient of the layer is right, up to rounding.";
}

async function testDigit() {
  const place = Math.floor(10000 * Math.random());
  const found = await call("digit", { place });
  if (!found) return;
  pad.set([], found.image);
  state.sample = place;
  choose(found.label);
  newDrawing();
}

// Chooses what the digit should be read as.
function choose(label) {
  state.label = label;
  document.querySelector(`input[name=label][value="${label ?? ""}"]`).checked = true;
}

function clear() {
  pad.set([]);
  choose(null);
  drawn();
}

// --------------------------------------------------------------------------------------------------- one step on a drawing

async function step() {
  const shown = drawing();
  if (!shown) return complain("Draw a digit first.", "look");
  const found = await call("step", { drawing: shown, label: state.label, rate: $("step-rate").valueAsNumber });
  if (!found) return;
  const { before, after, promised } = found;
  if (state.label === null) choose(before.label);
  describe($("stepped"), [
    ["loss", `${short(before.loss)} → ${short(after.loss)}`],
    ["a straight line promised", short(promised)],
    ["it changed by", short(after.loss - before.loss)],
    [`share of the ${before.label}`, `${percent(before.probabilities[before.label])} → ${percent(after.probabilities[before.label])}`],
  ]);
}

// Fills a list of descriptions with [term, text].
function describe(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([term, text]) => [element("dt", { textContent: term }), element("dd", { textContent: text })]));
}

// ---------------------------------------------------------------------------------------------------------------- training

// The settings in a form, as the server wants them.
function settings(form) {
  const { digits, epochs, optimizer, rate } = form.elements;
  return { digits: digits.valueAsNumber, epochs: epochs.valueAsNumber, optimizer: optimizer.value, rate: rate.valueAsNumber };
}

// A rate that suits the optimizer, when another one is chosen.
function suit(form) {
  const { optimizer, rate } = form.elements;
  optimizer.addEventListener("change", () => (rate.value = optimizer.value === "Adam" ? "0.003" : "0.1"));
}

// -------------------------------------------------------------------------------------------------------------------- bugs

function listBugs({ bugs, planted }) {
  const made = JSON.stringify([bugs, planted]);
  if ($("bugs").dataset.made === made) return;
  $("bugs").dataset.made = made;
  $("bugs").replaceChildren(...bugs.map((bug) => card(bug, planted)));
  $("verdict").hidden = !planted;
  if (planted) return;
  for (const id of ["reports", "race", "race-filters"]) $(id).replaceChildren();
  $("faulty").hidden = true;
}

function card(bug, planted) {
  const buttons = bug.layers.map((layer) => {
    const here = planted?.bug === bug.bug && planted.layer === layer;
    const button = element("button", { textContent: `into ${layer}`, disabled: state.server.phase !== "idle" });
    button.setAttribute("aria-pressed", here);
    button.addEventListener("click", () => plant(bug, layer));
    return button;
  });
  return element(
    "article",
    {},
    element("h3", { textContent: bug.title }),
    element("p", { textContent: bug.says }),
    element("div", { className: "buttons" }, ...buttons),
  );
}

async function plant(bug, layer) {
  const found = await call("plant", { bug: bug.bug, layer });
  if (!found) return;
  $("verdict").hidden = $("faulty").hidden = false;
  $("code").textContent = found.code;
  $("reports").replaceChildren(...found.faulty.map((each) => report("the faulty layer", each)), ...found.right.slice(-1).map((each) => report("the right layer", each)));
  for (const id of ["race", "race-filters"]) $(id).replaceChildren();
  $("verdict").scrollIntoView({ behavior: "smooth", block: "start" });
}

const MODES = { entries: "", ties: ", with equal pixels moved together" };

function report(whose, found) {
  const [head, ...rows] = found.table;
  const cells = (kind, row) => element("tr", {}, ...row.map((text) => element(kind, { textContent: text })));
  return element(
    "section",
    { className: found.passed ? "report passed" : "report failed" },
    element("h4", { textContent: `gradcheck of ${whose}${MODES[found.mode]}: ${found.passed ? "✓ passed" : "✗ failed"}` }),
    ...found.lines.map((line) => element("p", { textContent: line })),
    element("div", { className: "scroll" }, element("table", {}, element("thead", {}, cells("th", head)), element("tbody", {}, ...rows.map((row) => cells("td", row))))),
  );
}

// -------------------------------------------------------------------------------------------------------------------- tabs

function openTab(tab) {
  for (const each of document.querySelectorAll("[role=tab]")) {
    const open = each === tab;
    each.setAttribute("aria-selected", open);
    each.tabIndex = open ? 0 : -1;
    $(each.getAttribute("aria-controls")).hidden = !open;
  }
  if (tab.id !== "tab-training") ask();
}

function moveTab(event) {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!move) return;
  const next = tabs.at((tabs.indexOf(event.target) + move) % tabs.length);
  openTab(next);
  next.focus();
}

// ------------------------------------------------------------------------------------------------------------------- wiring

let painted = null; // the theme in which all is drawn

// Draws in other colours, after the microscope's switch from light to dark. It sets the theme whenever it draws, and an observer hears
// of that although nothing has changed.
function repaint() {
  const { theme } = document.documentElement.dataset;
  if (theme === painted) return;
  painted = theme;
  pad.draw();
  if (!state.server) return;
  showState(state.server);
  ask();
}

function makeBars() {
  for (let digit = 0; digit < 10; digit++) {
    const radio = element("input", { type: "radio", name: "label", value: String(digit) });
    const track = element("span", { className: "track" }, element("span", { className: "bar" }));
    $("bars").append(element("label", {}, radio, element("b", { textContent: digit }), track, element("span", { className: "share" })));
  }
  for (const radio of document.querySelectorAll("input[name=label]")) {
    radio.addEventListener("change", () => {
      state.label = radio.value === "" ? null : Number(radio.value);
      ask();
    });
  }
}

function onSubmit(form, name, more = () => ({})) {
  suit(form);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    call(name, { ...settings(form), ...more() });
  });
}

makeBars();
for (const tab of document.querySelectorAll("[role=tab]")) {
  tab.addEventListener("click", () => openTab(tab));
  tab.addEventListener("keydown", moveTab);
}
$("clear").addEventListener("click", clear);
$("undo").addEventListener("click", () => {
  pad.set(pad.strokes.slice(0, -1));
  drawn();
});
$("sample").addEventListener("click", testDigit);
$("step").addEventListener("click", step);
$("show-wrong").addEventListener("click", () => {
  openTab($("tab-inside"));
  microscope.go(state.wrong.address, state.wrong.flat);
});
for (const name of ["reset", "stop", "heal"]) $(name).addEventListener("click", () => call(name));
onSubmit($("train"), "train", () => ({ fresh: $("train").elements.fresh.value === "new" }));
onSubmit($("compare"), "compare");
new MutationObserver(repaint).observe(document.documentElement, { attributeFilter: ["data-theme"] });
document.documentElement.dataset.theme = microscope.dark ? "dark" : "light";
window.lab = { pad, microscope, state }; // for the console, and for tests
listen();
