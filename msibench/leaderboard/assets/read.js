// The tables and charts: sorted, filtered, and drawn for one protocol, metric and reference.
function sortTable(table, column, direction) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((h, i) => h.setAttribute("aria-sort", i === column ? direction : "none"));
  const numeric = headers[column].querySelector("button").dataset.numeric === "1";
  const sign = direction === "ascending" ? 1 : -1;
  const key = (row) => row.cells[column].dataset.sort;
  const rows = [...table.tBodies[0].rows].map((row, at) => ({ row, at }));
  rows.sort((a, b) => {
    const [p, q] = [key(a.row), key(b.row)];
    if ((p === "") !== (q === "")) return p === "" ? 1 : -1; // empty ones last, either way
    const order = numeric ? Number(p) - Number(q) : p.localeCompare(q);
    return sign * order || a.at - b.at;
  });
  table.tBodies[0].append(...rows.map((r) => r.row));
}
function sortable(table) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => {
      const now = header.getAttribute("aria-sort");
      const first = header.classList.contains("number") && header.querySelector("button").title.startsWith("higher") ? "descending" : "ascending";
      const next = now === "none" ? first : now === "ascending" ? "descending" : "ascending";
      sortTable(table, column, next);
    });
  });
}
function filterRows() {
  const wanted = $("filter").value.trim().toLowerCase();
  let shown = 0, all = 0;
  for (const row of document.querySelectorAll("table.board tbody tr")) {
    const match = row.textContent.toLowerCase().includes(wanted);
    row.hidden = !match; all++; if (match) shown++;
  }
  $("filter-state").textContent = wanted ? `${shown} of ${all} rows` : "";
}

/** The chosen protocol; of a large board its section means, or the ion images of the chosen section. */
function chosenProtocol() {
  const protocol = D.protocols[Number($("protocol").value) || 0], name = $("part").value;
  return protocol && protocol.parts && PARTS[name] ? { ...protocol, ...PARTS[name], parts: false, pairs: null } : protocol;
}
const chosenPart = () => $("part").value !== "";
const imagesOf = (protocol) => (protocol.parts ? "sections (means over their ion images)" : "ion images");
async function choosePart() {
  const name = $("part").value;
  const missing = name && !(await part(name));
  if (name !== $("part").value) return;
  $("part-state").hidden = !missing;
  $("part-state").textContent = missing ? "The numbers of this section could not be loaded: is the folder “data” beside the page?" : "";
  if (missing) $("part").value = "";
  drawCharts(); fillWeights();
  document.body.dataset.part = $("part").value;
}
/** Measures with the composite first. */
/** A score as the board shows it: the skill is a share, and is told in percent. */
const inPercent = (value) => (finite(value) && D.scheme.percent ? 100 * value : value);
const SCORE_UNIT = D.scheme.percent ? " %" : "";
const chartMeasures = (protocol) => [{ metric: "score", region: "image", direction: "higher", composite: true }, ...protocol.measures];
function chartValues(protocol, measure) {
  return measure === 0 ? protocol.composite.map((row) => row.map(inPercent)) : protocol.values[measure - 1];
}
function chooseProtocol() {
  $("part").value = "";
  const protocol = chosenProtocol();
  if (!protocol) return;
  $("part-label").hidden = !protocol.parts;
  $("part-state").hidden = true;
  fill($("part"), protocol.parts ? [["", "all, as means"], ...protocol.images.map((i) => [i.part, `${i.dataset} / ${i.section}${i.mz_set ? ` · ${i.mz_set}` : ""}`])] : [["", ""]], "");
  const usable = protocol.composite.some((row) => row.some(finite));
  fill($("chart-metric"), chartMeasures(protocol).map((m, i) => [i, m.composite ? "score" : measureName(m)]), usable ? 0 : 1);
  const methods = protocol.methods.slice().sort(ranked(protocol.name));
  fill($("reference"), methods.map((m) => [m, named(m)]), methods.includes(D.scheme.control) ? D.scheme.control : methods[0]);
  drawCharts(); fillWeights();
}
function drawCharts() {
  const protocol = chosenProtocol();
  if (!protocol) return;
  const place = Number($("chart-metric").value) || 0, measure = chartMeasures(protocol)[place], values = chartValues(protocol, place);
  const methods = protocol.methods.slice().sort(ranked(protocol.name));
  const of = (m) => values[protocol.methods.indexOf(m)];
  const unit = measure.composite ? SCORE_UNIT && " (%)" : unitOf(measure.metric), name = measure.composite ? "score" : measureName(measure);
  const title = measure.composite ? "Score" : METRIC(measure.metric).title;
  $("box-text").textContent = `${title}${unit}; ${BETTER[measure.direction]}. Box: quartiles; line: median; dots: ${imagesOf(protocol)}.`;
  drawInto($("box"), () => boxChart(methods, of, `${name}${unit}`, `Box plots of ${name}`));

  const reference = $("reference").value, shown = (v) => measure.direction in TARGETS && finite(v) ? -Math.abs(v - TARGETS[measure.direction]) : v;
  const points = (m) => of(m).map((v, i) => { const r = of(reference)[i]; return finite(v) && finite(r) ? shown(v) - shown(r) : null; });
  const pairs = protocol.pairs ? protocol.pairs[place] : null;
  const summary = (m) => {
    const a = protocol.methods.indexOf(m), b = protocol.methods.indexOf(reference), found = pairs && pairs.find((p) => (p[0] === a && p[1] === b) || (p[0] === b && p[1] === a));
    if (!found) return { mean: mean(points(m).filter(finite)), low: null, high: null };
    const flip = found[0] !== a;
    const [middle, low, high] = found.slice(2).map((v) => (measure.composite ? inPercent(v) : v));
    const turn = (v) => (finite(v) ? (flip ? -v : v) : null);
    return { mean: turn(middle), low: turn(flip ? high : low), high: turn(flip ? low : high) };
  };
  const others = methods.filter((m) => m !== reference);
  const sections = new Set(protocol.images.map((i) => `${i.dataset}/${i.section}`)).size;
  const specimens = protocol.specimens ?? sections; // pages of older boards do not say
  const over = sections < 5 ? `over ion images of ${sections === 1 ? "this section" : `these ${sections} sections`}`
    : specimens === sections ? `over sections (${sections})`
    : specimens < 5 ? `over sections (${sections}) of ${specimens === 1 ? "this specimen" : `these ${specimens} specimens`} only`
    : `over specimens (${specimens}, ${sections} sections)`;
  const what = measure.direction === "one" ? `−|1 − ${name}|` : name;
  $("paired-text").textContent = others.length ? `Each method − ${reference} in ${what}, ${protocol.parts ? "section by section" : "ion image by ion image"}; ${measure.direction === "lower" ? "left" : "right"} of the line is better. `
    + (pairs ? `Line: 95 % interval, ${over}.` : chosenPart() ? "No intervals inside one section." : "No intervals: too many methods for one page; see msibench leaderboard --pair.") : "There is no other method.";
  drawInto($("paired"), () => others.length && pairedChart(others, points, summary, `difference in ${what}${unit}`, `Paired differences to ${reference} in ${name}`));

  const cost = new Map(D.cost.filter((c) => c.protocol === protocol.name).map((c) => [c.method, c.seconds]));
  const placed = methods.map((m) => ({ name: m, x: cost.get(m), y: mean(of(m).filter(finite)) })).filter((p) => p.x > 0 && finite(p.y));
  $("pareto-text").textContent = `Mean over ${imagesOf(protocol)} against the median time per ion image, fitting included. Dotted: no method is both faster and better.`;
  drawInto($("pareto"), () => paretoChart(placed, (p) => goodness(p.y, measure.direction), { xText: "seconds per ion image", yText: `${name}${unit}`, title: `${name} against time` }));
  numbersTable(protocol, methods, of, name, unit, measure.direction);
  besideTables(protocol);
}
/** Every ion image in one row, every method in one column; the best is bold. */
function numbersTable(protocol, methods, of, name, unit, direction) {
  const table = $("mz-table");
  const several = new Set(protocol.images.map((i) => `${i.dataset}/${i.section}`)).size > 1;
  const head = make("tr", {}, ...(several ? [make("th", { scope: "col", text: "section" })] : []), make("th", { scope: "col", text: "ion image" }), ...methods.map((m) => make("th", { scope: "col", class: "number", text: named(m) })));
  const body = make("tbody", {});
  protocol.images.forEach((image, i) => {
    const good = methods.map((m) => goodness(of(m)[i], direction)), best = Math.max(...good.filter((g) => g !== null));
    const problem = D.problems.find((p) => p.protocol === protocol.name && p.dataset === image.dataset && p.section === image.section && p.mz_set === image.mz_set);
    const label = problem && problem.channels[image.channel] ? problem.channels[image.channel].label : finite(image.mz) ? `m/z ${image.mz}` : image.part ? `mean of ${image.of} ion images` : `channel ${image.channel}`;
    body.append(make("tr", {}, ...(several ? [make("td", { text: `${image.dataset} / ${image.section}` })] : []), make("th", { scope: "row", text: label }),
      ...methods.map((m, k) => { const cell = make("td", { class: "number" }); const text = show(of(m)[i]); cell.append(good[k] !== null && good[k] === best ? make("b", { text }) : text); return cell; })));
  });
  table.replaceChildren(make("caption", { text: `${name}${unit}; ${BETTER[direction]}; bold: the best` }), make("thead", {}, head), body);
}
/** What was measured here, beside what others published. */
function besideTables(protocol) {
  for (const holder of document.querySelectorAll("[data-beside]")) {
    const inside = protocol.images.map((image, i) => (image.dataset === holder.dataset.beside ? i : -1)).filter((i) => i >= 0);
    holder.replaceChildren();
    if (!inside.length) continue;
    const body = make("tbody", {});
    protocol.methods.slice().sort(ranked(protocol.name)).forEach((m) => {
      const row = protocol.methods.indexOf(m);
      body.append(make("tr", {}, make("th", { scope: "row", text: named(m) }), ...protocol.values.map((v) => make("td", { class: "number", text: show(mean(inside.map((i) => v[row][i]).filter(finite))) }))));
    });
    const head = make("tr", {}, make("th", { scope: "col", text: "method" }), ...protocol.measures.map((m) => make("th", { scope: "col", class: "number", text: measureName(m) })));
    holder.append(make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Measured beside published" },
      make("table", {}, make("caption", { text: `Measured here on the same data set (${protocol.name}), means over ${inside.length} ${imagesOf(protocol)}` }), make("thead", {}, head), body)));
  }
}
function startRead() {
  document.querySelectorAll("table.board").forEach(sortable);
  $("filter").addEventListener("input", filterRows);
  fill($("protocol"), D.protocols.map((p, i) => [i, p.name]), 0);
  $("protocol").parentElement.hidden = D.protocols.length < 2;
  $("protocol").addEventListener("change", chooseProtocol);
  $("part").addEventListener("change", choosePart);
  for (const id of ["chart-metric", "reference"]) $(id).addEventListener("change", drawCharts);
  if (D.protocols.length) chooseProtocol(); else $("read-controls").hidden = true;
  listeners.push(drawCharts, markRows);
  markRows();
}
function markRows() {
  for (const row of document.querySelectorAll("table.board tbody tr")) row.classList.toggle("chosen", row.dataset.method === state.method);
}
