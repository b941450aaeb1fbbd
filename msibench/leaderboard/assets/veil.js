// How sure a prediction is, where that is known: detail that an interval does not support is grey and hatched.
/** The prediction without the colour of its veiled pixels, and where these are. */
function veiled(picture, sure, level) {
  const image = painted(picture, colours(state.colours)), context = image.getContext("2d");
  const pixels = context.getImageData(0, 0, image.width, image.height);
  const mask = make("canvas", { width: image.width, height: image.height }), over = mask.getContext("2d");
  const where = over.createImageData(image.width, image.height);
  let count = 0;
  sure.levels.forEach((reached, i) => {
    if (reached >= (254 * level) / 100 || picture.absent[i]) return;
    const [red, green, blue] = [0, 1, 2].map((k) => pixels.data[4 * i + k]);
    const grey = 64 + 0.6 * (0.2126 * red + 0.7152 * green + 0.0722 * blue);
    for (let k = 0; k < 3; k++) pixels.data[4 * i + k] = grey;
    where.data[4 * i + 3] = 255;
    count += 1;
  });
  context.putImageData(pixels, 0, 0);
  over.putImageData(where, 0, 0);
  return { image, mask, share: count / sure.levels.length };
}
function hatching(width, height) {
  const tile = make("canvas", { width: 12, height: 12 }), pen = tile.getContext("2d");
  pen.strokeStyle = "#fff"; pen.lineWidth = 1.5;
  for (const x of [-6, 6, 18]) { pen.beginPath(); pen.moveTo(x - 6, 18); pen.lineTo(x + 12, 0); pen.stroke(); }
  const canvas = make("canvas", { width, height }), context = canvas.getContext("2d");
  context.fillStyle = context.createPattern(tile, "repeat");
  context.fillRect(0, 0, width, height);
  return canvas;
}
function drawVeil() {
  const source = sources.find((s) => s.kind === "method" && s.method === state.method);
  const told = source && source.sure && source.sure.width === source.picture.width && source.sure.height === source.picture.height;
  $("veil-block").hidden = !told;
  if (!told) return;
  const problem = D.problems[state.problem], canvas = $("veil"), level = Number($("level").value);
  const width = 1000, height = Math.max(1, Math.round((width * problem.shape[0]) / problem.shape[1]));
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const { image, mask, share } = veiled(source.picture, source.sure, level);
  const context = canvas.getContext("2d"), lines = hatching(width, height), cut = lines.getContext("2d");
  context.imageSmoothingEnabled = cut.imageSmoothingEnabled = false;
  context.clearRect(0, 0, width, height);
  blit(context, image, width, height);
  cut.globalCompositeOperation = "destination-in";
  blit(cut, mask, width, height);
  context.drawImage(lines, 0, 0);
  scaleBar(context, width, height, problem);
  const whose = source.whose ? "the harness's interval" : "its own interval", rests = source.whose ? `. The interval is calibrated ${source.whose}` : "";
  const text = `${source.label}, ${problem.channels[state.channel].label}: grey and hatched where it shows detail that ${whose} of ${level} % does not support, ${show(100 * share, 2)} % of the pixels${rests}`;
  $("level-state").textContent = `${level} %`;
  canvas.setAttribute("aria-label", text);
  $("veil-text").textContent = text;
}
function startVeil() {
  $("level").addEventListener("input", drawVeil);
  movable($("veil"));
}
