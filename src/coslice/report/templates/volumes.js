// From the text in this page to volumes, and to NiiVue: everything the viewer needs before it can draw.
// Nothing is fetched; all of it lies in script elements of this page, deflated and base64.

/** The bytes of a script element that holds deflated bytes as base64. */
async function unpacked(id) {
  const text = atob(document.getElementById(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * Voxels as whole numbers of quanta, x fastest: the inverse of `packed` in viewer.py. All low bytes come first, then
 * all high bytes; together they are differences from the slice below, with the sign in the lowest bit.
 */
async function voxels(id, [nz, ny, nx]) {
  const bytes = await unpacked(id);
  const plane = ny * nx, count = nz * plane, numbers = new Int16Array(count);
  for (let i = 0; i < count; i++) {
    const folded = bytes[i] | (bytes[count + i] << 8);
    numbers[i] = ((folded >>> 1) ^ -(folded & 1)) + (i < plane ? 0 : numbers[i - plane]);
  }
  return numbers;
}

/** |a - b|, in quanta. */
function difference(a, b) {
  const numbers = new Int16Array(a.length);
  for (let i = 0; i < a.length; i++) numbers[i] = Math.min(32767, Math.abs(a[i] - b[i]));
  return numbers;
}

/** A NIfTI-1 file in memory, as NiiVue reads it: RAS+, the first voxel at 0 mm, value = slope * number + intercept. */
function nifti(numbers, [nz, ny, nx], [dz, dy, dx], slope, intercept) {
  const file = new ArrayBuffer(352 + numbers.byteLength), head = new DataView(file), little = true;
  head.setInt32(0, 348, little);
  [3, nx, ny, nz, 1, 1, 1, 1].forEach((n, i) => head.setInt16(40 + 2 * i, n, little));
  head.setInt16(70, 4, little); // int16
  head.setInt16(72, 16, little);
  [1, dx, dy, dz].forEach((d, i) => head.setFloat32(76 + 4 * i, d, little));
  head.setFloat32(108, 352, little);
  head.setFloat32(112, slope, little);
  head.setFloat32(116, intercept, little);
  head.setInt8(123, 2); // mm
  head.setFloat32(124, intercept + slope, little); // any display range: it saves NiiVue a search for one
  head.setFloat32(128, intercept, little);
  head.setInt16(254, 1, little); // the rows below hold
  [[dx, 0, 0, 0], [0, dy, 0, 0], [0, 0, dz, 0]].forEach((row, i) =>
    row.forEach((value, j) => head.setFloat32(280 + 16 * i + 4 * j, value, little)));
  [0x6e, 0x2b, 0x31, 0].forEach((byte, i) => head.setUint8(344 + i, byte)); // "n+1"
  new Int16Array(file, 352).set(numbers);
  return file;
}

/**
 * The class NiiVue, out of the Jupyter widget that carries it. The widget keeps its one instance to itself; but it
 * hands functions among its options on to that instance, and calls `attachToCanvas` when it is rendered, and so
 * the class is found and rendering stopped before anything is drawn.
 */
async function niivue(id) {
  const url = URL.createObjectURL(new Blob([await unpacked(id)], { type: "text/javascript" }));
  const widget = (await import(url)).default;
  URL.revokeObjectURL(url);
  let found = null;
  const opts = { logLevel: "silent", attachToCanvas() { found = this.constructor; throw new Error("found"); } };
  const model = { get: (name) => (name === "opts" ? opts : undefined), set() {}, on() {}, off() {}, save_changes() {}, send() {} };
  const { log, error } = console;
  console.log = console.error = () => {}; // the widget tells what it does
  try {
    await widget.initialize({ model });
    await widget.render({ model, el: document.createElement("div") }).catch(() => {});
  } finally {
    Object.assign(console, { log, error });
  }
  if (!found) throw new Error("this version of NiiVue is not understood");
  return found;
}
