// The images: one common scale per ion, coloured here, zoomed and moved together.
const view = { zoom: 1, x: 0.5, y: 0.5 };
const decoded = new Map();
const pending = new Map();
let drawn = 0;
state.channel = -1;

window.msibenchImages = (name, images) => {
  PICTURES[name] = images;
  const waiting = pending.get(name);
  if (waiting) waiting();
};
/** The images of one ion; a split page loads them from the file beside it. */
function pictures(name) {
  if (PICTURES[name]) return Promise.resolve(PICTURES[name]);
  if (!D.split) return Promise.resolve(null);
  return new Promise((resolve) => {
    pending.set(name, () => resolve(PICTURES[name]));
    const script = make("script", { src: `images/${name}.js` });
    script.addEventListener("error", () => resolve(null));
    document.head.append(script);
  });
}
/** Decode a PNG into grey levels (or colours, for a guide). */
function decode(url) {
  if (!url) return Promise.resolve(null);
  if (!decoded.has(url)) {
    if (decoded.size > 400) decoded.clear();
    decoded.set(url, new Promise((resolve) => {
      const image = new Image();
      image.onload = () => {
        const canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight });
        const context = canvas.getContext("2d", { willReadFrequently: true });
        context.drawImage(image, 0, 0);
        const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
        const levels = new Uint8Array(canvas.width * canvas.height);
        const absent = new Uint8Array(levels.length); // 1 where nothing was measured
        for (let i = 0; i < levels.length; i++) { levels[i] = pixels[4 * i]; absent[i] = pixels[4 * i + 3] ? 0 : 1; }
        resolve({ width: canvas.width, height: canvas.height, levels, absent, canvas });
      };
      image.onerror = () => resolve(null);
      image.src = url;
    }));
  }
  return decoded.get(url);
}
/** Paint levels with a table of colours onto a canvas of the image's own size. */
function painted(picture, table) {
  const canvas = make("canvas", { width: picture.width, height: picture.height });
  const context = canvas.getContext("2d"), target = context.createImageData(picture.width, picture.height);
  picture.levels.forEach((level, i) => {
    for (let k = 0; k < 3; k++) target.data[4 * i + k] = table[3 * level + k];
    target.data[4 * i + 3] = picture.absent[i] ? 0 : 255;
  });
  context.putImageData(target, 0, 0);
  return canvas;
}
/** Prediction minus truth, centred on 127.5 of 255; the scale's full width to either side. */
function difference(picture, truth) {
  if (picture.width !== truth.width || picture.height !== truth.height) return null;
  const levels = picture.levels.map((level, i) => Math.max(0, Math.min(255, Math.round(127.5 + GAIN * (level - truth.levels[i]) / 2))));
  const absent = picture.absent.map((gone, i) => gone | truth.absent[i]);
  return { width: picture.width, height: picture.height, levels, absent };
}
const GAIN = 2;

function tidyView() {
  view.zoom = Math.max(1, Math.min(16, view.zoom));
  const half = 0.5 / view.zoom;
  view.x = Math.max(half, Math.min(1 - half, view.x));
  view.y = Math.max(half, Math.min(1 - half, view.y));
  $("zoom-state").textContent = `${Number(view.zoom.toFixed(1))}×`;
}
function blit(context, source, width, height) {
  const w = source.width / view.zoom, h = source.height / view.zoom;
  context.drawImage(source, view.x * source.width - w / 2, view.y * source.height - h / 2, w, h, 0, 0, width, height);
}
function niceLength(um) {
  const power = 10 ** Math.floor(Math.log10(um));
  return [5, 2, 1].map((k) => k * power).find((k) => k <= um) || power;
}
function scaleBar(context, width, height, problem) {
  const pixel = problem.pixel_um || (problem.low_pixel_um ? problem.low_pixel_um / (problem.truth ? 1 : problem.factor) : null);
  if (!pixel) return;
  const perPixel = width / (problem.shape[1] / view.zoom) / pixel;
  const um = niceLength((0.3 * width) / perPixel), length = um * perPixel;
  const size = Math.max(10, Math.min(24, Math.round(width / 24))), y = height - size / 2;
  context.font = `600 ${size}px system-ui, sans-serif`;
  const x = width - size / 2 - Math.max(length, (length + context.measureText(`${um} µm`).width) / 2 + size / 4);
  context.textAlign = "center"; context.lineJoin = "round";
  context.lineWidth = size / 4; context.strokeStyle = "#000"; context.fillStyle = "#fff";
  context.strokeRect(x, y - size / 4, length, size / 4);
  context.fillRect(x, y - size / 4, length, size / 4);
  context.strokeText(`${um} µm`, x + length / 2, y - 0.75 * size);
  context.fillText(`${um} µm`, x + length / 2, y - 0.75 * size);
}
/** Let a canvas zoom (Ctrl and wheel, + and −), move (drag, arrows) and reset (double click, 0). */
function movable(canvas, { pointer = true } = {}) {
  const move = (dx, dy) => { view.x += dx / view.zoom; view.y += dy / view.zoom; redraw(); };
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    view.zoom *= event.deltaY < 0 ? 1.25 : 0.8; redraw();
  }, { passive: false });
  canvas.addEventListener("dblclick", () => { view.zoom = 1; redraw(); });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
    if (step && view.zoom > 1 && pointer) move(...step);
    else if (event.key === "+" || event.key === "=") { view.zoom *= 1.25; redraw(); }
    else if (event.key === "-") { view.zoom *= 0.8; redraw(); }
    else if (event.key === "0") { view.zoom = 1; redraw(); }
    else return;
    event.preventDefault();
  });
  if (!pointer) return;
  let last = null;
  canvas.addEventListener("pointerdown", (event) => { last = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", () => { last = null; });
  canvas.addEventListener("pointercancel", () => { last = null; });
  canvas.addEventListener("pointermove", (event) => {
    if (!last || view.zoom === 1) return;
    const box = canvas.getBoundingClientRect();
    move((last[0] - event.clientX) / box.width, (last[1] - event.clientY) / box.height);
    last = [event.clientX, event.clientY];
  });
}

/** Levels of a detail map: nothing, improved, omitted, invented. */
const DETAIL = new Uint8Array(768).fill(255);
[[80, [0, 114, 178]], [160, [176, 180, 186]], [240, [213, 94, 0]]].forEach(([level, colour]) => DETAIL.set(colour, 3 * level));
let sources = [];
/** Everything that can be looked at for the chosen ion: name, shown name, painted images. */
async function gather(problem, channel) {
  const images = await pictures(`${problem.place}-${channel}`);
  if (!images) return null;
  const table = colours(state.colours);
  const truth = await decode(images.truth), low = await decode(images.low);
  const found = [{ kind: "low", name: "low", label: finite(problem.low_pixel_um) ? `low (${show(problem.low_pixel_um)} µm)` : "low", image: low && painted(low, table) }];
  if (truth) found.push({ kind: "truth", name: "truth", label: "truth", image: painted(truth, table) });
  for (const method of problem.methods.slice().sort(ranked(problem.protocol))) {
    const picture = await decode(images.methods[method]);
    if (!picture) continue;
    const off = truth && difference(picture, truth);
    const map = await decode((images.maps || {})[method]);
    found.push({ kind: "method", map: map && painted(map, DETAIL), picture, sure: await decode((images.sure || {})[method]), whose: (images.whose || {})[method], name: `method ${method}`, method, label: named(method), image: painted(picture, table), difference: off && painted(off, colours("difference")) });
  }
  const guide = await decode(problem.guide);
  if (guide) found.push({ kind: "guide", name: "guide", label: `guide${problem.guide_kind ? ` (${problem.guide_kind})` : ""}`, image: guide.canvas });
  return found.filter((source) => source.image);
}
async function update() {
  const problem = D.problems[state.problem], turn = ++drawn;
  if (!problem || !problem.shown.length) { $("look-controls").hidden = true; $("image-facts").textContent = "There is no image to show."; document.body.dataset.ready = "no images"; return; }
  const found = await gather(problem, state.channel), name = partName(problem);
  if (name) await part(name);
  if (turn !== drawn) return;
  if (!found) { $("image-facts").textContent = "The images of this ion could not be loaded: is the folder “images” beside the page?"; return; }
  sources = found;
  describe(problem);
  layOut(problem);
  fillSlider();
  redraw();
  document.body.dataset.ready = `${state.problem}-${state.channel}`;
}
function describe(problem) {
  const ion = problem.channels[state.channel];
  const clip = ion.clipped > 0
    ? `Colours run from 0 to ${show(ion.intensity)} (the 99.9 % quantile of the ${problem.truth ? "truth" : "low image"}); ${show(100 * ion.clipped, 2)} % of its pixels are brighter and clipped`
    : `Colours run from 0 to ${show(ion.intensity)}, the brightest of the ${problem.truth ? "truth" : "low image"}; brighter predictions are clipped`;
  const pixel = problem.pixel_um ? `pixels of ${show(problem.pixel_um)} µm from ${show(problem.low_pixel_um)} µm` : "pixel size not on record";
  $("image-facts").textContent = `${problem.dataset} / ${problem.section} · ${ion.label} · ${pixel} · ${problem.protocol}. ${clip}. ${problem.notes.join(". ")}${problem.notes.length ? "." : ""}${problem.seeds.length > 1 ? ` Images are of seed ${problem.seeds[0]}.` : ""}`;
  const bar = (id, table) => {
    const context = $(id).getContext("2d"), target = context.createImageData(256, 10);
    for (let i = 0; i < 2560; i++) { for (let k = 0; k < 3; k++) target.data[4 * i + k] = table[3 * (i % 256) + k]; target.data[4 * i + 3] = 255; }
    context.putImageData(target, 0, 0);
  };
  bar("bar", colours(state.colours)); bar("difference-bar", colours("difference"));
  $("bar-text").textContent = `Intensity (${problem.unit || "arbitrary unit"}): 0 (left), ${show(ion.intensity / 2)} (middle), ${show(ion.intensity)} and above (right)`;
  const side = ion.intensity / GAIN;
  $("difference-text").textContent = `Prediction − truth (${problem.unit || "arbitrary unit"}): −${show(side)} or less (orange, too little), 0 (pale), ${show(side)} or more (purple, too much). Below it, detail that the coarse image does not fix, where it stands out of the noise: improved (blue), omitted (grey), invented (orange); repeating each pixel is all omission`;
  $("absent-bar").hidden = !problem.absent;
  for (const bar of [$("difference-bar").parentElement]) bar.hidden = !problem.truth || !state.differences;
}
function layOut(problem) {
  const measure = (protocolOf(problem) || { measures: [] }).measures[state.measure];
  $("references").replaceChildren(); $("tiles").replaceChildren();
  for (const source of sources) {
    if (source.kind === "method" && !state.shown.has(source.method)) continue;
    const value = source.kind === "method" ? valueOf(problem, state.channel, source.method) : null;
    const note = source.kind === "method" && measure ? `${measure.metric} ${show(value)}${unitOf(measure.metric)}` : "";
    const label = `${source.label}${note ? `, ${note}` : ""}, ${problem.channels[state.channel].label}`;
    const tile = make("figure", { class: `tile${source.method === state.method ? " chosen" : ""}${source.kind === "guide" ? " plain" : ""}`, "data-name": source.name },
      make("figcaption", {}, make("b", { text: source.label }), make("span", { text: note })));
    const add = (image, text) => {
      const canvas = make("canvas", { tabindex: 0, role: "img", "aria-label": text, width: 420, height: Math.max(1, Math.round((420 * problem.shape[0]) / problem.shape[1])) });
      canvas.source = image; movable(canvas); tile.append(canvas);
    };
    add(source.image, label);
    if (state.differences && source.difference) add(source.difference, `Difference of ${source.label} to the truth`);
    if (state.differences && source.map) add(source.map, `Detail that ${source.label} improved (blue), omitted (grey) and invented (orange)`);
    $(source.kind === "method" ? "tiles" : "references").append(tile);
  }
}
function redraw() {
  tidyView();
  const problem = D.problems[state.problem];
  for (const canvas of $("gallery").querySelectorAll("canvas")) {
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.clearRect(0, 0, canvas.width, canvas.height);
    blit(context, canvas.source, canvas.width, canvas.height);
    scaleBar(context, canvas.width, canvas.height, problem);
  }
  drawSlider();
  drawVeil();
}

function chooseProblem(place) {
  state.problem = place;
  const problem = D.problems[place];
  if (!problem) return update();
  const protocol = protocolOf(problem);
  if (!problem.shown.includes(state.channel)) state.channel = problem.first;
  fill($("mz"), problem.shown.map((c) => [c, problem.channels[c].label]), state.channel);
  const methods = problem.methods.slice().sort(ranked(problem.protocol));
  if (!methods.includes(state.method)) state.method = methods[0] || "";
  fill($("method"), methods.map((m) => [m, named(m)]), state.method);
  fill($("metric"), (protocol ? protocol.measures : []).map((m, i) => [i, measureName(m)]), state.measure);
  state.measure = Number($("metric").value) || 0;
  if (!methods.some((m) => state.shown.has(m))) topMethods(methods);
  $("shown").replaceChildren(make("legend", { class: "visually-hidden", text: "Methods shown" }), ...methods.map((m) => {
    const box = make("input", { type: "checkbox", value: m });
    box.checked = state.shown.has(m);
    box.addEventListener("change", () => { if (box.checked) state.shown.add(m); else state.shown.delete(m); countShown(); layOut(problem); redraw(); });
    return make("label", {}, box, ` ${named(m)}`);
  }));
  countShown();
  return update();
}
function topMethods(methods) {
  state.shown = new Set(methods.slice(0, 6));
  if (methods.includes(D.scheme.control)) state.shown.add(D.scheme.control);
}
const countShown = () => {
  const methods = D.problems[state.problem].methods;
  $("shown-count").textContent = `${methods.filter((m) => state.shown.has(m)).length} of ${methods.length}`;
};
/** Go to the image, among those of this page, on which the method does worst or best. */
function jump(sign) {
  let found = null;
  const here = protocolOf(D.problems[state.problem]);
  if (!here) return;
  const direction = here.measures[state.measure].direction;
  for (const problem of D.problems) {
    if (problem.protocol !== here.name) continue;
    for (const channel of problem.shown) {
      const good = goodness(valueOf(problem, channel, state.method), direction);
      if (good !== null && (found === null || sign * good > sign * found.good)) found = { good, place: problem.place, channel };
    }
  }
  if (!found) return;
  state.channel = found.channel;
  state.shown.add(state.method);
  $("section").value = String(found.place);
  chooseProblem(found.place);
}
function step(by) {
  const shown = D.problems[state.problem].shown;
  state.channel = shown[(shown.indexOf(state.channel) + by + shown.length) % shown.length];
  $("mz").value = String(state.channel);
  update();
}
