// What speaks for trust, and what a reader takes away: tables, curves, downloads.
function trustTables() {
  const holder = $("trust-tables"), lines = D.trust.lines;
  if (!lines.length) { holder.append(make("p", { class: "notice", text: "No measure of trust is among the stored rows." })); return; }
  for (const protocol of new Set(lines.map((l) => l.protocol))) {
    const here = lines.filter((l) => l.protocol === protocol);
    const guided = new Set(here.filter((l) => l.control).map((l) => l.metric));
    const methods = [...new Set(here.map((l) => l.method))].sort(ranked(protocol));
    const names = [...new Set(here.map((l) => l.metric))].filter((m) => m !== "psnr" && !D.trust.levels.includes(m));
    holder.append(make("h3", { text: `Is the detail real? ${protocol}` }));
    if (names.length) holder.append(trustTable("Mean ± s.e.m. over ion images", methods, names.map((m) => [`${m}${unitOf(m)}`, BETTER[METRIC(m).direction], (method) => here.find((l) => l.metric === m && l.method === method && !l.control)])));
    for (const level of D.trust.levels) { // the truth's own: the same for every method
      const line = here.find((l) => l.metric === level && finite(l.mean));
      if (line) names.push(level);
    }
    holder.append(make("details", {}, make("summary", { text: "What these measures ask" }), make("ul", {}, ...names.map((m) => {
      const line = D.trust.levels.includes(m) && here.find((l) => l.metric === m && finite(l.mean));
      return make("li", {}, make("b", { text: m }), `: ${D.trust.questions[m]}${line ? ` Here ${show(line.mean)}${unitOf(m)}.` : ""}`);
    }))));
    const controls = [...new Set(here.map((l) => l.control).filter(Boolean))].sort();
    if (!controls.length) continue;
    holder.append(make("h3", { text: "Does a method follow any guide?" }), make("p", { class: "quiet", text: "The same methods with a wrong guide. One whose score hardly drops does not use its guide; one whose added detail follows the wrong guide paints it." }));
    const grid = make("div", {});
    for (const metric of ["psnr", "guide_leakage", "uncharted_leakage", "consistency"].filter((m) => guided.has(m))) {
      const which = [...new Set(here.filter((l) => l.metric === metric && l.control).map((l) => l.method))].sort(ranked(protocol));
      grid.append(trustTable(`${metric}${unitOf(metric)}; ${BETTER[METRIC(metric).direction]}`, which, ["", ...controls].map((c) => [c.replace(/^guide-/, "") || "true guide", "", (method) => here.find((l) => l.metric === metric && l.method === method && l.control === c)])));
    }
    holder.append(grid);
  }
}
/** One row a method; each column has a name, what is better in it, and a way to its line. */
function trustTable(caption, methods, columns) {
  const text = (line) => (line ? `${show(line.mean, 3)}${finite(line.sem) && line.sem > 0 ? ` ± ${show(line.sem, 2)}` : ""}${line.undefined ? ` (${line.undefined} undefined)` : ""}` : "–");
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, make("table", {}, make("caption", { text: caption }),
    make("thead", {}, make("tr", {}, make("th", { scope: "col", text: "method" }), ...columns.map(([name, better]) => { const th = make("th", { scope: "col", class: "number", text: name }); if (better) th.append(make("small", { text: better })); return th; }))),
    make("tbody", {}, ...methods.map((m) => make("tr", {}, make("th", { scope: "row", text: named(m) }), ...columns.map(([, , find]) => make("td", { class: "number", text: text(find(m)) })))))));
}
/** How much there was to gain: the truth is noisy, and no method can reach more than the ceiling. */
function reachTables() {
  for (const name of new Set(D.trust.reach.map((l) => l.protocol))) {
    const lines = D.trust.reach.filter((l) => l.protocol === name), first = lines[0];
    const percent = (value) => (finite(value) ? `${(Number((100 * value).toFixed(1)) + 0).toFixed(1)} %` : "–"), withheld = new Set(lines.map((l) => l.withheld).filter(Boolean));
    const columns = [["skill", (l) => percent(l.score)], ["gain over control", (l) => percent(l.gain)], ["share of the reachable gain", (l) => l.share]];
    $("trust-tables").append(make("h3", { text: "How much is there to gain?" }),
      make("p", { class: "quiet", text: `${name}: of the detail that the coarse image does not show, ${D.scheme.control} has ${percent(first.control)} right; the signal itself would get ${first.ceiling} against this noisy truth (${first.source}).${[...withheld].map((text) => ` No share: ${text}.`).join("")}` }),
      make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Reachable gain" }, make("table", {},
        make("caption", { text: "Gain, and its share of what noise leaves to gain" }),
        make("thead", {}, make("tr", {}, make("th", { scope: "col", text: "method" }), ...columns.map(([text]) => make("th", { scope: "col", class: "number", text })))),
        make("tbody", {}, ...lines.map((l) => make("tr", {}, make("th", { scope: "row", text: named(l.method) }), ...columns.map(([, text]) => make("td", { class: "number", text: text(l) }))))))));
  }
}
function ringCurves() {
  const problem = D.problems[state.problem], lines = problem ? D.frc.filter((c) => c.problem === problem.place) : [];
  $("frc-figure").hidden = !lines.length;
  if (!lines.length) return;
  const micron = finite(problem.pixel_um);
  $("frc-text").textContent = `${problem.dataset} / ${problem.section}: mean over ${lines[0].ions} of the ion images of this page, of the detail that the coarse image does not fix. The dashed line is 1/7; where a curve falls below it beyond the coarse grid's limit, the added detail no longer agrees with that of the truth. Reckoned from the stored predictions.`;
  const sorted = lines.slice().sort((a, b) => ranked(problem.protocol)(a.method, b.method));
  const few = sorted.filter((c, i) => i < 8 || c.method === state.method || c.method === D.scheme.control);
  const curves = few.map((c) => ({ name: named(c.method), x: c.frequency, y: c.correlation }));
  if (few[0].floor) curves.push({ name: "white noise stays below this in 19 of 20 rings of an ion image", x: few[0].frequency, y: few[0].floor, floor: true });
  drawInto($("frc"), () => lineChart(curves, {
    xText: micron ? "spatial frequency (periods per µm)" : "spatial frequency (periods per pixel)", yText: "correlation with the truth", levels: [1 / 7], title: "Fourier ring correlation with the truth" }));
}
const MOST_CURVES = 8; // of which a legend can still be told apart
function lossCurves() {
  $("loss-figure").hidden = !D.losses.length;
  if (!D.losses.length) return;
  const mine = D.losses.filter((c) => c.method === $("loss-method").value), first = mine.slice(0, MOST_CURVES);
  $("loss-text").textContent = `As the method reported them${mine.length > first.length ? `; the first ${first.length} of ${mine.length}, all are in page.json` : ""}. Losses of different methods are on different scales.`;
  drawInto($("losses"), () => lineChart(first.map((c) => ({ name: `${c.cell.split(" · ").slice(1).join(" · ")} ${c.curve}`.trim(), x: c.x, y: c.y })), { xText: "iteration or epoch", yText: "loss", title: `Loss curves of ${$("loss-method").value}` }));
}
function save(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = make("a", { href: url, download: name });
  document.body.append(link); link.click(); link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
/** One line of the table of cells; a large board's come from a file beside the page. */
function cellRow(cell) {
  const text = (key, length) => String(cell[key] ?? "").slice(0, length);
  const small = (...words) => make("small", { text: words.join("") });
  const digest = (name, key) => [make("code", { text: `${name} ${text(key, 16)}` }), make("br", {})];
  return make("tr", {},
    make("th", { scope: "row", text: text("method") }, ...(cell.control ? [small(cell.control)] : [])),
    make("td", { text: `${text("dataset")}/${text("section")}` }, small(text("protocol"), " · ", text("mz_set"))),
    make("td", { text: text("seed") }),
    make("td", { text: text("status") }, small(text("reason")), small(text("origin"))),
    make("td", { text: `${text("device")} · ${text("precision")}` }, small(text("processor"), ", ", text("threads"), " threads, ", text("system"))),
    make("td", { text: `Python ${text("python")}` }, small(text("versions"))),
    make("td", {}, ...digest("cell", "cell"), ...digest("truth", "truth"), ...digest("prediction", "prediction"), ...digest("rows", "rows")));
}
function startCheck() {
  trustTables(); reachTables(); ringCurves();
  fill($("loss-method"), [...new Set(D.losses.map((c) => c.method))].map((m) => [m, named(m)]));
  $("loss-method").addEventListener("change", lossCurves);
  lossCurves();
  listeners.push(ringCurves);
  let waiting = 0;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => { drawCharts(); ringCurves(); lossCurves(); }, 150); });
  $("section").addEventListener("change", ringCurves);
  const files = {
    csv: () => save("leaderboard.csv", D.csv, "text/csv"),
    rows: () => save("rows.csv", D.rows, "text/csv"),
    json: () => { const { csv, rows, ...facts } = D; save("page.json", `${JSON.stringify(facts, null, 1)}\n`, "application/json"); },
    bib: () => save("citations.bib", `${D.citations.map((c) => c.bibtex).join("\n\n")}\n`, "text/plain"),
  };
  for (const button of document.querySelectorAll("[data-download]")) button.addEventListener("click", files[button.dataset.download]);
  const filterCells = () => {
    const wanted = $("cell-filter").value.trim().toLowerCase();
    for (const row of $("cells").tBodies[0].rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  };
  $("cell-filter").addEventListener("input", filterCells);
  const details = $("cells").closest("details");
  if (D.beside) details.addEventListener("toggle", async () => {
    if (!details.open || $("cells").tBodies[0].rows.length) return;
    const cells = await part("cells");
    $("cells").tBodies[0].replaceChildren(...(cells || [{ reason: "These lines could not be loaded: is the folder “data” beside the page?" }]).map(cellRow));
    filterCells();
    document.body.dataset.cells = "loaded";
  });
}
startLook();
startRead();
startWeights();
startCheck();
markScrolling();
changed();
