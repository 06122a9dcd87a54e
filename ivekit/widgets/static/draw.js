// Numbers in, pixels out: maps, waveforms, frames and bars on canvases. Functions without state of their own.

const OKABE_ITO = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
const FONT = "11px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const SMALL = FONT.replace("11px", "10px");
const QUANTITY = { fT: "magnetic field", "fT/cm": "field gradient", uV: "potential", "µV": "potential", s: "time" };

/** An element: attributes by name, `on...` are listeners, children are nodes or text. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A number as a reader writes it: three significant places, a true minus. */
function say(x, places = 3) {
  if (!Number.isFinite(x)) return "–";
  if (x === 0) return "0";
  const size = Math.floor(Math.log10(Math.abs(x)));
  if (size >= 6 || size < -4) return x.toExponential(1).replace("-", "−");
  const text_ = x.toFixed(Math.max(0, places - 1 - Math.max(size, -2)));
  return Number(text_) === 0 ? "0" : text_.replace("-", "−");
}

/** A change with its sign; none when it would be written as zero. */
function signed(x, places = 2) {
  const text = say(x, places);
  return x > 0 && text !== "0" ? `+${text}` : text;
}

const withUnit = (text, unit) => (unit ? `${text} ${unit}` : text);
const quantity = (unit, otherwise = "signal") => (unit ? `${QUANTITY[unit] ?? otherwise} (${unit})` : otherwise);
const words = (name) => String(name).replaceAll("_", " ");

/** The scale that holds a value: the given one, in steps of the square root of 2 until it does. */
function scaleFor(limit, largest) {
  const first = limit > 0 ? limit : largest || 1;
  return largest > first * 1.02 ? first * 2 ** (Math.ceil(2 * Math.log2(largest / first)) / 2) : first;
}

/** Round places for the ticks of an axis, and how they are written. */
function ticks(low, high, about = 4) {
  const raw = (high - low) / about;
  if (!(raw > 0)) return [[low, say(low)]];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((m) => m >= raw * 0.7);
  const found = [], places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  for (let i = Math.ceil(low / step - 1e-6); i * step <= high + step * 1e-6;
    i++) found.push([i * step, (i * step).toFixed(places).replace("-", "−")]);
  return found;
}

function largestOf(x, from = 0, to = x.length) {
  let largest = 0;
  for (let i = from; i < to; i++) {
    const a = Math.abs(x[i]);
    if (a > largest) largest = a;
  }
  return largest;
}

/** The colours of a theme, dark or light by the page's own background. */
function paletteOf(root) {
  const style = getComputedStyle(root), [r, g, b] = style.backgroundColor.match(/[\d.]+/g)?.map(Number)
    ?? [255, 255, 255];
  root.dataset.theme = 0.2126 * r + 0.7152 * g + 0.0722 * b < 128 ? "dark" : "light";
  const names = ["ink", "soft", "faint", "line", "mid", "accent", "band", "bandStrong", "up", "down"];
  const pal = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--ivk-${name}`).trim()]));
  return { ...pal, rgb: [1, 3, 5].map((i) => parseInt(pal.accent.slice(i, i + 2), 16)) };
}

/** A canvas's context in CSS pixels, its bitmap as fine as the screen; null when it is not laid out. */
function sheet(canvas) {
  const width = canvas.clientWidth, height = canvas.clientHeight,
    fine = Math.min(3, globalThis.devicePixelRatio || 1);
  if (!width || !height) return null;
  const w = Math.round(width * fine), h = Math.round(height * fine);
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const ctx = canvas.getContext("2d");
  ctx.setTransform(fine, 0, 0, fine, 0, 0);
  return { ctx, width, height, fine };
}

function text(ctx, words_, x, y, colour, align = "left", baseline = "middle", font = FONT) {
  ctx.font = font;
  ctx.fillStyle = colour;
  ctx.textAlign = align;
  ctx.textBaseline = baseline;
  ctx.fillText(words_, x, y);
}

function line(ctx, x0, y0, x1, y1, colour, width = 1, dash = []) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.setLineDash(dash);
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
  ctx.setLineDash([]);
}

/** Values through a table of 256 colours into an image; `flip` when their first row is the lowest. */
function colourise(image, values, low, high, table, flip = false, from = 0) {
  const { width, height } = image, pixels = new Uint32Array(image.data.buffer);
  const k = 255.999 / (high - low);
  for (let y = 0; y < height; y++) {
    const row = (flip ? height - 1 - y : y) * width;
    for (let x = 0; x < width; x++) {
      const j = (values[from + y * width + x] - low) * k;
      pixels[row + x] = table[j < 0 ? 0 : j > 255 ? 255 : j | 0];
    }
  }
}

/** Three planes of colour, 0 to 1 between low and high. */
function threeColours(image, values, low, high, from, stride) {
  const n = image.width * image.height, data = image.data, k = 255 / (high - low);
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < 3; c++) data[4 * i + c] = (values[from + c * stride + i] - low) * k;
    data[4 * i + 3] = 255;
  }
}

/** What draws maps of the head: the matrix of the interpolation, its paths and its buffers, made once. */
function headMap(topo, matrix, inside) {
  const size = topo.size, n = topo.pos.length;
  const picture = document.createElement("canvas");
  picture.width = picture.height = size;
  const pen = picture.getContext("2d");
  return { topo, matrix, inside, size, n, picture, pen, image: pen.createImageData(size, size),
    at: new Float32Array(n), field: new Float32Array(size * size), paths: null };
}

/** The values that are interpolated: those of the map's sensors, planar pairs as their root mean square. */
function atSensors(head, values, sample, stride) {
  const { picks, pairs } = head.topo, at = head.at;
  if (pairs) pairs.forEach(([i, j], k) => { at[k] = Math.hypot(values[i * stride + sample],
    values[j * stride + sample]) / Math.SQRT2; });
  else for (let k = 0; k < at.length; k++) at[k] = values[(picks ? picks[k] : k) * stride + sample];
  return at;
}

function interpolate(head, at) {
  const { field, matrix, n } = head;
  for (let i = 0, m = 0; i < field.length; i++, m += n) {
    let sum = 0;
    for (let j = 0; j < n; j++) sum += matrix[m + j] * at[j];
    field[i] = sum;
  }
}

/** The outlines as paths in a box of some size, made again when the box changes. */
function headPaths(head, width, height) {
  if (head.paths?.width === width && head.paths?.height === height) return head.paths;
  const { outlines, extent, border, pos } = head.topo, lines = Object.values(outlines);
  const xs = [extent[0], extent[1], ...lines.flatMap((l) => l[0])],
    ys = [extent[2], extent[3], ...lines.flatMap((l) => l[1])];
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const k = Math.min((width - 4) / (x1 - x0), (height - 4) / (y1 - y0));
  const X = (x) => width / 2 + (x - (x0 + x1) / 2) * k, Y = (y) => height / 2 - (y - (y0 + y1) / 2) * k;
  const trace = ([a, b], path = new Path2D()) => {
    a.forEach((x, i) => (i ? path.lineTo(X(x), Y(b[i])) : path.moveTo(X(x), Y(b[i]))));
    return path;
  };
  const head_ = new Path2D(), dots = new Path2D();
  lines.forEach((l) => trace(l, head_));
  pos.forEach(([x, y]) => dots.rect(X(x) - 0.6, Y(y) - 0.6, 1.2, 1.2));
  const within = (x, low, high) => Math.min(high, Math.max(low, x)); // the picture ends where its border goes on
  const edge = border && trace([border[0].map((x) => within(x, extent[0], extent[1])),
    border[1].map((y) => within(y, extent[2], extent[3]))]);
  edge?.closePath();
  const box = [X(extent[0]), Y(extent[3]), (extent[1] - extent[0]) * k, (extent[3] - extent[2]) * k];
  head.paths = { width, height, head: head_, dots, edge, box };
  return head.paths;
}

/** A map of values at sensors, from -limit to limit, with contours; a thumbnail is the map alone. */
function drawMap(canvas, head, at, limit, table, ink, thumb = false) {
  const on = sheet(canvas);
  if (!on) return;
  interpolate(head, at);
  const { ctx, width, height } = on, { head: outline, dots, edge, box } = headPaths(head, width, height);
  colourise(head.image, head.field, -limit, limit, table, true);
  if (!edge && head.inside) maskOutside(head);
  head.pen.putImageData(head.image, 0, 0);
  ctx.clearRect(0, 0, width, height);
  ctx.save();
  ctx.save();
  if (edge) ctx.clip(edge);
  ctx.imageSmoothingQuality = "high";
  ctx.drawImage(head.picture, ...box);
  if (!thumb && largestOf(at) > 1e-3 * limit) contours(ctx, head, limit / 4, box); // rounding has no contours
  ctx.restore();
  ctx.strokeStyle = "rgba(128, 128, 128, 0.5)";
  ctx.lineWidth = 0.8;
  if (edge) ctx.stroke(edge);
  if (thumb) return ctx.restore();
  ctx.strokeStyle = ink;
  ctx.lineWidth = 1;
  ctx.stroke(outline);
  if (edge) ctx.clip(edge); // on the map, which is light on every page, lines are dark
  ctx.strokeStyle = "#1b2026";
  if (edge) ctx.stroke(outline);
  ctx.fillStyle = "rgba(0, 0, 0, 0.45)";
  ctx.fill(dots);
  ctx.restore();
}

function maskOutside(head) {
  const { image, inside, size } = head;
  for (let i = 0; i < inside.length; i++) {
    const row = size - 1 - Math.floor(i / size);
    if (!inside[i]) image.data[4 * (row * size + (i % size)) + 3] = 0;
  }
}

/** Lines of equal value every `step` (marching squares), across the cells of the map's grid. */
function contours(ctx, head, step, [left, top, width, height]) {
  const { field, size, inside } = head, dx = width / size, dy = height / size, inverse = 1 / step;
  ctx.beginPath();
  for (let y = 0; y + 1 < size; y++) {
    for (let x = 0; x + 1 < size; x++) {
      const i = y * size + x;
      if (inside && !inside[i]) continue;
      const a = field[i] * inverse, b = field[i + 1] * inverse, c = field[i + size + 1] * inverse,
        d = field[i + size] * inverse;
      const low = Math.ceil(Math.min(a, b, c, d)), high = Math.floor(Math.max(a, b, c, d));
      for (let level = low; level <= high; level++) {
        let began = 0;
        const X = left + (x + 0.5) * dx, Y = top + height - (y + 0.5) * dy;
        const meet = (px, py) => (began++ % 2 ? ctx.lineTo(px, py) : ctx.moveTo(px, py));
        if (a < level !== b < level) meet(X + (dx * (level - a)) / (b - a), Y);
        if (b < level !== c < level) meet(X + dx, Y - (dy * (level - b)) / (c - b));
        if (d < level !== c < level) meet(X + (dx * (level - d)) / (c - d), Y - dy);
        if (a < level !== d < level) meet(X, Y - (dy * (level - a)) / (d - a));
      }
    }
  }
  ctx.strokeStyle = "rgba(0, 0, 0, 0.28)";
  ctx.lineWidth = 0.7;
  ctx.stroke();
}

/** Axes with labels, drawn once for a size, scale and theme, and copied after that. */
function axes(store, on, box, x, y, pal, more = null) {
  const key = JSON.stringify([on.width, on.height, on.fine, box, x, y, pal.ink, pal.line]);
  if (store.key !== key) {
    store.key = key;
    store.canvas ??= document.createElement("canvas");
    [store.canvas.width, store.canvas.height] = [Math.round(on.width * on.fine), Math.round(on.height * on.fine)];
    const ctx = store.canvas.getContext("2d");
    ctx.scale(on.fine, on.fine);
    drawAxes(ctx, box, x, y, pal);
    more?.(ctx);
  }
  on.ctx.drawImage(store.canvas, 0, 0, on.width, on.height);
}

/** Sensors in the colours of their lines, as a small head in a corner. */
function colourKey(ctx, topo, colours, x, y, radius) {
  const far = largestOf(topo.pos.flat()) || 1, of = (i) => (topo.pairs ? topo.pairs[i][0] : topo.picks
    ? topo.picks[i] : i);
  topo.pos.forEach(([a, b], i) => {
    ctx.fillStyle = colours[of(i)];
    ctx.fillRect(x + (a / far) * radius - 1, y - (b / far) * radius - 1, 2, 2);
  });
}

function drawAxes(ctx, { x0, x1, y0, y1 }, x, y, pal) {
  const X = (v) => x0 + ((v - x.low) / (x.high - x.low)) * (x1 - x0),
    Y = (v) => y1 - ((v - y.low) / (y.high - y.low)) * (y1 - y0);
  for (const [v, said] of ticks(y.low, y.high, Math.max(2, (y1 - y0) / 40))) {
    line(ctx, x0, Y(v), x1, Y(v), v === 0 ? pal.mid : pal.line, v === 0 ? 1 : 0.6);
    text(ctx, said, x0 - 5, Y(v), pal.soft, "right");
  }
  if (x.low < 0 && x.high > 0) line(ctx, X(0), y0, X(0), y1, pal.mid, 0.8, [3, 3]);
  if (!x.bare) {
    for (const [v, said] of ticks(x.low, x.high, Math.max(2, (x1 - x0) / 90))) text(ctx, said, X(v), y1 + 5,
      pal.soft, "center", "top");
    if (x.label) text(ctx, x.label, (x0 + x1) / 2, y1 + 19, pal.soft, "center", "top");
  }
  if (!y.label) return;
  ctx.save();
  ctx.translate(9, (y0 + y1) / 2);
  ctx.rotate(-Math.PI / 2);
  ctx.font = FONT;
  const short = y.label.match(/\((.*)\)$/)?.[1] ?? ""; // the unit alone where there is no room
  text(ctx, ctx.measureText(y.label).width > y1 - y0 + 24 ? short : y.label, 0, 0, pal.soft, "center");
  ctx.restore();
}

/** One line of samples into the current path. */
function polyline(ctx, values, from, n, box, low, high) {
  const k = (box.y1 - box.y0) / (high - low), dx = (box.x1 - box.x0) / Math.max(1, n - 1);
  for (let i = 0; i < n; i++) {
    const y = box.y1 - (values[from + i] - low) * k;
    if (i) ctx.lineTo(box.x0 + i * dx, y);
    else ctx.moveTo(box.x0, y);
  }
}

/** The area between two lines of samples. */
function ribbon(ctx, lower, upper, from, n, box, low, high, colour) {
  const k = (box.y1 - box.y0) / (high - low), dx = (box.x1 - box.x0) / Math.max(1, n - 1);
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0);
  ctx.clip();
  ctx.beginPath();
  for (let i = 0; i < n; i++) ctx.lineTo(box.x0 + i * dx, box.y1 - (lower[from + i] - low) * k);
  for (let i = n - 1; i >= 0; i--) ctx.lineTo(box.x0 + i * dx, box.y1 - (upper[from + i] - low) * k);
  ctx.closePath();
  ctx.fillStyle = colour;
  ctx.fill();
  ctx.restore();
}

/** A colour bar in elements: a gradient of the table and its ends, with what it measures. */
function colourBar(label, unsigned = false) {
  const low = make("span"), middle = make("span"), high = make("span"), strip = make("div", { class: "ivk-strip" });
  const what = make("div", { class: "ivk-what" }, label);
  const node = make("div", { class: "ivk-bar" }, strip, make("div", { class: "ivk-ends" }, low, middle, high), what);
  return { node, label: (other) => (what.textContent = other ?? label), set(table, from, to) {
    if (strip.dataset.of !== `${from} ${to}`) {
      strip.dataset.of = `${from} ${to}`;
      const bytes = new Uint8Array(table.buffer), first = unsigned ? 128 : 0;
      const stops = Array.from({ length: 9 }, (_, i) => Math.round(first + ((255 - first) * i) / 8) * 4);
      const colours = stops.map((j) => `rgb(${bytes[j]} ${bytes[j + 1]} ${bytes[j + 2]})`);
      strip.style.background = `linear-gradient(90deg, ${colours.join(", ")})`;
      [low.textContent, middle.textContent, high.textContent] = [say(from), say((from + to) / 2), say(to)];
    }
  } };
}
