// SVG charts of rows of methods; colours come from the style sheet, so that they follow the theme.
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8f98"];
const DASHES = ["", "7 3", "2 3", "8 3 2 3"];

function ticks(low, high, count = 5) {
  if (!(high > low)) return [low];
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  return found;
}
function extent(values, pad = 0.04) {
  const good = values.filter(finite);
  if (!good.length) return [0, 1];
  let low = Math.min(...good), high = Math.max(...good);
  if (low === high) { low -= Math.abs(low) * 0.1 || 1; high += Math.abs(high) * 0.1 || 1; }
  return [low - pad * (high - low), high + pad * (high - low)];
}
function shorten(text, most = 20) { return text.length > most ? `${text.slice(0, most - 1)}…` : text; }

/** Charts are drawn as wide as their place, so that text has the size that it says. */
let WIDTH = 560;
const CHART_LIMITS = [280, 640];
function drawInto(holder, chart) {
  WIDTH = Math.max(CHART_LIMITS[0], Math.min(CHART_LIMITS[1], holder.clientWidth || 560));
  holder.replaceChildren(...[chart()].filter(Boolean));
}
const LETTER = 6.7; // width of a letter of 12 px
const nameWidth = () => Math.round(Math.min(170, 0.38 * WIDTH));
/** A frame with one line per method and a horizontal axis; `row` draws the marks of a method. */
function rowChart(methods, domain, axis, title, row) {
  const left = nameWidth(), right = 14, step = 26, top = 8, width = WIDTH, height = top + step * methods.length + 40;
  const x = (value) => left + ((value - domain[0]) / (domain[1] - domain[0])) * (width - left - right);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": title });
  const bottom = top + step * methods.length;
  for (const at of ticks(...domain, width < 420 ? 3 : 5)) {
    svg.append(draw("line", { class: "grid", x1: x(at), x2: x(at), y1: top, y2: bottom }));
    svg.append(draw("text", { class: "small", x: x(at), y: bottom + 15, "text-anchor": "middle", text: show(at, 3) }));
  }
  svg.append(draw("text", { class: "small", x: (left + width - right) / 2, y: bottom + 32, "text-anchor": "middle", text: axis }));
  methods.forEach((method, i) => {
    const group = draw("g", { class: method === state.method ? "chosen" : "" });
    const y = top + step * (i + 0.5);
    const name = draw("text", { x: left - 8, y: y + 4, "text-anchor": "end", text: shorten(named(method), Math.floor((left - 8) / LETTER)) });
    name.append(draw("title", { text: named(method) }));
    group.append(name);
    row(group, method, x, y, step);
    svg.append(group);
  });
  return svg;
}
function boxChart(methods, valuesOf, axis, title) {
  const all = methods.flatMap((m) => valuesOf(m));
  return rowChart(methods, extent(all), axis, title, (group, method, x, y, step) => {
    const values = valuesOf(method).filter(finite).sort((a, b) => a - b);
    if (!values.length) return;
    const [q1, q2, q3] = [0.25, 0.5, 0.75].map((q) => quantile(values, q));
    const reach = 1.5 * (q3 - q1);
    const low = values.find((v) => v >= q1 - reach), high = values.findLast((v) => v <= q3 + reach);
    const h = step * 0.3;
    group.append(draw("line", { class: "axis", x1: x(low), x2: x(high), y1: y, y2: y }));
    group.append(draw("rect", { class: "box", x: x(q1), width: Math.max(1, x(q3) - x(q1)), y: y - h, height: 2 * h }));
    values.forEach((v, i) => group.append(draw("circle", { class: "dot", cx: x(v), cy: y + ((i * 0.618) % 1 - 0.5) * h * 1.6, r: 2.2 })));
    group.append(draw("line", { class: "mid", x1: x(q2), x2: x(q2), y1: y - h, y2: y + h }));
    group.append(draw("title", { text: `${method}: median ${show(q2)}, quartiles ${show(q1)} to ${show(q3)}, ${values.length} images` }));
  });
}
/** Every image's difference as a dot, the mean as a mark, its interval as a line. */
function pairedChart(methods, pointsOf, summaryOf, axis, title) {
  const domain = extent([0, ...methods.flatMap((m) => pointsOf(m)), ...methods.flatMap((m) => { const s = summaryOf(m); return [s.low, s.high]; })]);
  const svg = rowChart(methods, domain, axis, title, (group, method, x, y, step) => {
    pointsOf(method).filter(finite).forEach((v, i) => group.append(draw("circle", { class: "dot", cx: x(v), cy: y + ((i * 0.618) % 1 - 0.5) * step * 0.5, r: 2.2 })));
    const s = summaryOf(method);
    if (finite(s.low) && finite(s.high)) group.append(draw("line", { class: "interval", x1: x(s.low), x2: x(s.high), y1: y, y2: y }));
    if (finite(s.mean)) group.append(draw("circle", { class: "mark", cx: x(s.mean), cy: y, r: 4.5 }));
    group.append(draw("title", { text: `${method}: ${show(s.mean)}${finite(s.low) ? `, 95 %: ${show(s.low)} to ${show(s.high)}` : ""}` }));
  });
  const left = nameWidth(), zero = left + ((0 - domain[0]) / (domain[1] - domain[0])) * (WIDTH - left - 14);
  svg.append(draw("line", { class: "zero", x1: zero, x2: zero, y1: 8, y2: 8 + 26 * methods.length }));
  return svg;
}
/** A frame with two axes; `marks` draws into it. */
function plane(xs, ys, { logX = false, xText, yText, title }, marks) {
  const width = WIDTH, height = 340, left = 62, right = 16, top = 12, bottom = 44;
  const tx = logX ? (v) => Math.log10(v) : (v) => v;
  const [x0, x1] = extent(xs.filter(finite).map(tx), 0.08), [y0, y1] = extent(ys, 0.08);
  const x = (v) => left + ((tx(v) - x0) / (x1 - x0)) * (width - left - right);
  const y = (v) => height - bottom - ((v - y0) / (y1 - y0)) * (height - top - bottom);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": title });
  for (const at of ticks(y0, y1)) {
    svg.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: y(at), y2: y(at) }));
    svg.append(draw("text", { class: "small", x: left - 6, y: y(at) + 4, "text-anchor": "end", text: show(at, 3) }));
  }
  let marksX = ticks(x0, x1);
  if (logX) {
    const whole = [];
    for (let p = Math.floor(x0); p <= Math.ceil(x1); p++) for (const k of x1 - x0 > 2.5 ? [1] : [1, 2, 5]) whole.push(p + Math.log10(k));
    marksX = whole.filter((v) => v >= x0 && v <= x1);
  }
  for (const at of marksX) {
    const value = logX ? 10 ** at : at;
    svg.append(draw("line", { class: "grid", x1: x(value), x2: x(value), y1: top, y2: height - bottom }));
    svg.append(draw("text", { class: "small", x: x(value), y: height - bottom + 16, "text-anchor": "middle", text: show(value, 2) }));
  }
  svg.append(draw("text", { class: "small", x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle", text: xText }));
  svg.append(draw("text", { class: "small", x: 14, y: (top + height - bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${(top + height - bottom) / 2})`, text: yText }));
  marks(svg, x, y);
  return svg;
}
/** Points with names, and the front: nobody is both faster and better. Names that collide move. */
function paretoChart(points, better, options) {
  return plane(points.map((p) => p.x), points.map((p) => p.y), { ...options, logX: true }, (svg, x, y) => {
    const sorted = points.slice().sort((a, b) => a.x - b.x || better(b) - better(a));
    let best = -Infinity;
    const front = sorted.filter((p) => { const ok = better(p) > best; if (ok) best = better(p); return ok; });
    svg.append(draw("polyline", { class: "front", points: front.map((p) => `${x(p.x)},${y(p.y)}`).join(" ") }));
    const taken = sorted.map((p) => ({ x: x(p.x) - 5, y: y(p.y) + 4, w: 10 }));
    for (const p of sorted) {
      const group = draw("g", { class: p.name === state.method ? "chosen" : "" });
      group.append(draw("circle", { class: "mark", cx: x(p.x), cy: y(p.y), r: front.includes(p) ? 5.5 : 4, "fill-opacity": front.includes(p) ? 1 : 0.55 }));
      group.append(draw("title", { text: `${p.name}: ${show(p.x, 3)} s per image, ${show(p.y)}` }));
      const label = shorten(p.name, 24), w = label.length * LETTER, end = x(p.x) + w + 12 > WIDTH - 16;
      const spot = [-8, 16, -22, 30, 4, -36, 44].flatMap((dy) => [end ? -8 - w : 8, end ? 8 : -8 - w].map((dx) => ({ x: x(p.x) + dx, y: y(p.y) + dy, w })))
        .find((s) => s.x > 60 && s.y > 12 && s.x + s.w < WIDTH && s.y < 294 && taken.every((t) => Math.abs(t.y - s.y) > 13 || t.x + t.w < s.x || s.x + s.w < t.x));
      if (spot) {
        taken.push(spot);
        group.append(draw("text", { class: "small", x: spot.x, y: spot.y, text: label }));
      }
      svg.append(group);
    }
  });
}
function lineChart(lines, options) {
  const holder = make("div", {});
  const legend = make("ul", { class: "legend" });
  holder.append(plane(lines.flatMap((l) => l.x), lines.flatMap((l) => l.y), options, (svg, x, y) => {
    lines.forEach((line, i) => {
      const colour = line.floor ? "#8a8f98" : PALETTE[i % PALETTE.length], dash = DASHES[Math.floor(i / PALETTE.length) % DASHES.length];
      const points = line.x.map((v, k) => [v, line.y[k]]).filter(([a, b]) => finite(a) && finite(b)).map(([a, b]) => `${x(a)},${y(b)}`).join(" ");
      const path = draw("polyline", { points, fill: "none", stroke: colour, "stroke-width": line.floor ? 4 : line.name === state.method ? 3 : 1.7, "stroke-dasharray": dash, "stroke-opacity": line.floor ? 0.5 : 1 });
      path.append(draw("title", { text: line.name }));
      svg.append(path);
      const key = draw("svg", { viewBox: "0 0 26 8", width: 26, height: 8, "aria-hidden": "true", style: "width:26px;display:inline-block" },
        draw("line", { x1: 0, x2: 26, y1: 4, y2: 4, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash }));
      legend.append(make("li", {}, key, ` ${line.name}`));
    });
    for (const level of options.levels || []) svg.append(draw("line", { class: "zero", x1: 62, x2: WIDTH - 16, y1: y(level), y2: y(level) }));
  }), legend);
  return holder;
}
