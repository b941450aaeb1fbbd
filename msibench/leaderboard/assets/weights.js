// Other weights, another order: composites of the stored per-image scores, and how firm the order is.
const RANDOM_WEIGHTINGS = 1000;
const CONCENTRATION = 30;
let weights = {};

/** A gamma variate of unit scale (Marsaglia and Tsang 2000), for Dirichlet weights. */
function gamma(shape, random) {
  if (shape < 1) return gamma(shape + 1, random) * (1 - random()) ** (1 / shape);
  const d = shape - 1 / 3, c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - random()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
  }
}

/** Mean over images of the weighted mean of the scores that a method has. */
function weighted(protocol, metrics, given) {
  return protocol.methods.map((_, row) => {
    const has = metrics.filter((m) => protocol.scores[m][row].some(finite) && given[m] > 0);
    const total = has.reduce((sum, m) => sum + given[m], 0);
    if (!(total > 0)) return null;
    const scores = protocol.images.map((_, i) => {
      let sum = 0;
      for (const m of has) { const s = protocol.scores[m][row][i]; if (!finite(s)) return null; sum += (s * given[m]) / total; }
      return sum;
    }).filter(finite);
    return scores.length ? mean(scores) : null;
  });
}
function order(scores) {
  const places = scores.map((s, i) => [s, i]).filter(([s]) => finite(s)).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
  const rank = scores.map(() => null);
  places.forEach(([score], at) => { rank[places[at][1]] = at > 0 && places[at - 1][0] === score ? rank[places[at - 1][1]] : at + 1; });
  return rank;
}
/** Share of random weightings around the chosen ones, Dirichlet(30 × weights) as in the leaderboard,
 * under which each method keeps its rank. Means suffice: they are linear. */
function stability(protocol, metrics, given, now) {
  const sum = metrics.reduce((total, m) => total + given[m], 0);
  const means = protocol.methods.map((_, row) => metrics.map((m) => mean(protocol.scores[m][row].filter(finite))));
  const kept = now.map(() => 0), random = generator(1);
  if (!(sum > 0)) return now.map(() => null);
  for (let draw = 0; draw < RANDOM_WEIGHTINGS; draw++) {
    const w = metrics.map((m) => (given[m] > 0 ? gamma((CONCENTRATION * given[m]) / sum, random) : 0));
    const scores = means.map((row, i) => {
      if (now[i] === null) return null;
      let value = 0, total = 0;
      row.forEach((v, k) => { if (finite(v)) { value += w[k] * v; total += w[k]; } });
      return total > 0 ? value / total : null;
    });
    order(scores).forEach((r, i) => { if (r !== null && r === now[i]) kept[i]++; });
  }
  return kept.map((k, i) => (now[i] === null ? null : k / RANDOM_WEIGHTINGS));
}
function fillWeights() {
  const protocol = chosenProtocol(), metrics = Object.keys(protocol.weights);
  const holder = $("weights");
  holder.replaceChildren();
  $("weights-note").hidden = metrics.length > 0;
  $("weights-note").textContent = metrics.length ? "" : `There are no scores to weigh${protocol.note ? `: ${protocol.note}` : "."}`;
  $("weights-reset").hidden = !metrics.length;
  weights = { ...protocol.weights };
  for (const metric of metrics) {
    const text = make("output", { text: "" }), id = `weight-${metrics.indexOf(metric)}`;
    const slider = make("input", { type: "range", min: 0, max: 1, step: 0.01, id, "data-metric": metric });
    slider.value = weights[metric];
    slider.addEventListener("input", () => { weights[metric] = Number(slider.value); reweigh(); });
    holder.append(make("label", { for: id }, make("span", { text: metric, title: METRIC(metric).title }), slider, text));
  }
  reweigh();
}
function reweigh() {
  const protocol = chosenProtocol(), metrics = Object.keys(protocol.weights);
  const table = $("weighted");
  if (!metrics.length) { table.replaceChildren(); return; }
  const total = metrics.reduce((sum, m) => sum + weights[m], 0);
  for (const slider of $("weights").querySelectorAll("input")) {
    const share = total > 0 ? weights[slider.dataset.metric] / total : 0;
    slider.parentElement.querySelector("output").textContent = `${Math.round(100 * share)} %`;
    slider.setAttribute("aria-valuetext", `${Math.round(100 * share)} percent`);
  }
  const before = order(weighted(protocol, metrics, protocol.weights));
  const scores = weighted(protocol, metrics, weights), rank = order(scores), kept = stability(protocol, metrics, weights, rank);
  const rows = protocol.methods.map((name, i) => ({ name, score: scores[i], rank: rank[i], was: before[i], kept: kept[i] }))
    .sort((a, b) => (a.rank ?? 1e9) - (b.rank ?? 1e9) || (a.name < b.name ? -1 : 1));
  const moved = (r) => (r.was === null || r.rank === null || r.was === r.rank ? "" : r.was > r.rank ? `↑ ${r.was - r.rank}` : `↓ ${r.rank - r.was}`);
  table.replaceChildren(
    make("caption", { text: total > 0 ? "Order under your weights (exploratory)" : "All weights are 0: give one metric some weight" }),
    make("thead", {}, make("tr", {}, ...["place", "moved", "method", `score${SCORE_UNIT && " (%)"}`, "kept"].map((h) => make("th", { scope: "col", text: h, class: h === "method" ? "" : "number" })))),
    make("tbody", {}, ...rows.map((r) => make("tr", { "data-method": r.name },
      make("td", { class: "number", text: r.rank ?? "–" }), make("td", { class: "number", text: moved(r) }), make("th", { scope: "row", text: named(r.name) }),
      make("td", { class: "number", text: show(inPercent(r.score), 3) }), make("td", { class: "number", text: r.kept === null ? "–" : `${Math.round(100 * r.kept)} %` })))));
}
function startWeights() {
  $("weights-reset").addEventListener("click", fillWeights);
}
