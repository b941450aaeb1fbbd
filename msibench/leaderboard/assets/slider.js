// Before and after: two images on top of each other with a divider between them.
function fillSlider() {
  const entries = sources.filter((s) => s.kind !== "guide").map((s) => [s.name, s.label]);
  const names = entries.map(([name]) => name);
  const keep = (id, fallback) => names.includes($(id).value) ? $(id).value : (names.includes(fallback) ? fallback : names[0]);
  const left = keep("left", "low"), right = keep("right", `method ${state.method}`);
  fill($("left"), entries, left);
  fill($("right"), entries, right);
}
function drawSlider() {
  const canvas = $("slider"), problem = D.problems[state.problem];
  const left = sources.find((s) => s.name === $("left").value), right = sources.find((s) => s.name === $("right").value);
  if (!left || !right) return;
  const width = 1000, height = Math.max(1, Math.round((width * problem.shape[0]) / problem.shape[1]));
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const at = Number($("divider").value) / 100, context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, width, height);
  blit(context, right.image, width, height);
  context.save();
  context.beginPath(); context.rect(0, 0, at * width, height); context.clip();
  context.clearRect(0, 0, width, height);
  blit(context, left.image, width, height);
  context.restore();
  context.fillStyle = "#000"; context.fillRect(at * width - 3, 0, 6, height);
  context.fillStyle = "#fff"; context.fillRect(at * width - 1.5, 0, 3, height);
  scaleBar(context, width, height, problem);
  const text = `${left.label} (left) against ${right.label} (right), ${problem.channels[state.channel].label}`;
  canvas.setAttribute("aria-label", text);
  $("slider-text").textContent = text;
}
function divide(to) {
  $("divider").value = String(Math.max(0, Math.min(100, to)));
  drawSlider();
}
function startSlider() {
  const canvas = $("slider");
  for (const id of ["left", "right"]) $(id).addEventListener("change", drawSlider);
  $("divider").addEventListener("input", drawSlider);
  const follow = (event) => { const box = canvas.getBoundingClientRect(); divide((100 * (event.clientX - box.left)) / box.width); };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); follow(event); });
  canvas.addEventListener("pointermove", (event) => { if (event.buttons) follow(event); });
  canvas.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -5, ArrowRight: 5, Home: -100, End: 100 }[event.key];
    if (by) { event.preventDefault(); divide(Number($("divider").value) + by); }
  });
  movable(canvas, { pointer: false });
}
function startLook() {
  fill($("section"), D.problems.map((p) => [p.place, `${p.dataset} / ${p.section} · ${p.protocol}`]), 0);
  $("section").addEventListener("change", () => chooseProblem(Number($("section").value)));
  $("mz").addEventListener("change", () => { state.channel = Number($("mz").value); update(); });
  $("mz-back").addEventListener("click", () => step(-1));
  $("mz-next").addEventListener("click", () => step(1));
  $("metric").addEventListener("change", () => { state.measure = Number($("metric").value); const p = D.problems[state.problem]; layOut(p); redraw(); });
  $("method").addEventListener("change", () => {
    state.method = $("method").value; state.shown.add(state.method);
    $("right").value = `method ${state.method}`;
    chooseProblem(state.problem); changed();
  });
  $("worst").addEventListener("click", () => jump(-1));
  $("best").addEventListener("click", () => jump(1));
  $("colours").addEventListener("change", () => { state.colours = $("colours").value; update(); });
  $("differences").addEventListener("change", () => { state.differences = $("differences").checked; update(); });
  $("zoom-in").addEventListener("click", () => { view.zoom *= 1.5; redraw(); });
  $("zoom-out").addEventListener("click", () => { view.zoom /= 1.5; redraw(); });
  $("zoom-reset").addEventListener("click", () => { view.zoom = 1; redraw(); });
  $("methods-all").addEventListener("click", () => { D.problems[state.problem].methods.forEach((m) => state.shown.add(m)); chooseProblem(state.problem); });
  $("methods-top").addEventListener("click", () => { topMethods(D.problems[state.problem].methods.slice().sort(ranked(D.problems[state.problem].protocol))); chooseProblem(state.problem); });
  startSlider();
  startVeil();
  const first = D.problems.findIndex((p) => p.shown.length);
  if (first >= 0) { $("section").value = String(first); chooseProblem(first); } else update();
}
