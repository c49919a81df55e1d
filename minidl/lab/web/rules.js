// The numbers of a trace and the rules that make them: the twin of rules.py and sheet.py, in double precision.
//
// A rule is data. Its expressions ("2*i+a-1", "where(z > 0, z, 0)") are valid in Python and in JavaScript alike, and each of them is
// compiled once. They are the library's own text: nothing that a user names ever stands in one.

const FUNCTIONS = {
  floor: Math.floor,
  where: (condition, yes, no) => (condition ? yes : no),
  max: Math.max,
  min: Math.min,
  abs: Math.abs,
  sign: Math.sign,
  exp: Math.exp,
  expm1: Math.expm1,
  log: Math.log,
  log1p: Math.log1p,
  sqrt: Math.sqrt,
  tanh: Math.tanh,
  erfc,
};

// The complementary error function. Near 0 by the series of erf, e^(−x²) · 2/√π · Σ 2ⁿ x^(2n+1) / (1·3·5···(2n+1)), whose terms are all
// positive; from 2 on by Legendre's continued fraction, from its far end. (Abramowitz and Stegun 7.1.6 and 7.1.14.)
export function erfc(x) {
  if (Number.isNaN(x)) return NaN;
  if (x < 0) return 2 - erfc(-x);
  if (x > 27.3) return 0; // smaller than the smallest number
  if (x < 2) {
    let term = x;
    let sum = x;
    for (let n = 1; term > sum * 1e-17; n++) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return 1 - ((2 * Math.exp(-x * x)) / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = x;
  for (let n = 120; n > 0; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}

const TYPES = { float32: Float32Array, float64: Float64Array, uint8: Uint8Array };

// The arrays of a blob: {dtype, deflate, data}, data being base64, or a typed array as it is.
async function decoded(blob) {
  if (ArrayBuffer.isView(blob)) return blob;
  let bytes = fromBase64(blob.data);
  if (blob.deflate) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  }
  return new TYPES[blob.dtype](bytes.buffer, bytes.byteOffset, bytes.byteLength / TYPES[blob.dtype].BYTES_PER_ELEMENT);
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

// The sheet of one trace of the data that page.py describes. Its arrays are unpacked here, those of other traces are not.
export async function sheetOf(data, which) {
  const trace = data.traces[which];
  const arrays = {};
  data.unpacked ??= {}; // blobs are shared by traces: the input is the same in all of them
  await Promise.all(
    Object.entries(trace.values).map(async ([address, key]) => {
      data.unpacked[key] ??= decoded(data.blobs[key]);
      arrays[address] = await data.unpacked[key];
    }),
  );
  return new Sheet(data.networks[trace.network], arrays, trace);
}

const itself = (flat) => flat;

// All numbers of a trace by address and flat position (counted row by row).
export class Sheet {
  constructor(network, arrays, trace) {
    this.network = network;
    this.arrays = arrays;
    this.trace = trace;
    this.made = {}; // address → {values, done}: what the rules have made so far, and where they have
    this.compiled = new Map();
    this.finders = new Map();
    this.gates = new Map();
    this.sizes = {};
  }

  has(address) {
    return Object.hasOwn(this.network.arrays, this.origin(address));
  }

  // The address under which an array stands, whatever name it was called by.
  origin(address) {
    while (Object.hasOwn(this.network.same, address)) address = this.network.same[address];
    return address;
  }

  array(address) {
    return this.network.arrays[this.origin(address)];
  }

  shape(address) {
    return this.array(address).shape;
  }

  rule(address) {
    const own = this.origin(address);
    return Object.hasOwn(this.network.rules, own) ? this.network.rules[own] : null;
  }

  // Whether the library computed and kept this array; otherwise only the rules make it.
  known(address) {
    return Object.hasOwn(this.arrays, this.origin(address));
  }

  number(address, flat) {
    const own = this.origin(address);
    const array = this.arrays[own];
    if (array !== undefined) return array[flat];
    const count = size(this.shape(own));
    const { values, done } = (this.made[own] ??= { values: new Float64Array(count), done: new Uint8Array(count) });
    if (!done[flat]) {
      values[flat] = this.evaluate(own, flat);
      done[flat] = 1;
    }
    return values[flat];
  }

  // All numbers of an array, row by row.
  numbers(address) {
    const own = this.origin(address);
    if (this.arrays[own] !== undefined) return this.arrays[own];
    const rule = this.rule(own);
    const count = size(this.shape(own));
    const factors = Object.values(rule.arguments);
    if (rule.function && factors.every((factor) => factor.index === null)) {
      const given = factors.map((factor) => this.numbers(factor.address));
      const code = this.compile(Object.keys(rule.arguments), `return ${rule.function};`);
      const values = Float64Array.from({ length: count }, (_, flat) => code(...given.map((array) => array[flat])));
      this.made[own] = { values, done: new Uint8Array(count).fill(1) };
    } else {
      for (let flat = 0; flat < count; flat++) this.number(own, flat);
    }
    return this.made[own]?.values ?? new Float64Array(0);
  }

  // What the rule of an array gives for one entry: the sum of its terms, or its function.
  evaluate(address, flat) {
    const rule = this.rule(address);
    if (rule.function) return this.calculate(rule, this.arguments(address, flat));
    let sum = 0;
    this.eachTerm(address, flat, (product) => (sum += product));
    return sum;
  }

  // The numbers that a function is applied to: [{name, address, flat, value}].
  arguments(address, flat) {
    const rule = this.rule(address);
    const place = indexOf(this.shape(address), flat);
    return Object.entries(rule.arguments).map(([name, factor]) => {
      const at = this.positions(rule, factor, {})(flat, place, []);
      return { name, address: factor.address, flat: at, value: this.number(factor.address, at) };
    });
  }

  calculate(rule, found) {
    const names = found.map((argument) => argument.name);
    const code = this.compile(names, `return ${rule.function};`);
    return code(...found.map((argument) => argument.value));
  }

  // Call visit(product, values, flats, part, number) for every term of an entry; number: its place in the part, row by row. The lists
  // are reused: copy what is to be kept.
  eachTerm(address, flat, visit) {
    const rule = this.rule(address);
    const place = indexOf(this.shape(address), flat);
    for (const part of rule.parts) {
      const finders = part.factors.map((factor) => this.positions(rule, factor, part.over));
      const values = finders.map(() => 0);
      const flats = finders.map(() => 0);
      let number = -1;
      eachPlace(Object.values(part.over), (summed) => {
        number++;
        let product = part.scale;
        for (let f = 0; f < finders.length; f++) {
          flats[f] = finders[f](flat, place, summed);
          if (flats[f] < 0) return; // there is no such number
          values[f] = this.number(part.factors[f].address, flats[f]);
          product *= values[f];
        }
        visit(product, values, flats, part, number);
      });
    }
  }

  // A function of (flat, the entry's index, the summed indices) that gives a factor's position in its array; −1: it does not exist.
  positions(rule, factor, over) {
    if (factor.index === null) return itself;
    if (!this.finders.has(factor)) {
      const shape = this.shape(factor.address);
      const lines = factor.index.map(
        (expression, axis) =>
          `const p${axis} = ${expression}; if (!(p${axis} >= 0 && p${axis} < ${shape[axis]} && p${axis} === floor(p${axis}))) return -1;`,
      );
      const flat = factor.index.reduce((before, _, axis) => `(${before}) * ${shape[axis]} + p${axis}`, "0");
      const code = this.compile([...rule.axes, ...Object.keys(over)], `${lines.join("\n")}\nreturn ${flat};`);
      const used = rule.axes.length; // a rule without axes speaks of the same place only
      this.finders.set(factor, (_, place, summed) => code(...(used ? place : []), ...summed));
    }
    return this.finders.get(factor);
  }

  compile(names, body) {
    const key = `${names} ${body}`;
    if (!this.compiled.has(key)) {
      const code = new Function(...Object.keys(FUNCTIONS), `return (${names.join(", ")}) => {${body}};`);
      this.compiled.set(key, code(...Object.values(FUNCTIONS)));
    }
    return this.compiled.get(key);
  }

  // The largest absolute value of an array.
  largest(address) {
    const own = this.origin(address);
    if (this.sizes[own] === undefined) {
      let most = 0;
      for (const value of this.numbers(own)) {
        if (Math.abs(value) > most && Math.abs(value) < Infinity) most = Math.abs(value);
      }
      this.sizes[own] = most;
    }
    return this.sizes[own];
  }
}

// Why a number is what it is: {address, flat, index, value, known, rule, terms or arguments, sum, magnitude, rounding, differs}.
export function explain(sheet, address, flat) {
  const rule = sheet.rule(address);
  const value = sheet.number(address, flat);
  const known = sheet.known(address);
  const found = { address, flat, index: indexOf(sheet.shape(address), flat), value, known, rule, terms: [], arguments: [] };
  if (rule === null) return found;
  if (rule.function) {
    found.arguments = sheet.arguments(address, flat);
    found.sum = sheet.calculate(rule, found.arguments);
    found.magnitude = Math.abs(found.sum);
  } else {
    found.sum = 0;
    found.magnitude = 0;
    sheet.eachTerm(address, flat, (product, values, flats, part, number) => {
      const factors = part.factors.map((factor, f) => ({ address: factor.address, flat: flats[f], value: values[f] }));
      found.terms.push({ factors, scale: part.scale, product, part, number });
      found.sum += product;
      found.magnitude += Math.abs(product);
    });
    found.terms.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
  }
  found.rounding = roundingOf(sheet, found);
  found.differs = known && !(Math.abs(found.sum - value) <= found.rounding) && !Object.is(found.sum, value);
  return found;
}

// How far a sum in the library's precision may be from one in double precision. Each of T additions rounds; the errors add up like
// √T rather than T; and what a term is made of was rounded before, in proportion to the largest numbers of the array.
function roundingOf(sheet, found) {
  const epsilon = sheet.network.epsilon;
  return epsilon * ((Math.sqrt(found.terms.length) + 2) * found.magnitude + 4 * sheet.largest(found.address));
}

// Where a number is used: for each array, [{address, flat, product}], the largest terms first. (product: null in a function.)
export function uses(sheet, address, flat) {
  const own = sheet.origin(address);
  const found = [];
  for (const [user, rule] of Object.entries(sheet.network.rules)) {
    const places = new Set();
    const factors = [
      ...rule.parts.flatMap((part) => part.factors.map((factor) => [factor, part.over])),
      ...Object.values(rule.arguments).map((factor) => [factor, {}]),
    ];
    for (const [factor, over] of factors) {
      if (sheet.origin(factor.address) !== own) continue;
      for (const place of entriesThatRead(sheet, user, rule, factor, over, flat)) places.add(place);
    }
    if (places.size > 0) found.push({ address: user, flats: [...places] });
  }
  return found;
}

// The entries of an array whose rule reads the number at this position of a factor's array. One index after the other: each leaves
// only those places of the names in it that give the right number, so that few are tried even where the arrays are large.
function entriesThatRead(sheet, user, rule, factor, over, flat) {
  if (factor.index === null) return [flat];
  const shape = sheet.shape(user);
  const sizes = { ...Object.fromEntries(rule.axes.map((name, axis) => [name, shape[axis]])), ...over };
  const names = Object.keys(sizes);
  const wanted = indexOf(sheet.shape(factor.address), flat);
  let places = [{}];
  for (const [axis, expression] of factor.index.entries()) {
    const inside = names.filter((name) => new RegExp(`\\b${name}\\b`).test(expression));
    const code = sheet.compile(inside, `return ${expression};`);
    places = places.flatMap((place) => {
      const open = inside.filter((name) => !(name in place));
      const fitting = [];
      eachPlace(open.map((name) => sizes[name]), (tried) => {
        const whole = { ...place };
        open.forEach((name, i) => (whole[name] = tried[i]));
        if (code(...inside.map((name) => whole[name])) === wanted[axis]) fitting.push(whole);
      });
      return fitting;
    });
  }
  const flats = [];
  for (const place of places) {
    const open = rule.axes.filter((name) => !(name in place));
    eachPlace(open.map((name) => sizes[name]), (tried) => {
      const whole = { ...place };
      open.forEach((name, i) => (whole[name] = tried[i]));
      flats.push(rule.axes.reduce((before, name, axis) => before * shape[axis] + whole[name], 0));
    });
  }
  return flats;
}

// What can hold a number at 0, and its gradient with it: the arrays of a layer that are called so, where they are 0.
export const GATES = {
  slope: "the activation is flat here, its slope is 0",
  wins: "not the largest of its window",
  mask: "dropped",
};

// Which of them holds an entry at 0, or null. A gate with the shape of the array stands at the same place; the one of a pool's winners
// has to be 0 in all windows that hold the entry.
export function closedGate(sheet, address, flat) {
  const gate = gateFor(sheet, address);
  if (gate === null) return null;
  const { name, rule, factor, over } = gate;
  if (factor.index === null) return sheet.number(factor.address, flat) === 0 ? name : null;
  const find = sheet.positions(rule, factor, over);
  const place = indexOf(sheet.shape(address), flat);
  let windows = 0;
  let won = false;
  eachPlace(Object.values(over), (summed) => {
    const at = find(flat, place, summed);
    if (at < 0) return;
    windows++;
    won ||= sheet.number(factor.address, at) !== 0;
  });
  return windows > 0 && !won ? name : null;
}

// The gate of an array, or null if nothing can hold its numbers at 0.
export function gateFor(sheet, address) {
  if (!sheet.gates.has(address)) sheet.gates.set(address, findGate(sheet, sheet.origin(address)));
  return sheet.gates.get(address);
}

function findGate(sheet, own) {
  const [layer, what] = [own.slice(0, own.lastIndexOf(":")), own.slice(own.lastIndexOf(":") + 1)];
  const slope = `${layer}:slope`;
  if (what === "y" && layer !== "loss" && sheet.has(slope)) return { name: "slope", factor: { address: slope, index: null } };
  const rule = sheet.rule(own);
  if (rule === null || (what === "y" && !sheet.has(`${layer}:mask`))) return null; // a pool's y is the largest of its window
  for (const { factors, over } of rule.parts) {
    for (const factor of factors) {
      const name = factor.address.slice(factor.address.lastIndexOf(":") + 1);
      if (Object.hasOwn(GATES, name)) return { name, rule, factor, over };
    }
  }
  return null;
}

export function size(shape) {
  return shape.reduce((product, length) => product * length, 1);
}

export function indexOf(shape, flat) {
  const index = new Array(shape.length);
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index[axis] = flat % shape[axis];
    flat = Math.floor(flat / shape[axis]);
  }
  return index;
}

export function flatOf(shape, index) {
  return shape.reduce((before, length, axis) => before * length + index[axis], 0);
}

// Call visit with every index of an array of this shape, row by row. The list is reused.
function eachPlace(shape, visit) {
  const place = shape.map(() => 0);
  if (shape.some((length) => length === 0)) return;
  for (;;) {
    visit(place);
    let axis = shape.length - 1;
    while (axis >= 0 && ++place[axis] === shape[axis]) place[axis--] = 0;
    if (axis < 0) return;
  }
}
