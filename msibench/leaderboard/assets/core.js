"use strict";
// What all parts share: the data, elements, numbers, colours, and the choices a reader made.
const D = JSON.parse(document.getElementById("data").textContent);
const PICTURES = JSON.parse(document.getElementById("pictures").textContent);
const $ = (id) => document.getElementById(id);
/** A method as it is shown: what a stranger measured is marked wherever it stands. */
const named = (method) => method + (D.marks[method] || "");
const SVG = "http://www.w3.org/2000/svg";

/** Make an element; text is always text, never markup. */
function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "text") node.textContent = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
  }
  for (const child of children) node.append(child);
  return node;
}
function draw(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "text") node.textContent = value; else node.setAttribute(key, value);
  }
  for (const child of children) node.append(child);
  return node;
}
function fill(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => make("option", { value, text })));
  if (chosen !== undefined && chosen !== null) select.value = String(chosen);
  if (select.selectedIndex < 0 && entries.length) select.selectedIndex = 0;
}
const finite = (value) => typeof value === "number" && Number.isFinite(value);
function show(value, digits = 4) {
  if (!finite(value)) return "–";
  const size = Math.abs(value);
  if (size < 1e-12) return "0"; // rounding alone
  if (size !== 0 && (size >= 1e6 || size < 1e-4)) return value.toExponential(2);
  return String(Number(value.toPrecision(digits)));
}
const mean = (values) => values.length ? values.reduce((a, b) => a + b, 0) / values.length : NaN;
function quantile(sorted, q) {
  if (!sorted.length) return NaN;
  const at = (sorted.length - 1) * q, below = Math.floor(at), above = Math.ceil(at);
  return sorted[below] + (sorted[above] - sorted[below]) * (at - below);
}
/** Small seeded generator (mulberry32): the same weights give the same shares every time. */
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const METRIC = (name) => D.metrics[name] || { title: name, unit: "", direction: "higher" };
const measureName = (m) => m.region === "image" ? m.metric : `${m.metric} (${m.region})`;
const unitOf = (name) => METRIC(name).unit ? ` ${METRIC(name).unit}` : "";
/** How good a value is: larger is better, whatever the metric's direction. */
function goodness(value, direction) {
  if (!finite(value)) return null;
  if (direction === "lower") return -value;
  return direction in TARGETS ? -Math.abs(value - TARGETS[direction]) : value;
}
const BETTER = { higher: "higher is better", lower: "lower is better", one: "nearer to 1 is better", "nine-tenths": "nearer to 0.9 is better" };
/** The right value, of directions that have one. */
const TARGETS = { one: 1, "nine-tenths": 0.9 };

const STOPS = {
  viridis: "44015448186a472d7b4240863b528b33638d2c728e26828e21918c1fa08828ae803fbc735ec96284d44baddc30d8e219fde725",
  inferno: "0000040b0724210c4a3d096557106e71196e8a226aa32c61bc3754d24644e45a31f1731df98e09fcac11f9cb35f2ea69fcffa4",
  grey: "000000ffffff",
  difference: "7f3b08a04d07be630adb7d12ef9e3cfdbd6efed7a2fbe9cff6f6f7e3e4efcecde4b6b0d4988dbe7967a65d379044176f2d004b",
};
const TABLES = {};
/** 256 colours between evenly spaced stops; viridis and inferno: van der Walt & Smith, PuOr: Brewer. */
function colours(name) {
  if (TABLES[name]) return TABLES[name];
  const stops = STOPS[name].match(/.{6}/g).map((hex) => [0, 2, 4].map((k) => parseInt(hex.slice(k, k + 2), 16)));
  const table = new Uint8ClampedArray(768);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
    for (let k = 0; k < 3; k++) table[3 * i + k] = stops[low][k] + (stops[low + 1][k] - stops[low][k]) * (at - low);
  }
  return (TABLES[name] = table);
}

const state = { problem: 0, channel: 0, measure: 0, method: "", colours: "viridis", differences: true, shown: new Set() };
const listeners = [];
const changed = () => { for (const listener of listeners) listener(); };

const theme = $("theme");
const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
const isDark = () => {
  const set = document.documentElement.dataset.theme;
  return set ? set === "dark" : prefersDark.matches;
};
function nameTheme() {
  theme.textContent = isDark() ? "Light theme" : "Dark theme";
}
// A page of a site shares the choice with its other pages; one on a disk may be refused a memory.
const remembered = (chosen) => {
  try {
    if (chosen) localStorage.setItem("msibench-theme", chosen);
    return localStorage.getItem("msibench-theme");
  } catch (error) { return null; }
};
if (D.site && ["dark", "light"].includes(remembered())) document.documentElement.dataset.theme = remembered();
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  if (D.site) remembered(document.documentElement.dataset.theme);
  nameTheme();
});
prefersDark.addEventListener("change", nameTheme);
nameTheme();
window.addEventListener("beforeprint", () => document.querySelectorAll("#read details, #trust details").forEach((d) => { d.open = true; }));

/** A table that is wider than its place says so: where columns are hidden nobody looks for them. */
function markScrolling() {
  for (const box of document.querySelectorAll(".scroll")) {
    const mark = () => box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
    box.addEventListener("scroll", mark);
    new ResizeObserver(mark).observe(box);
  }
}

/** The protocol's numbers that belong to a section, and the place of one of its ion images in them. */
const protocolOf = (problem) => D.protocols.find((p) => problem && p.name === problem.protocol);
/** Numbers of a large board lie in files beside the page; scripts, as a page on a disk may read nothing else. */
const PARTS = {};
const asked = new Map();
window.msibenchPart = (name, content) => {
  PARTS[name] = content;
  const waiting = asked.get(name);
  if (waiting) waiting();
};
function part(name) {
  if (PARTS[name]) return Promise.resolve(PARTS[name]);
  return new Promise((resolve) => {
    asked.set(name, () => resolve(PARTS[name]));
    const script = make("script", { src: `data/${name}.js` });
    script.addEventListener("error", () => resolve(null));
    document.head.append(script);
  });
}
function partName(problem) {
  const protocol = protocolOf(problem);
  const entry = protocol && protocol.parts && protocol.images.find((i) => i.dataset === problem.dataset && i.section === problem.section && i.mz_set === problem.mz_set);
  return entry ? entry.part : null;
}
/** The protocol with the ion images of a problem's section: its own, or those of the loaded part. */
function numbersOf(problem) {
  const protocol = protocolOf(problem);
  if (!protocol || !protocol.parts) return protocol;
  const loaded = PARTS[partName(problem)];
  return loaded ? { ...protocol, ...loaded } : null;
}
function imageIndex(problem, channel) {
  const protocol = numbersOf(problem);
  if (!protocol) return -1;
  return protocol.images.findIndex((i) => i.dataset === problem.dataset && i.section === problem.section
    && i.mz_set === problem.mz_set && i.channel === channel);
}
function valueOf(problem, channel, method) {
  const protocol = numbersOf(problem), image = imageIndex(problem, channel);
  if (!protocol || image < 0) return null;
  const row = protocol.methods.indexOf(method);
  const values = protocol.values[state.measure];
  return row < 0 || !values ? null : values[row][image];
}
const ranked = (protocol) => {
  const rank = new Map(D.cost.filter((c) => c.protocol === protocol).map((c, at) => [c.method, at]));
  return (a, b) => (rank.get(a) ?? 1e9) - (rank.get(b) ?? 1e9) || (a < b ? -1 : 1);
};
