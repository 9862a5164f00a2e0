// The viewer: volumes of one grid side by side, three planes each, one cursor for all. One number triple,
// `cursor` (voxel x, y, z), is the truth about where we are; NiiVue only draws it and reports clicks.

const root = document.getElementById("viewer");
const content = JSON.parse(document.getElementById("viewer-scenes").textContent);
const at = (name) => root.querySelector(`[data-is="${name}"]`);
const AXES = content.axes, PLANES = content.planes; // of a volume; by name: along, down, across
const NUMBERS = { axial: 0, coronal: 1, sagittal: 2 }; // NiiVue's of the planes
const GAP = 6; // between planes, CSS pixels
const still = { cursor: null, zoom: [0, 0, 0, 1] };

let NiiVue, NVImage, scene, cursor, zoom, range, limit;
let playing = 0, heading = 1, blinking = 0, swapped = false, turn = 0;
const panes = {}; // by role: reference, method, error

const size = (axis) => scene.shape[AXES.indexOf(axis)];
const pitch = (axis) => scene.spacing[AXES.indexOf(axis)];
const extent = (axis) => size(axis) * pitch(axis);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const plain = (value, digits = 2) => String(Number(value.toFixed(digits)));
const inUnit = (text) => (scene.unit ? `${text} ${scene.unit}` : text);
const visible = () => Object.values(panes).filter(({ role }) => role !== "error" || scene.known);
const along = () => PLANES[at("along").value].along; // the axis that play and slider move on
const volume = (role) => scene.volumes[at(role).selectedIndex];
const layer = () => scene.layers[at("layer").selectedIndex - 1]; // the first choice is none

// ---- volumes -------------------------------------------------------------------------------------------------------

/** Numbers of a volume; unpacked when first asked for, and kept. */
function numbersOf(one) {
  one.numbers ??= voxels(one.id, scene.shape);
  return one.numbers;
}

async function image(numbers, intercept, colours, quantum = scene.quantum) {
  const file = nifti(numbers, scene.shape, scene.spacing, quantum, intercept);
  return NVImage.new(file, "volume.nii", colours);
}

/** NiiVue's image of a volume, the same for all panes. */
async function greyOf(one) {
  one.image ??= numbersOf(one).then((numbers) => image(numbers, scene.low, "gray"));
  return one.image;
}

/** NiiVue's image of a layer, from 0 to its limit. */
async function layerOf(one) {
  one.image ??= numbersOf(one).then(async (numbers) => {
    const picture = await image(numbers, 0, "layers", one.quantum);
    [picture.cal_min, picture.cal_max] = [0, one.limit];
    return picture;
  });
  return one.image;
}

// ---- panes ---------------------------------------------------------------------------------------------------------

async function pane(role) {
  const figure = at(`${role}-pane`), canvas = figure.querySelector("canvas"), label = figure.querySelector("figcaption");
  const draw = NiiVue.prototype.drawScene;
  let moved = false; // the pointer itself, since the page was last scrolled
  let turned = 0; // of the wheel, until it makes a slice: trackpads send many small turns
  const nv = new NiiVue({
    logLevel: "silent", isAntiAlias: false, dragAndDropEnabled: false, loadingText: "",
    isRadiologicalConvention: true, sagittalNoseLeft: true, showAllOrientationMarkers: true,
    fontColor: [0.94, 0.71, 0.16, 1], fontMinPx: 12, fontSizeScaling: 0,
    crosshairColor: [0.35, 0.62, 0.85, 1], crosshairWidthUnit: "mm", crosshairGap: 16,
    multiplanarShowRender: 0, isForceMouseClickToVoxelCenters: true,
    mouseEventConfig: { leftButton: { primary: 8, withShift: 3 }, rightButton: 4, centerButton: 3 },
    onLocationChange: (where) => moveTo(Array.from(where.vox).slice(0, 3)),
    keyDownListener() {}, keyUpListener() {}, // the keys are ours, see `pressed`
    resetBriCon: () => share(still.zoom), // a double click
    wheelListener(event) {
      if (!moved) return; // the page was being scrolled, and this canvas came under the pointer
      event.preventDefault();
      turned += event.deltaY * (event.deltaMode === 0 ? 1 : 40); // lines, in Firefox
      if (Math.abs(turned) < 30) return;
      const by = turned < 0 ? 1 : -1;
      turned = 0;
      const box = canvas.getBoundingClientRect(), scale = this.uiData.dpr;
      const tile = this.tileIndex((event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
      if (tile >= 0) step(PLANES[Object.keys(NUMBERS)[this.screenSlices[tile].axCorSag]].along, by);
    },
    drawScene() { draw.call(this); drawn(role, this); },
  });
  canvas.addEventListener("pointermove", (event) => { moved ||= event.movementX !== 0 || event.movementY !== 0; });
  canvas.addEventListener("pointerdown", () => { moved = true; });
  addEventListener("scroll", () => { moved = false; }, { passive: true });
  panes[role] = { role, nv, figure, canvas, label, cover: figure.querySelector(".cover") };
  await nv.attachToCanvas(canvas, false);
}

/** After every drawing: zoom and pan of one pane become those of all, and the cover of a blinking pane is renewed. */
function drawn(role, nv) {
  if (!cursor || !nv.volumes.length) return;
  const now = Array.from(nv.scene.pan2Dxyzmm);
  if (now.some((value, i) => Math.abs(value - zoom[i]) > 1e-5)) share(now, role);
  if (role === "reference" && swapped) cover();
}

function share(next, from = null) {
  zoom = Array.from(next);
  for (const { role, nv } of visible()) {
    for (let i = 0; i < 4; i++) nv.scene.pan2Dxyzmm[i] = zoom[i];
    if (role !== from) nv.drawScene();
  }
}

function display(role, picture, low, high, over = null) {
  const { nv } = panes[role];
  picture.cal_min = low;
  picture.cal_max = high;
  if (nv.volumes[0] === picture && (nv.volumes[1] ?? null) === over) nv.updateGLVolume();
  else {
    nv.volumes = [];
    nv.addVolume(picture);
    if (over) nv.addVolume(over);
    place(nv);
  }
}

/** Draws every pane with the volumes, the range and the error scale of now. */
async function refresh() {
  const mine = ++turn;
  root.dataset.busy = "true";
  const [one, other] = [volume("reference"), volume("method")];
  const pictures = { reference: await greyOf(one), method: await greyOf(other) };
  if (scene.known) {
    const kept = panes.error.kept;
    if (!(kept && kept.one === one && kept.other === other)) {
      const numbers = difference(await numbersOf(one), await numbersOf(other));
      panes.error.kept = { one, other, numbers, picture: await image(numbers, 0, "errors") };
    }
    pictures.error = panes.error.kept.picture;
  }
  const over = layer() ? await layerOf(layer()) : null;
  if (mine !== turn) return; // asked for something else meanwhile
  for (const [role, picture] of Object.entries(pictures)) {
    const [low, high] = role === "error" ? [0, limit] : range;
    display(role, picture, low, high, role === "method" ? over : null);
  }
  caption();
  readOut();
  root.dataset.busy = "false"; // all that was asked for is drawn
}

function caption() {
  const [reference, method] = [volume("reference").name, volume("method").name];
  const names = { reference, method: swapped ? reference : method, error: `|${method} − ${reference}|` };
  if (layer() && !swapped) names.method += `, with the ${layer().name} to ${inUnit(layer().limit)}`;
  at("limit-text").textContent = inUnit(`${limit} and more`);
  for (const { role, label, canvas } of visible()) {
    label.querySelector("b").textContent = names[role];
    canvas.setAttribute("aria-label", `${label.querySelector("span").textContent}: ${names[role]}, slices through the cursor`);
  }
}

// ---- where we are --------------------------------------------------------------------------------------------------

/** Makes a voxel (x, y, z) the cursor of all panes. */
function moveTo(voxel) {
  const next = voxel.map((value, i) => clamp(Math.round(value), 0, size("xyz"[i]) - 1));
  const same = cursor && next.every((value, i) => value === cursor[i]);
  cursor = next;
  for (const { nv } of visible()) place(nv);
  if (!same) readOut();
}

function place(nv) {
  if (!nv.volumes.length) return;
  nv.scene.crosshairPos = nv.vox2frac(cursor);
  nv.drawScene();
}

function step(axis, by) {
  const next = [...cursor];
  next["xyz".indexOf(axis)] += by;
  moveTo(next);
}

async function readOut() {
  const index = (cursor[2] * size("y") + cursor[1]) * size("x") + cursor[0];
  const mm = ["x", "y", "z"].map((axis, i) => plain(cursor[i] * pitch(axis), 1));
  at("voxel").textContent = `x ${cursor[0]}, y ${cursor[1]}, z ${cursor[2]}`;
  at("mm").textContent = `${mm.join(", ")} mm from the first voxel`;
  const axis = along(), slider = at("slice");
  slider.max = size(axis) - 1;
  slider.value = cursor["xyz".indexOf(axis)];
  at("slice-text").textContent = `${Number(slider.value) + 1} of ${size(axis)}`;
  const [one, other] = [volume("reference"), volume("method")];
  const [a, b] = [(await numbersOf(one))[index], (await numbersOf(other))[index]];
  const value = (number) => inUnit(plain(scene.low + scene.quantum * number));
  at("reference-value").textContent = value(a);
  const width = layer() ? ` (${layer().name} ${inUnit(plain(layer().quantum * (await numbersOf(layer()))[index]))})` : "";
  at("method-value").textContent = value(b) + width;
  if (scene.known) at("error-value").textContent = inUnit(plain(scene.quantum * Math.abs(a - b)));
  const planes = at("planes").value in PLANES ? [at("planes").value] : Object.keys(PLANES);
  const known = planes.map((plane) => [plane, other.metrics[plane] ?? []]).filter(([, texts]) => texts.length);
  at("numbers").textContent = known.map(([plane, texts]) => `${plane} ${texts.join(", ")}`).join("   ");
}

// ---- layout --------------------------------------------------------------------------------------------------------

/** How wide and high (as shares of a pane's width) and where the planes of a pane are. */
function arranged(width) {
  const chosen = at("planes").value, [x, y, z] = [extent("x"), extent("y"), extent("z")];
  if (chosen in PLANES) {
    const [across, down] = [extent(PLANES[chosen].across), extent(PLANES[chosen].down)];
    return { height: Math.max(120, (width * down) / across), tiles: null, type: NUMBERS[chosen] };
  }
  let scale = width / Math.max(x, y), tiles, height = scale * (y + 2 * z) + 2 * GAP;
  if (height <= 2 * width) { // a slab: below each other, as wide as the pane
    const middle = (across) => (width - scale * across) / 2;
    tiles = [[0, middle(x), 0, x, y], [1, middle(x), scale * y + GAP, x, z], [2, middle(y), scale * (y + z) + 2 * GAP, y, z]];
  } else { // coronal and sagittal above, axial below
    scale = (width - GAP) / (x + y);
    height = scale * (y + z) + GAP;
    tiles = [[1, 0, 0, x, z], [2, scale * x + GAP, 0, y, z], [0, 0, scale * z + GAP, x, y]];
  }
  const layout = tiles.map(([sliceType, left, top, across, down]) => ({
    sliceType, position: [left / width, top / height, (scale * across) / width, (scale * down) / height],
  }));
  return { height, tiles: layout, type: 3 };
}

function layOut() {
  const chosen = at("planes").value, holder = at("panes");
  const upright = chosen in PLANES && chosen !== "axial"; // a plane with z from top to bottom
  const flat = upright ? extent("z") / extent(PLANES[chosen].across) : 1;
  const stacked = flat <= 0.4; // flat planes have more from the width of the page
  holder.classList.toggle("stacked", stacked);
  holder.style.setProperty("--widest", stacked ? `${Math.round(300 / flat)}px` : "none");
  for (const { nv, canvas } of visible()) {
    const box = canvas.parentElement, { height, tiles, type } = arranged(box.clientWidth);
    box.style.height = `${Math.round(height)}px`;
    nv.customLayout = tiles ?? [];
    nv.opts.sliceType = type;
    const side = type === 3 ? Math.max(extent("x"), extent("y")) : type === 2 ? extent("y") : extent("x");
    nv.setCrosshairWidth((1.2 * side) / box.clientWidth);
    nv.resizeListener();
  }
}

// ---- moving and blinking -------------------------------------------------------------------------------------------

function play(on = !playing) {
  clearInterval(playing);
  playing = on ? setInterval(() => {
    const axis = along(), here = cursor["xyz".indexOf(axis)];
    if (here + heading < 0 || here + heading >= size(axis)) heading = -heading;
    step(axis, heading);
  }, 1000 / Number(at("speed").value)) : 0;
  at("play").setAttribute("aria-pressed", String(on));
  at("play").textContent = on ? "Pause" : "Play";
}

/** The reference's picture, laid over the method's: no other volume has to be loaded, so it blinks at once. */
function cover() {
  const { canvas } = panes.reference, { cover: lid } = panes.method;
  [lid.width, lid.height] = [canvas.width, canvas.height];
  lid.getContext("2d").drawImage(canvas, 0, 0);
}

function swap(on) {
  swapped = on;
  if (on) panes.reference.nv.drawScene(); // which is what `cover` copies
  panes.method.cover.hidden = !on;
  caption();
}

function blink(on = !blinking) {
  clearInterval(blinking);
  blinking = on ? setInterval(() => swap(!swapped), 250) : 0; // two full turns a second
  swap(false);
  at("blink").setAttribute("aria-pressed", String(on));
}

// ---- controls ------------------------------------------------------------------------------------------------------

function options(select, names) {
  select.replaceChildren(...names.map((name) => new Option(name)));
}

function setRange(low, high) {
  range = [low, Math.max(high, low + scene.quantum)];
  at("level").value = plain((range[0] + range[1]) / 2);
  at("width").value = plain(range[1] - range[0]);
}

function preset(index) {
  at("preset").selectedIndex = index;
  const { low, high } = scene.presets[index];
  setRange(low, high);
}

/** A scene becomes the one that is shown. */
async function enter(index) {
  play(false);
  if (blinking) blink(false);
  scene = content.scenes[index];
  cursor = ["x", "y", "z"].map((axis) => Math.floor(size(axis) / 2));
  zoom = [...still.zoom];
  for (const role of ["reference", "method"]) {
    options(at(role), scene.volumes.map(({ name }, i) => (i < 9 ? `${i + 1}  ${name}` : name)));
  }
  at("method").selectedIndex = scene.volumes.length - 1;
  options(at("layer"), ["none", ...scene.layers.map(({ name }) => name)]);
  for (const part of root.querySelectorAll("[data-of=layer]")) part.hidden = !scene.layers.length;
  options(at("preset"), [...scene.presets.map(({ name }) => name), "as typed"]);
  preset(0);
  limit = scene.limit;
  at("limit").value = limit;
  for (const field of root.querySelectorAll("[data-unit]")) field.textContent = scene.unit;
  for (const part of root.querySelectorAll("[data-of=error]")) part.hidden = !scene.known;
  at("panes").style.setProperty("--n", scene.known ? 3 : 2);
  if (scene.known && !panes.error) await pane("error");
  layOut();
  await refresh();
  share(zoom);
}

function typed() {
  const [level, width] = [at("level").valueAsNumber, at("width").valueAsNumber];
  if (!Number.isFinite(level) || !(width > 0)) return;
  range = [level - width / 2, level + width / 2];
  at("preset").selectedIndex = scene.presets.length;
  refresh();
}

const KEYS = {
  ArrowUp: () => step("y", 1), ArrowDown: () => step("y", -1), // as they look in the axial plane
  ArrowLeft: () => step("x", 1), ArrowRight: () => step("x", -1),
  PageUp: () => step("z", 1), PageDown: () => step("z", -1),
  w: () => { preset((at("preset").selectedIndex + 1) % scene.presets.length); refresh(); },
  " ": () => play(), b: () => blink(),
  p: () => { at("planes").selectedIndex = (at("planes").selectedIndex + 1) % at("planes").length; layOut(); readOut(); },
  l: () => { at("layer").selectedIndex = (at("layer").selectedIndex + 1) % at("layer").length; refresh(); },
  h: () => { at("help").open = !at("help").open; },
};

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  if (event.key === " " && event.target.matches("button, summary")) return; // it presses the button
  const nth = /^[1-9]$/.test(event.key) ? Number(event.key) - 1 : -1;
  const act = nth >= 0 && nth < scene.volumes.length
    ? () => { at("method").selectedIndex = nth; refresh(); }
    : KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function listen() {
  const on = (name, kind, act) => at(name).addEventListener(kind, act);
  on("scene", "change", () => enter(at("scene").selectedIndex));
  for (const role of ["reference", "method"]) on(role, "change", refresh);
  on("layer", "change", refresh);
  on("preset", "change", () => { if (at("preset").selectedIndex < scene.presets.length) preset(at("preset").selectedIndex); refresh(); });
  for (const name of ["level", "width"]) on(name, "change", typed);
  on("limit", "change", () => { if (at("limit").valueAsNumber > 0) limit = at("limit").valueAsNumber; refresh(); });
  on("planes", "change", () => { layOut(); readOut(); });
  on("along", "change", readOut);
  on("slice", "input", () => step(along(), at("slice").valueAsNumber - cursor["xyz".indexOf(along())]));
  on("speed", "change", () => play(Boolean(playing)));
  on("play", "click", () => play());
  on("blink", "click", () => blink());
  root.addEventListener("keydown", pressed);
  let wide = 0; // heights are ours and no reason to start again
  new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width !== wide) requestAnimationFrame(layOut);
    wide = contentRect.width;
  }).observe(at("panes"));
}

/** The colours of the errors, from NiiVue's own table. */
function bar() {
  const strip = at("bar"), colours = panes.reference.nv.colormap("errors"), paint = strip.getContext("2d");
  for (let i = 0; i < 256; i++) {
    paint.fillStyle = `rgb(${colours[4 * i]} ${colours[4 * i + 1]} ${colours[4 * i + 2]})`;
    paint.fillRect(i, 0, 1, 1);
  }
}

async function start() {
  const message = at("message");
  if (!document.createElement("canvas").getContext("webgl2")) {
    message.textContent = "This browser shows no WebGL2, which the viewer needs; the pictures below show the middle slices.";
    return;
  }
  try {
    message.textContent = "Unpacking the volumes.";
    await new Promise((done) => setTimeout(done)); // lets the browser paint the page first
    NiiVue = await niivue("viewer-niivue");
    at("stage").hidden = false;
    scene = content.scenes[0];
    for (const role of ["reference", "method"]) await pane(role);
    const { nv } = panes.reference;
    for (const [name, colours] of Object.entries(content.colours)) nv.addColormap(name, colours);
    await nv.loadFromArrayBuffer(nifti(new Int16Array(8), [2, 2, 2], [1, 1, 1], 1, 0), "first.nii");
    NVImage = nv.volumes[0].constructor;
    bar();
    options(at("scene"), content.scenes.map(({ title }) => title));
    listen();
    await enter(0);
    message.hidden = true;
    root.viewer = { panes, where: () => [...cursor] }; // a handle for tests and the curious
    root.dataset.ready = "true";
  } catch (problem) {
    at("stage").hidden = true;
    message.textContent = `The viewer could not start (${problem.message}); the pictures below show the middle slices.`;
    console.error(problem);
  }
}

start();
