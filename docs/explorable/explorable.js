"use strict";
// Part 1 mixes maps that data.js holds; part 2 solves a network. Nothing is loaded, nothing is kept.

const byId = (id) => document.getElementById(id);

/** A number with so many digits and a real minus sign; no -0. */
function shown(x, digits = 3) {
  const text = Math.abs(x).toFixed(digits);
  return x < 0 && Number(text) !== 0 ? "−" + text : text;
}

/** Says something to a screen reader, once the numbers have stood still for a moment; nothing as the page opens. */
function speaker(id) {
  let waiting = null;
  return (text) => {
    const write = () => { byId(id).textContent = text; };
    clearTimeout(waiting);
    waiting = waiting === null ? (write(), 0) : setTimeout(write, 300);
  };
}

// ------------------------------------------------------------------------------------ 1. the data

const UNIT = 1000; // weights, gates, probabilities and grey levels are stored in thousandths
const SIDE = 4, T = SIDE * SIDE, PIXELS = 8;
const { images: IMAGES, layers: LAYERS, heads: HEADS } = DATA.sizes;
const KINDS = Object.keys(DATA.kinds);
const LEVELS = 3; // of each kind

/** A function (first, n) that reads whole numbers of ten bits, the highest bit first. */
function tenBits(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return (first, n) => Array.from({ length: n }, (_, i) => {
    const bit = 10 * (first + i), byte = bit >> 3;
    return (((bytes[byte] << 8) | bytes[byte + 1]) >> (6 - (bit & 7))) & 1023;
  });
}
const stored = {};
for (const name of ["pixels", "maps", "gates", "probabilities"]) stored[name] = tenBits(DATA[name]);

const chosen = { image: 1, kind: 0, level: 0, layer: 0, head: 0, query: 5, gate: 0, pointed: 5 }; // kind 0 is clean

const condition = () => (chosen.kind === 0 ? 0 : 1 + LEVELS * (chosen.kind - 1) + chosen.level);
const pixels = (condition, image) => stored.pixels((condition * IMAGES + image) * PIXELS * PIXELS, PIXELS * PIXELS);
const probabilities = (condition) => stored.probabilities((condition * IMAGES + chosen.image) * 10, 10);

/** The row of the query, in the excitatory map (branch 0) or the inhibitory one (branch 1). */
function row(branch) {
  const place = (condition() * IMAGES + chosen.image) * LAYERS + chosen.layer;
  return stored.maps((((place * 2 + branch) * HEADS + chosen.head) * T + chosen.query) * T, T);
}

/** The model's own gate for the query, in thousandths. */
function ownGate() {
  const place = (condition() * IMAGES + chosen.image) * LAYERS + chosen.layer;
  return stored.gates((place * HEADS + chosen.head) * T + chosen.query, 1)[0];
}

/** A = g A_exc - (1 - g) A_inh of one row. Thousandths in, so the sums are whole numbers until the end. */
const fuse = (g, exc, inh) => exc.map((e, i) => (g * e - (UNIT - g) * inh[i]) / UNIT ** 2);

// ---------------------------------------------------------------------------------- 1. the colours

// ColorBrewer's RdBu, which colour-blind readers can tell apart: blue is -1, red is +1.
const COLOURS = ["053061", "2166ac", "4393c3", "92c5de", "d1e5f0", "f7f7f7", "fddbc7", "f4a582", "d6604d", "b2182b", "67001f"]
  .map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));

function colour(x) { // x from -1 to 1
  const place = (Math.max(-1, Math.min(1, x)) + 1) * (COLOURS.length - 1) / 2;
  const low = Math.min(Math.floor(place), COLOURS.length - 2), part = place - low;
  return COLOURS[low].map((c, i) => Math.round(c + part * (COLOURS[low + 1][i] - c)));
}

/** Black or white, whichever is easier to read on a colour: relative luminance, as WCAG has it. */
function ink(rgb) {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

/** Thousandths of grey as a picture, for the background of patches. */
function picture(greys) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = PIXELS;
  const context = canvas.getContext("2d"), data = context.createImageData(PIXELS, PIXELS);
  greys.forEach((grey, i) => data.data.set([0, 1, 2].map(() => Math.round(grey * 255 / UNIT)).concat(255), 4 * i));
  context.putImageData(data, 0, 0);
  return canvas.toDataURL();
}

// --------------------------------------------------------------------------------- 1. the controls

/** A group of radio buttons for one of the choices; options are texts, or elements. */
function choice(name, title, options, withHint = false) {
  const group = document.createElement("fieldset"), faces = document.createElement("div");
  group.innerHTML = `<legend>${title}</legend>`;
  faces.className = "options";
  group.append(faces);
  options.forEach((option, i) => {
    const label = document.createElement("label"), input = document.createElement("input"), face = document.createElement("span");
    Object.assign(input, { type: "radio", name, id: `${name}-${i}`, checked: chosen[name] === i });
    input.addEventListener("change", () => { chosen[name] = i; startAgain(); });
    face.append(option);
    label.append(input, face);
    faces.append(label);
  });
  if (withHint) {
    group.insertAdjacentHTML("beforeend", `<p class="hint" id="hint-${name}"></p>`);
    group.setAttribute("aria-describedby", `hint-${name}`);
  }
  byId("choices").append(group);
}

/** The image of the model's input, and beneath it what it is. */
function thumbnail(image) {
  const face = document.createElement("span"), img = document.createElement("img");
  face.style.cssText = "all: unset";
  Object.assign(img, { src: picture(pixels(0, image)), alt: "" });
  face.append(img, String(DATA.labels[image]));
  const first = DATA.labels.indexOf(DATA.labels[image]);
  if (first !== image) face.append("′");
  return face;
}

const NAMES = { gaussian: "noise", occlusion: "black square", brightness: "brighter" };

function makeControls() {
  choice("image", "Digit", DATA.labels.map((_, i) => thumbnail(i)));
  choice("kind", "Damage", ["none", ...KINDS.map((kind) => NAMES[kind] || kind)]);
  choice("level", "Level", DATA.kinds[KINDS[0]].levels.map(() => ""), true);
  choice("layer", "Layer", Array.from({ length: LAYERS }, (_, i) => String(i + 1)));
  choice("head", "Head", Array.from({ length: HEADS }, (_, i) => String(i + 1)));
}

// ------------------------------------------------------------------------------------ 1. the grids

const GRIDS = ["image", "exc", "inh", "fused"];
const WORDS = { image: "", exc: "A exc", inh: "A inh", fused: "A" };
const place = (i) => `row ${Math.floor(i / SIDE) + 1}, column ${(i % SIDE) + 1}`;
const cells = {}; // by grid

function makeGrid(id) {
  cells[id] = [];
  for (let r = 0; r < SIDE; r++) {
    const line = document.createElement("div");
    line.setAttribute("role", "row");
    for (let c = 0; c < SIDE; c++) {
      const cell = document.createElement("div"), i = r * SIDE + c;
      cell.className = "cell";
      cell.setAttribute("role", "gridcell");
      cell.style.setProperty("--row", r);
      cell.style.setProperty("--column", c);
      if (id !== "image") cell.innerHTML = '<span class="inset"></span><span class="value"></span>';
      cell.addEventListener("focus", () => (id === "image" ? ask(i) : point(i)));
      cell.addEventListener("click", () => move(id, i));
      cell.addEventListener("pointerenter", () => point(i));
      cell.addEventListener("pointerleave", () => point(chosen.query));
      cells[id].push(cell);
      line.append(cell);
    }
    byId(id).append(line);
  }
  byId(id).addEventListener("keydown", (event) => step(id, event));
  stop(id, chosen.query);
}

/** The one cell of a grid that Tab stops at. */
const stop = (id, i) => cells[id].forEach((cell, j) => { cell.tabIndex = i === j ? 0 : -1; });

function move(id, i) {
  stop(id, i);
  cells[id][i].focus();
}

/** Arrow keys walk over the patches; Home and End go to the ends of a row, with Control of the grid. */
function step(id, event) {
  const i = cells[id].indexOf(document.activeElement), r = Math.floor(i / SIDE), c = i % SIDE;
  const to = {
    ArrowLeft: c > 0 ? i - 1 : i, ArrowRight: c < SIDE - 1 ? i + 1 : i,
    ArrowUp: r > 0 ? i - SIDE : i, ArrowDown: r < SIDE - 1 ? i + SIDE : i,
    Home: event.ctrlKey ? 0 : r * SIDE, End: event.ctrlKey ? T - 1 : r * SIDE + SIDE - 1,
  }[event.key];
  if (i < 0 || to === undefined || event.altKey || event.metaKey) return;
  event.preventDefault();
  move(id, to);
}

function ask(query) {
  const changed = query !== chosen.query;
  chosen.query = chosen.pointed = query;
  if (changed) startAgain();
  else drawNumbers();
}

function point(i) {
  chosen.pointed = i;
  drawNumbers();
}

// ---------------------------------------------------------------------------------- 1. the drawing

/** After any choice but the gate's: the gate is the model's own. */
function startAgain() {
  chosen.gate = ownGate();
  byId("gate").value = chosen.gate / UNIT;
  chosen.pointed = chosen.query;
  GRIDS.forEach((id) => stop(id, chosen.query));
  drawChoices();
  drawMaps();
}

function drawChoices() {
  const kind = KINDS[chosen.kind - 1], levels = (DATA.kinds[kind] || DATA.kinds[KINDS[0]]).levels;
  levels.forEach((level, i) => {
    const input = byId(`level-${i}`);
    input.disabled = !kind;
    input.nextSibling.textContent = kind ? String(level) : "–";
  });
  byId("hint-level").textContent = kind ? DATA.kinds[kind].unit : "choose a damage first";
  document.body.style.setProperty("--picture", `url(${picture(pixels(condition(), chosen.image))})`);
  drawClasses(kind);
}

function drawClasses(kind) {
  const clean = probabilities(0), now = probabilities(condition()), label = DATA.labels[chosen.image];
  byId("damaged-title").textContent = kind ? NAMES[kind] || kind : "now";
  byId("classes").tBodies[0].innerHTML = now.map((p, digit) =>
    `<tr class="${digit === label ? "true" : ""}"><th scope="row">${digit}${digit === label ? " (true)" : ""}</th>` +
    `<td>${shown(clean[digit] / UNIT)}</td><td>${shown(p / UNIT)}</td>` +
    `<td aria-hidden="true"><span class="bar" style="width:${p / UNIT * 100}%"></span></td></tr>`).join("");
  byId("answer").textContent = `${answer()} Of all ${DATA.test_images} test digits in this state it reads ` +
    `${shown(100 * DATA.accuracy[condition()], 1)} % rightly.`;
}

function answer() {
  const now = probabilities(condition()), read = now.indexOf(Math.max(...now)), label = DATA.labels[chosen.image];
  return `The model reads ${read}, which is ${read === label ? "right" : `wrong: it is a ${label}`}.`;
}

/** The three maps, and with them the numbers. The slider changes the fused one alone. */
function drawMaps() {
  const exc = row(0), inh = row(1), most = Math.max(...exc, ...inh) / UNIT;
  const rows = { exc: exc.map((w) => w / UNIT), inh: inh.map((w) => w / UNIT), fused: fuse(chosen.gate, exc, inh) };
  for (const [id, weights] of Object.entries(rows)) {
    weights.forEach((weight, i) => {
      const rgb = colour(weight / most), cell = cells[id][i];
      cell.style.backgroundColor = `rgb(${rgb})`;
      cell.style.color = ink(rgb);
      cell.lastChild.textContent = shown(weight, 2);
      cell.setAttribute("aria-label", `${WORDS[id]}, ${place(i)}: ${shown(weight)}${i === chosen.query ? ", the query" : ""}`);
    });
  }
  GRIDS.forEach((id) => cells[id].forEach((cell, i) => cell.classList.toggle("query", i === chosen.query)));
  cells.image.forEach((cell, i) => {
    cell.setAttribute("aria-label", `patch at ${place(i)}`);
    cell.setAttribute("aria-selected", String(i === chosen.query));
  });
  byId("low").textContent = shown(-most);
  byId("high").textContent = "+" + shown(most);
  byId("scale").setAttribute("aria-label", `Colours from blue, ${shown(-most)}, over white, 0, to red, ${shown(most)}`);
  drawNumbers(rows);
}

let current; // the rows that are drawn

function drawNumbers(rows = current) {
  current = rows;
  const g = chosen.gate / UNIT, own = ownGate() / UNIT, facts = {};
  for (const [id, weights] of Object.entries(rows)) {
    facts[id] = [weights.reduce((a, b) => a + b, 0), Math.min(...weights), Math.max(...weights), weights[chosen.pointed]];
    facts[id].forEach((x, i) => { byId(`row-${id}`).cells[i + 1].textContent = shown(x); });
  }
  byId("cell-place").textContent = place(chosen.pointed);
  GRIDS.forEach((id) => cells[id].forEach((cell, i) =>
    cell.classList.toggle("pointed", i === chosen.pointed && i !== chosen.query)));
  byId("gate-value").textContent = shown(g);
  byId("gate").setAttribute("aria-valuetext", `${shown(g)}${chosen.gate === ownGate() ? ", the model's own" : ""}`);
  byId("own").textContent = shown(own);
  byId("own-mark").style.setProperty("--own", own);
  byId("two-g").textContent = shown(2 * g - 1);
  byId("lambda").textContent = g === 0 ? "∞" : shown((1 - g) / g);
  const [sum, low, high, here] = facts.fused;
  say(`Query at ${place(chosen.query)}, gate ${shown(g)}${chosen.gate === ownGate() ? " (the model's own)" : ""}. ` +
    `The fused row sums to ${shown(sum)}, from ${shown(low)} to ${shown(high)}; at ${place(chosen.pointed)} it is ${shown(here)} ` +
    `(A exc ${shown(facts.exc[3])}, A inh ${shown(facts.inh[3])}). ${answer()}`);
}

const say = speaker("said");

function startPart1() {
  makeControls();
  GRIDS.forEach(makeGrid);
  byId("scale").style.background = `linear-gradient(to right, ${COLOURS.map((rgb) => `rgb(${rgb})`)})`;
  byId("gate").addEventListener("input", (event) => {
    chosen.gate = Math.round(event.target.value * UNIT);
    drawMaps();
  });
  byId("back").addEventListener("click", startAgain);
  byId("precision").textContent =
    `Weights, gates and probabilities are stored in thousandths, and each row of a map so that it still sums to 1: each ` +
    `weight is off by less than 0.001, and so is the mixture. In the squares stand two digits, in the table three. The ` +
    `model sees the damaged image uncut; in the picture, what is darker than black is black, and what is brighter than ` +
    `white is white. It was trained on undamaged digits. The last digit, marked ′, is the first that it misreads.`;
  startAgain();
}

// -------------------------------------------------------------------------------- 2. bands at an edge

// Light from 10 to 15: up to kappa = 2 E1 / (E2 - E1) = 4 no rate is below 0, and the equation needs no threshold.
const E1 = 10, E2 = 15, WHITE = 20, HALF = 40, SPACING = 1 / 32, N = Math.round(2 * HALF / SPACING), SEEN = 5;
const xs = Array.from({ length: N }, (_, i) => (i + 0.5) * SPACING - HALF);
const light = xs.map((x) => (x < 0 ? E1 : E2));

/**
 * r = (I + K)^-1 e, exactly, for K_ij = c a^|i-j| with c = kappa spacing / (2 l) and a = exp(-spacing / l).
 *
 * With M_ij = a^|i-j| and s = M r the equation is r = e - c s, so (M^-1 + c I) s = e. M^-1 has three diagonals:
 * -a beside the middle one, and on it 1 + a^2, at the ends 1, all over 1 - a^2. One sweep down, one up, solve it.
 */
function steadyState(e, kappa, reach, spacing) {
  const a = Math.exp(-spacing / reach), c = kappa * spacing / (2 * reach), n = e.length;
  const beside = -a / (1 - a * a), upper = new Float64Array(n), s = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    const middle = (i === 0 || i === n - 1 ? 1 : 1 + a * a) / (1 - a * a) + c;
    const pivot = middle - (i === 0 ? 0 : beside * upper[i - 1]);
    upper[i] = beside / pivot;
    s[i] = (e[i] - (i === 0 ? 0 : beside * s[i - 1])) / pivot;
  }
  for (let i = n - 2; i >= 0; i--) s[i] -= upper[i] * s[i + 1];
  return e.map((light, i) => light - c * s[i]);
}

const overshoot = (kappa) => (E2 - E1) * kappa / (2 * (1 + kappa));

function closedForm(x, kappa, reach) {
  const band = overshoot(kappa) * Math.exp(-Math.sqrt(1 + kappa) * Math.abs(x) / reach);
  return (x < 0 ? E1 : E2) / (1 + kappa) + Math.sign(x) * band;
}

/** What is read off the rates: plateaus half-way to the ends, the overshoot, and over which length it fades. */
function readOff(rates) {
  const first = N / 2, bright = rates[first + N / 4], dark = rates[first - 1 - N / 4];
  const over = rates[first] - bright, next = rates[first + 1] - bright;
  const ratio = over > 1e-9 ? next / over : 1; // from one receptor to the next
  return { dark, bright, first: over, edge: over / Math.sqrt(ratio), fade: -SPACING / Math.log(ratio) };
}

function drawBands() {
  const kappa = Number(byId("kappa").value), reach = Number(byId("reach").value);
  const rates = steadyState(light, kappa, reach, SPACING), network = readOff(rates);
  const formula = {
    dark: E1 / (1 + kappa), bright: E2 / (1 + kappa), edge: overshoot(kappa), fade: reach / Math.sqrt(1 + kappa),
    first: closedForm(SPACING / 2, kappa, reach) - E2 / (1 + kappa),
  };
  if (kappa === 0) formula.fade = network.fade = NaN; // nothing fades
  for (const name of Object.keys(formula)) {
    const [, left, right] = byId(`row-${name}`).cells;
    left.textContent = Number.isNaN(formula[name]) ? "–" : shown(formula[name]);
    right.textContent = Number.isNaN(network[name]) ? "–" : shown(network[name]);
  }
  byId("kappa-value").textContent = shown(kappa, 1);
  byId("reach-value").textContent = shown(reach, 1);
  byId("kappa").setAttribute("aria-valuetext", `kappa ${shown(kappa, 1)}`);
  byId("reach").setAttribute("aria-valuetext", `reach ${shown(reach, 1)} units of length`);
  const inside = xs.map((_, i) => i).filter((i) => Math.abs(xs[i]) < SEEN), most = Math.max(...inside.map((i) => rates[i]));
  byId("white").textContent = shown(most, 1);
  drawStrip("strip-light", inside.map((i) => light[i] / WHITE));
  drawStrip("strip-rate", inside.map((i) => rates[i] / most));
  drawCurve(inside, rates, kappa, reach);
  const text = `With kappa ${shown(kappa, 1)} and reach ${shown(reach, 1)} the plateaus are ${shown(network.dark)} and ` +
    `${shown(network.bright)}. At the edge the rate overshoots by ${shown(network.edge)}; the closed form says ${shown(formula.edge)}.`;
  byId("strip-rate").setAttribute("aria-label", text);
  byId("curve").setAttribute("aria-label", `Rates over place. ${text}`);
  sayBands(text);
}

const sayBands = speaker("bands-said");

function drawStrip(id, greys) {
  const canvas = byId(id);
  canvas.width = greys.length;
  const context = canvas.getContext("2d"), data = context.createImageData(greys.length, 1);
  greys.forEach((grey, i) => data.data.set([0, 1, 2].map(() => Math.round(255 * grey)).concat(255), 4 * i));
  context.putImageData(data, 0, 0);
}

/** Light, network and closed form, drawn in the pixels that there are. */
function drawCurve(inside, rates, kappa, reach) {
  const svg = byId("curve"), { width, height } = svg.getBoundingClientRect();
  const left = 46, bottom = 42, top = 10, highest = 17;
  const toX = (x) => left + (x + SEEN) / (2 * SEEN) * (width - left - 8);
  const toY = (y) => height - bottom - y / highest * (height - bottom - top);
  const path = (kind, points) =>
    `<path class="${kind}" d="M${points.map(([x, y]) => `${toX(x).toFixed(1)} ${toY(y).toFixed(1)}`).join("L")}"/>`;
  const line = (kind, x1, y1, x2, y2) => `<line class="${kind}" x1="${toX(x1)}" y1="${toY(y1)}" x2="${toX(x2)}" y2="${toY(y2)}"/>`;
  const text = (x, y, anchor, words, extra = "") => `<text x="${x}" y="${y}" text-anchor="${anchor}" ${extra}>${words}</text>`;
  const ticks = [0, 5, 10, 15].map((y) => line("tick", -SEEN, y, SEEN, y) + text(left - 6, toY(y) + 4, "end", y));
  const places = [-4, -2, 0, 2, 4].map((x) => text(toX(x), height - bottom + 18, "middle", shown(x, 0)));
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.innerHTML = ticks.join("") + places.join("") + line("axis", -SEEN, 0, SEEN, 0) + line("axis", -SEEN, 0, -SEEN, highest) +
    text(toX(0), height - 6, "middle", "place x, units of length") +
    text(14, toY(highest / 2), "middle", "impulses per second", `transform="rotate(-90 14 ${toY(highest / 2)})"`) +
    path("light", [[-SEEN, E1], [0, E1], [0, E2], [SEEN, E2]]) +
    path("network", inside.map((i) => [xs[i], rates[i]])) +
    path("closed", inside.map((i) => [xs[i], closedForm(xs[i], kappa, reach)]));
}

function startPart2() {
  byId("receptors").textContent = N.toLocaleString("en");
  byId("line-text").textContent =
    `${N.toLocaleString("en")} receptors from x = ${shown(-HALF, 0)} to ${HALF}, 1/${1 / SPACING} apart, of which the middle is drawn`;
  for (const id of ["kappa", "reach"]) byId(id).addEventListener("input", drawBands);
  addEventListener("resize", drawBands);
  drawBands();
}

startPart1();
startPart2();
