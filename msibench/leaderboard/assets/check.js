// What speaks for trust, and what a reader takes away: tables, curves, downloads.
function trustTables() {
  const holder = $("trust-tables"), groups = new Map();
  for (const line of D.trust.lines) {
    const key = `${line.protocol}\u0000${line.metric}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(line);
  }
  if (!groups.size) { holder.append(make("p", { class: "notice", text: "No measure of trust is among the stored rows." })); return; }
  for (const lines of groups.values()) {
    const { protocol, metric } = lines[0];
    if (D.trust.levels.includes(metric)) { // the truth's own: the same for every method
      const level = lines.find((l) => finite(l.mean));
      holder.append(make("h3", { text: `${metric}${unitOf(metric)}` }), make("p", { text: `${level ? show(level.mean, 4) : "undefined"} (${protocol}). ${D.trust.questions[metric]}` }));
      continue;
    }
    const controls = [...new Set(lines.map((l) => l.control).filter(Boolean))].sort();
    const methods = [...new Set(lines.map((l) => l.method))].sort(ranked(protocol));
    const cell = (method, control) => {
      const line = lines.find((l) => l.method === method && l.control === control);
      return make("td", { class: "number", text: line ? `${show(line.mean, 3)}${finite(line.sem) ? ` ± ${show(line.sem, 2)}` : ""}${line.undefined ? ` (${line.undefined} undefined)` : ""}` : "–" });
    };
    const head = make("tr", {}, make("th", { scope: "col", text: "method" }), make("th", { scope: "col", class: "number", text: controls.length ? "true guide" : metric }), ...controls.map((c) => make("th", { scope: "col", class: "number", text: c })));
    const table = make("table", {}, make("caption", { text: `${protocol}; ${BETTER[METRIC(metric).direction] || ""}; mean ± s.e.m.` }), make("thead", {}, head),
      make("tbody", {}, ...methods.map((m) => make("tr", {}, make("th", { scope: "row", text: m }), cell(m, ""), ...controls.map((c) => cell(m, c))))));
    holder.append(make("h3", { text: `${metric}${unitOf(metric)}` }), make("p", { class: "quiet", text: D.trust.questions[metric] + (controls.length ? " With a wrong guide a method must not get better, and its leakage shows how far it follows any picture." : "") }),
      make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": metric }, table));
  }
}
/** How much there was to gain: the truth is noisy, and no method can reach more than the ceiling. */
function reachTables() {
  for (const name of new Set(D.trust.reach.map((l) => l.protocol))) {
    const lines = D.trust.reach.filter((l) => l.protocol === name), first = lines[0];
    const near = finite(first.neighbour) ? ` A predictor that sees the eight true neighbours of every pixel, but not the pixel, gets ${show(first.neighbour)} dB.` : "";
    const columns = [["PSNR (dB)", (l) => show(l.score)], ["gain over control (dB)", (l) => show(l.gain, 3)], ["share of the reachable gain", (l) => (finite(l.share) ? `${Math.round(100 * l.share)} %` : "–")]];
    $("trust-tables").append(make("h3", { text: "How much is there to gain?" }),
      make("p", { class: "quiet", text: `${name}: ${D.scheme.control} has ${show(first.control)} dB; the noise-free signal would get ${show(first.ceiling)} dB against this noisy truth.${near}` }),
      make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Reachable gain" }, make("table", {},
        make("caption", { text: "Gain, and its share of what noise leaves to gain" }),
        make("thead", {}, make("tr", {}, make("th", { scope: "col", text: "method" }), ...columns.map(([text]) => make("th", { scope: "col", class: "number", text })))),
        make("tbody", {}, ...lines.map((l) => make("tr", {}, make("th", { scope: "row", text: l.method }), ...columns.map(([, text]) => make("td", { class: "number", text: text(l) }))))))));
  }
}
function ringCurves() {
  const problem = D.problems[state.problem], lines = problem ? D.frc.filter((c) => c.problem === problem.place) : [];
  $("frc-figure").hidden = !lines.length;
  if (!lines.length) return;
  const micron = finite(problem.pixel_um);
  $("frc-text").textContent = `${problem.dataset} / ${problem.section}: mean over ${lines[0].ions} of the ion images of this page. The dashed line is 1/7; where a curve falls below it, the prediction no longer agrees with the truth. Reckoned from the stored predictions.`;
  const sorted = lines.slice().sort((a, b) => ranked(problem.protocol)(a.method, b.method));
  const few = sorted.filter((c, i) => i < 8 || c.method === state.method || c.method === D.scheme.control);
  $("frc").replaceChildren(lineChart(few.map((c) => ({ name: c.method, x: c.frequency, y: c.correlation })), {
    xText: micron ? "spatial frequency (periods per µm)" : "spatial frequency (periods per pixel)", yText: "correlation with the truth", levels: [1 / 7], title: "Fourier ring correlation with the truth" }));
  $("frc-table").replaceChildren(make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Effective resolution" }, make("table", {},
    make("caption", { text: "Effective resolution: median over ion images" }),
    make("thead", {}, make("tr", {}, make("th", { scope: "col", text: "method" }), make("th", { scope: "col", class: "number", text: "µm" }))),
    make("tbody", {}, ...sorted.map((c) => make("tr", {}, make("th", { scope: "row", text: c.method }), make("td", { class: "number", text: show(c.resolution_um, 3) })))))));
}
function lossCurves() {
  $("loss-figure").hidden = !D.losses.length;
  if (!D.losses.length) return;
  const first = D.losses.slice(0, 24);
  $("loss-text").textContent = `As the methods reported them${D.losses.length > first.length ? `; the first ${first.length} of ${D.losses.length}, all are in page.json` : ""}. Losses of different methods are on different scales.`;
  $("losses").replaceChildren(lineChart(first.map((c) => ({ name: `${c.cell}: ${c.curve}`, x: c.x, y: c.y })), { xText: "iteration or epoch", yText: "loss", title: "Loss curves" }));
}
function save(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = make("a", { href: url, download: name });
  document.body.append(link); link.click(); link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
function startCheck() {
  trustTables(); reachTables(); ringCurves(); lossCurves();
  listeners.push(ringCurves);
  $("section").addEventListener("change", ringCurves);
  const files = {
    csv: () => save("leaderboard.csv", D.csv, "text/csv"),
    rows: () => save("rows.csv", D.rows, "text/csv"),
    json: () => { const { csv, rows, ...facts } = D; save("page.json", `${JSON.stringify(facts, null, 1)}\n`, "application/json"); },
    bib: () => save("citations.bib", `${D.citations.map((c) => c.bibtex).join("\n\n")}\n`, "text/plain"),
  };
  for (const button of document.querySelectorAll("[data-download]")) button.addEventListener("click", files[button.dataset.download]);
  $("cell-filter").addEventListener("input", () => {
    const wanted = $("cell-filter").value.trim().toLowerCase();
    for (const row of $("cells").tBodies[0].rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
startLook();
startRead();
startWeights();
startCheck();
changed();
