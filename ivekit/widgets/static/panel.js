// The small panels: a matrix that is pointed at, an attribution over head, film and numbers, latents beside factors.
// One module for a notebook (`render`, anywidget) and for a page of its own (`mount`). Nothing is asked of anybody
// after the first message.

const KINDS = { attention, attribution, disentanglement };
const quiet = { "data-lm-suppress-shortcuts": "true" }; // or JupyterLab takes the arrow keys

function render({ model, el }) {
  const id = Math.random().toString(36).slice(2);
  const told = (message, buffers) => {
    if (message.id !== id) return; // another copy of the same panel asked
    const named = {};
    message.buffers.forEach((name, i) => (named[name] = raw(buffers[i])));
    mount(el, message.scene, named);
  };
  model.on("msg:custom", told);
  model.send({ ask: "scene", id });
  return () => model.off("msg:custom", told);
}

function mount(el, scene, buffers) {
  const root = make("section", { class: "ive-panel", "data-testid": "panel", "aria-label": scene.said, ...quiet });
  const floats = {};
  for (const [name, bytes] of Object.entries(buffers))
    floats[name] = /^(colours|inside):/.test(name) ? bytes : new Float32Array(bytes.slice().buffer);
  root.append(make("h3", {}, scene.title), ...(scene.note ?? []).map((words) => make("p", {}, words)));
  el.replaceChildren(root);
  KINDS[scene.kind]?.(root, scene, floats);
}

// a page's numbers: base64 of gzip
async function unpack({ scene, packed }) {
  const buffers = {};
  for (const [name, text] of Object.entries(packed)) {
    const zipped = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
    buffers[name] = new Uint8Array(await new Response(stream).arrayBuffer());
  }
  return { scene, buffers };
}

// parts ---------------------------------------------------------------------------------------------------------

const raw = (x) => (x instanceof ArrayBuffer ? new Uint8Array(x) : new Uint8Array(x.buffer, x.byteOffset, x.byteLength));
const clamp = (x, low, high) => Math.max(low, Math.min(high, x));
const number = (x) => (x === 0 ? "0" : Math.abs(x) >= 1e4 || Math.abs(x) < 1e-3 ? x.toExponential(2) : x.toPrecision(3));
const size = (shape) => shape.reduce((a, b) => a * b, 1);

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function choice(label, options, changed) {
  const select = make("select", { "aria-label": label, ...quiet });
  options.forEach((text, i) => select.append(make("option", { value: i }, text)));
  select.addEventListener("change", () => changed(+select.value));
  select.hidden = options.length < 1;
  return make("label", {}, label, select);
}

const status = () => make("div", { role: "status", "aria-live": "polite" });

// a canvas as sharp as the screen, painted in the panel's ink
function sheet(label, width, height, more = {}) {
  const canvas = make("canvas", { role: "img", "aria-label": label, ...more });
  const scale = Math.max(1, globalThis.devicePixelRatio || 1);
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.width = `${width}px`;
  const pen = canvas.getContext("2d");
  const clear = () => {
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const style = getComputedStyle(canvas);
    pen.font = "11px system-ui, sans-serif";
    pen.fillStyle = pen.strokeStyle = style.color || "#222";
    pen.lineWidth = 1;
    return { pen, accent: style.getPropertyValue("--ive-accent").trim() || "#0072b2" };
  };
  return { canvas, clear, width, height };
}

// numbers as a picture: `w` by `h`, each through a table of 256 colours; what is not inside is clear
function picture(values, w, h, low, high, colours, { inside, upward } = {}) {
  const image = new ImageData(w, h);
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      const from = (upward ? h - 1 - y : y) * w + x;
      const at = 4 * clamp(Math.floor((256 * (values[from] - low)) / (high - low)), 0, 255);
      const to = 4 * (y * w + x);
      for (let c = 0; c < 3; c++) image.data[to + c] = colours[at + c];
      image.data[to + 3] = inside && !inside[from] ? 0 : 255;
    }
  const flat = new OffscreenCanvas(w, h);
  flat.getContext("2d").putImageData(image, 0, 0);
  return flat;
}

function put(pen, image, x, y, w, h, smooth = false) {
  pen.imageSmoothingEnabled = smooth;
  pen.drawImage(image, x, y, w, h);
}

// values at sensors -> values in the picture of the head: one product with a matrix
function field(values, topo, matrix) {
  const n = topo.pairs ? topo.pairs.length : topo.picks.length;
  const merged = Float32Array.from({ length: n }, (_, i) =>
    topo.pairs ? Math.hypot(values[topo.pairs[i][0]], values[topo.pairs[i][1]]) / Math.SQRT2 : values[topo.picks[i]]);
  const out = new Float32Array(topo.size * topo.size);
  for (let p = 0; p < out.length; p++) {
    let sum = 0;
    for (let i = 0, at = p * n; i < n; i++) sum += matrix[at + i] * merged[i];
    out[p] = sum;
  }
  return out;
}

function head(pen, x, y, side, values, view, floats, limit) {
  const { topo, name } = view, n = topo.size, [left, right, bottom, top] = topo.extent;
  const map = field(values, topo, floats[`topo:${name}`]);
  const inside = floats[`inside:${name}`];
  put(pen, picture(map, n, n, -limit, limit, floats["colours:diverging"], { inside, upward: true }), x, y, side, side, true);
  for (const [xs, ys] of Object.values(topo.outlines)) {
    pen.beginPath();
    xs.forEach((at, i) => pen.lineTo(x + (side * (at - left)) / (right - left), y + (side * (top - ys[i])) / (top - bottom)));
    pen.stroke();
  }
}

function scale(pen, x, y, height, low, high, colours, name) {
  const ramp = Float32Array.from({ length: 64 }, (_, i) => 63 - i);
  put(pen, picture(ramp, 1, 64, 0, 63, colours), x, y, 10, height);
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  pen.fillText(number(high), x + 14, y + 5);
  pen.fillText(number(low), x + 14, y + height - 5);
  pen.save();
  pen.translate(x + 46, y + height / 2);
  pen.rotate(-Math.PI / 2);
  pen.textAlign = "center";
  pen.fillText(name, 0, 0);
  pen.restore();
}

// rows x columns of cells: point, or walk with the arrow keys; Enter or a click chooses a row
function matrix({ rows, columns, label, unit, limit, colours, said, picked }) {
  const probe = new OffscreenCanvas(1, 1).getContext("2d");
  probe.font = "11px system-ui, sans-serif";
  const wide = (names) => Math.min(170, Math.max(...names.map((name) => probe.measureText(name).width)));
  const left = wide(rows) + 10, top = wide(columns) * 0.72 + 14;
  const cell = { w: clamp(560 / columns.length, 2, 34), h: clamp(380 / rows.length, 2, 22) };
  const span = { w: cell.w * columns.length, h: cell.h * rows.length };
  const page = sheet(label, left + span.w + 88, top + Math.max(span.h, 120) + 8, {
    role: "application", "aria-roledescription": "matrix", tabindex: 0, "data-part": "matrix", ...quiet });
  page.canvas.style.cursor = "crosshair";
  const numbers = make("div", { class: "ive-table" });
  const table = make("details", {}, make("summary", {}, "numbers as a table"), numbers);
  let values = new Float32Array(rows.length * columns.length), at = null, chosen = null;

  const every = (n, room) => Math.max(1, Math.ceil(13 / room));
  function draw() {
    const { pen, accent } = page.clear();
    put(pen, picture(values, columns.length, rows.length, 0, limit(), colours), left, top, span.w, span.h);
    pen.textBaseline = "middle";
    rows.forEach((name, i) => {
      if (i % every(rows.length, cell.h) && i !== chosen) return;
      pen.textAlign = "right";
      pen.fillStyle = i === chosen ? accent : pen.strokeStyle;
      pen.fillText(name, left - 6, top + (i + 0.5) * cell.h, left - 8);
    });
    pen.fillStyle = pen.strokeStyle;
    columns.forEach((name, j) => {
      if (j % every(columns.length, cell.w)) return;
      pen.save();
      pen.translate(left + (j + 0.5) * cell.w, top - 6);
      pen.rotate(-Math.PI / 4);
      pen.textAlign = "left";
      pen.fillText(name, 0, 0, 170);
      pen.restore();
    });
    pen.strokeStyle = accent;
    pen.lineWidth = 2;
    if (chosen !== null) pen.strokeRect(left - 1, top + chosen * cell.h, span.w + 2, cell.h);
    if (at) pen.strokeRect(left + at[1] * cell.w, top + at[0] * cell.h, cell.w, cell.h);
    pen.strokeStyle = pen.fillStyle;
    scale(pen, left + span.w + 14, top, Math.max(120, Math.min(span.h, 160)), 0, limit(), colours, unit);
  }
  function go(i, j) {
    at = [clamp(i, 0, rows.length - 1), clamp(j, 0, columns.length - 1)];
    said(`${rows[at[0]]} → ${columns[at[1]]}: ${number(values[at[0] * columns.length + at[1]])}`);
    draw();
  }
  function choose() {
    if (!at || !picked) return;
    chosen = at[0];
    draw();
    picked(chosen);
  }
  function cellOf(event) {
    const box = page.canvas.getBoundingClientRect(), zoom = page.width / box.width;
    const j = Math.floor(((event.clientX - box.left) * zoom - left) / cell.w);
    const i = Math.floor(((event.clientY - box.top) * zoom - top) / cell.h);
    return i >= 0 && i < rows.length && j < columns.length ? [i, Math.max(0, j)] : null; // a row's name is the row
  }
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  page.canvas.addEventListener("pointermove", (event) => { const to = cellOf(event); if (to) go(...to); });
  page.canvas.addEventListener("click", (event) => { const to = cellOf(event); if (to) { go(...to); choose(); } });
  page.canvas.addEventListener("focus", () => { if (!at) go(0, 0); });
  page.canvas.addEventListener("keydown", (event) => {
    if (steps[event.key]) { const [i, j] = at ?? [0, 0], [di, dj] = steps[event.key]; go(i + di, j + dj); }
    else if (event.key === "Enter" || event.key === " ") choose();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  function fill() {
    if (!table.open) return;
    const row = (name, cells) => make("tr", {}, make("th", { scope: "row" }, name), ...cells);
    const lines = rows.map((name, i) =>
      row(name, columns.map((_, j) => make("td", {}, number(values[i * columns.length + j])))));
    const top = make("tr", {}, make("td"), ...columns.map((name) => make("th", { scope: "col" }, name)));
    numbers.replaceChildren(make("table", { "aria-label": label }, top, ...lines));
  }
  table.addEventListener("toggle", fill);
  const show = (fresh) => { values = fresh; fill(); if (at) go(...at); else draw(); };
  return { node: make("div", {}, page.canvas, table), show };
}

// attention -----------------------------------------------------------------------------------------------------

function attention(root, scene, floats) {
  const now = { map: 0, head: 0, row: 0 };
  const says = status(), place = make("div"), heads = make("span");
  const parts = scene.maps.map(({ name, rows, columns }) => matrix({
    rows, columns, label: `${name}: who looked at whom`, unit: "attention", colours: floats["colours:sequential"],
    limit: () => limit, said: (words) => (says.textContent = words) }));
  let limit = 1;
  function show() {
    const { heads: n, rows, columns } = scene.maps[now.map], many = scene.rows.length;
    const each = rows.length * columns.length, all = floats[`map:${now.map}`], out = new Float32Array(each);
    const of = (count, one) => (one ? [one - 1] : [...Array(count).keys()]);
    const b = of(many, now.row), h = of(n, now.head);
    for (const i of b) for (const j of h)
      for (let k = 0; k < each; k++) out[k] += all[(i * n + j) * each + k] / (b.length * h.length);
    limit = Math.max(...out.map((x) => Math.abs(x))) || 1;
    place.replaceChildren(parts[now.map].node);
    parts[now.map].show(out);
  }
  function headsOf() {
    now.head = 0;
    const names = ["mean of heads", ...Array.from({ length: scene.maps[now.map].heads }, (_, i) => `head ${i}`)];
    heads.replaceChildren(choice("head", names, (i) => { now.head = i; show(); }));
  }
  const layers = choice("layer", scene.maps.map(({ name }) => name), (i) => { now.map = i; headsOf(); show(); });
  const rows = choice("row", ["mean of rows", ...scene.rows], (i) => { now.row = i; show(); });
  root.append(make("div", { class: "ive-row" }, layers, heads, rows), place, says);
  headsOf();
  show();
}

// attribution ---------------------------------------------------------------------------------------------------

function attribution(root, scene, floats) {
  const now = { row: 0, view: 0, latent: 0, at: 0 };
  const says = status(), cursor = make("span");
  const page = sheet("attribution", 720, 270, { "data-part": "attribution" });
  const table = make("div", { class: "ive-table" });
  const details = make("details", {}, make("summary", {}, "numbers as a table"), table);
  const view = () => scene.views[now.view];
  const part = (name, latents) => {
    const n = size(view().shape), row = now.row * latents + (latents > 1 ? now.latent : 0);
    return floats[name].subarray(row * n, (row + 1) * n);
  };
  const values = () => part(`attribution:${view().name}`, Math.max(1, scene.latents.length));
  const data = () => part(`data:${view().name}`, 1);
  const places = () => ({ field: view().shape[1], traces: view().shape[1], film: view().shape[1] })[view().kind] ?? 0;
  const when = (i) => view().times ? `${view().times[i].toFixed(3)} s` : view().fps ? `${(i / view().fps).toFixed(2)} s` : `${i}`;

  // |attribution| summed over everything but time
  function course(x) {
    const [first, t] = view().shape, inner = size(view().shape.slice(2)), out = new Float32Array(t);
    for (let c = 0; c < first; c++) for (let i = 0; i < t; i++)
      for (let k = 0; k < inner; k++) out[i] += Math.abs(x[(c * t + i) * inner + k]);
    return out;
  }
  function courseDrawn(pen, accent, x, left, top, w, h) {
    const y = course(x), most = Math.max(...y) || 1, to = (i) => left + (w * i) / Math.max(1, y.length - 1);
    pen.strokeStyle = accent;
    pen.beginPath();
    y.forEach((value, i) => pen.lineTo(to(i), top + h * (1 - value / most)));
    pen.stroke();
    pen.strokeStyle = pen.fillStyle;
    pen.strokeRect(left, top, w, h);
    pen.setLineDash([3, 3]);
    pen.beginPath();
    pen.moveTo(to(now.at), top);
    pen.lineTo(to(now.at), top + h);
    pen.stroke();
    pen.setLineDash([]);
    pen.textBaseline = "top";
    pen.textAlign = "left";
    pen.fillText(when(0), left, top + h + 4);
    pen.textAlign = "right";
    pen.fillText(when(y.length - 1), left + w, top + h + 4);
    pen.fillText(number(most), left - 4, top);
    pen.textAlign = "center";
    pen.fillText(view().times || view().fps ? "time (s)" : "sample", left + w / 2, top + h + 4);
    pen.textBaseline = "bottom";
    pen.fillText("|attribution|, summed", left + w / 2, top - 4);
  }
  function fieldDrawn(pen, accent, x) {
    const [c, t] = view().shape, here = Float32Array.from({ length: c }, (_, i) => x[i * t + now.at]);
    head(pen, 4, 22, 220, here, view(), floats, view().limit);
    scale(pen, 236, 32, 180, -view().limit, view().limit, floats["colours:diverging"], "attribution");
    pen.textBaseline = "top"; pen.textAlign = "center";
    pen.fillText(`at ${when(now.at)}`, 114, 4);
    courseDrawn(pen, accent, x, 345, 40, 360, 170);
  }
  function tracesDrawn(pen, accent, x) {
    const [c, t] = view().shape;
    put(pen, picture(x, t, c, -view().limit, view().limit, floats["colours:diverging"]), 4, 24, 226, 200);
    scale(pen, 238, 32, 180, -view().limit, view().limit, floats["colours:diverging"], "attribution");
    pen.textBaseline = "top"; pen.textAlign = "center";
    pen.fillText("channels, from top, over time", 117, 4);
    courseDrawn(pen, accent, x, 350, 40, 355, 170);
  }
  function filmDrawn(pen, accent, x) {
    const [colours, t, h, w] = view().shape, each = h * w;
    const sum = (from, over) => Float32Array.from({ length: each }, (_, k) => {
      let s = 0;
      for (let c = 0; c < colours; c++) s += from[(c * t + now.at) * each + k];
      return s / over; });
    const frame = sum(data(), colours), all = data(), tall = (210 * h) / w;
    let low = Infinity, high = -Infinity;
    for (const v of all) { low = Math.min(low, v); high = Math.max(high, v); }
    put(pen, picture(frame, w, h, low, high || 1, floats["colours:grey"]), 4, 24, 210, tall);
    put(pen, picture(sum(x, 1), w, h, -view().limit, view().limit, floats["colours:diverging"]), 222, 24, 210, tall);
    scale(pen, 438, 32, 180, -view().limit, view().limit, floats["colours:diverging"], "attribution");
    pen.textBaseline = "top"; pen.textAlign = "center";
    pen.fillText(`${view().name} at ${when(now.at)}`, 109, 4);
    pen.fillText("attribution", 327, 4);
    if (t > 1) courseDrawn(pen, accent, x, 560, 40, 150, 150);
  }
  function barsDrawn(pen, accent, x) {
    const names = view().columns ?? [...x.keys()].map((i) => `${view().name} ${i}`), units = view().units ?? [];
    const n = Math.min(x.length, 16), tall = Math.min(26, 230 / n), zero = 400, reach = 200;
    const order = [...x.keys()].sort((a, b) => (x.length > 16 ? Math.abs(x[b]) - Math.abs(x[a]) : a - b)).slice(0, n);
    pen.textBaseline = "middle";
    order.forEach((i, line) => {
      const y = 20 + line * tall, w = reach * clamp(x[i] / view().limit, -1, 1);
      pen.globalAlpha = 0.85;
      pen.fillStyle = x[i] < 0 ? "#0072b2" : "#d55e00";
      pen.fillRect(Math.min(zero, zero + w), y + 3, Math.abs(w), tall - 6);
      pen.globalAlpha = 1;
      pen.fillStyle = pen.strokeStyle;
      pen.textAlign = "right";
      pen.fillText(`${names[i]} = ${number(data()[i])}${units[i] ? ` (${units[i]})` : ""}`, zero - reach - 8, y + tall / 2, 190);
      pen.textAlign = "left";
      pen.fillText(number(x[i]), zero + reach + 8, y + tall / 2);
    });
    pen.beginPath();
    pen.moveTo(zero, 16);
    pen.lineTo(zero, 20 + n * tall);
    pen.stroke();
    pen.textAlign = "center";
    pen.fillText(x.length > 16 ? "attribution, the 16 largest" : "attribution", zero, 8);
  }
  function told(x) {
    if (!places()) return `${view().name}: sum ${number(x.reduce((a, b) => a + b, 0))}`;
    return `${view().name} at ${when(now.at)}: |attribution| ${number(course(x)[now.at])}`;
  }
  function show() {
    const x = values(), { pen, accent } = page.clear();
    ({ field: fieldDrawn, traces: tracesDrawn, film: filmDrawn })[view().kind]?.(pen, accent, x) ?? (places() || barsDrawn(pen, accent, x));
    says.textContent = told(x);
    page.canvas.setAttribute("aria-label", `${scene.title}; ${scene.rows[now.row]}; ${told(x)}`);
    fill();
  }
  function fill() {
    if (!details.open) return;
    const x = values(), y = places() ? course(x) : x, names = view().columns;
    const line = (name, value) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, number(value)));
    table.replaceChildren(make("table", { "aria-label": "attribution" },
      ...[...y].map((value, i) => line(places() ? when(i) : names?.[i] ?? `${i}`, value))));
  }
  function viewed() {
    const n = places();
    now.at = n ? course(values()).reduce((best, v, i, all) => (v > all[best] ? i : best), 0) : 0;
    const slide = make("input", { type: "range", min: 0, max: n - 1, step: 1, "aria-label": `time in ${view().name}`, "data-action": "time", ...quiet });
    slide.value = now.at;
    slide.addEventListener("input", () => { now.at = +slide.value; slide.setAttribute("aria-valuetext", when(now.at)); show(); });
    cursor.replaceChildren(...(n > 1 ? [make("label", {}, "time", slide)] : []));
    show();
  }
  details.addEventListener("toggle", fill);
  const chosen = [choice("row", scene.rows, (i) => { now.row = i; show(); }),
    choice("view", scene.views.map(({ name }) => name), (i) => { now.view = i; viewed(); })];
  if (scene.latents.length) chosen.push(choice("of", scene.latents, (i) => { now.latent = i; show(); }));
  root.append(make("div", { class: "ive-row" }, ...chosen, cursor), page.canvas, says, details);
  viewed();
}

// disentanglement -----------------------------------------------------------------------------------------------

function disentanglement(root, scene, floats) {
  const says = status(), walk = make("div", { "data-part": "walk" });
  let latent = null, change = 0;
  const grid = matrix({
    rows: scene.latents, columns: scene.factors, label: "what each latent tells of each factor", unit: "part of the entropy",
    colours: floats["colours:sequential"], limit: () => 1, said: (words) => (says.textContent = words),
    picked: scene.views.length ? (i) => { latent = i; walked(); says.textContent = `traversal of ${scene.latents[i]}`; } : null });
  function step(view, i, j) {
    const all = floats[`walk:${view.name}`], v = scene.steps.length, n = all.length / (scene.latents.length * v);
    const at = (k) => all.subarray((i * v + k) * n, (i * v + k + 1) * n);
    return change ? at(j).map((x, k) => x - at((v - 1) / 2)[k]) : at(j);
  }
  function drawn(view, i, j) {
    const x = step(view, i, j), limit = change ? view.limit_change : view.limit, place = view.at?.[i] ?? "";
    const read = (value, k) => `${view.columns[k]} ${number(value)} ${view.units[k]}`.trim();
    const all = view.kind === "numbers" ? `: ${[...x].map(read).join(", ")}` : "";
    const label = `${view.name} ${place}, ${scene.latents[i]} at ${scene.steps[j]}${all}`;
    const page = sheet(label, 84, view.kind === "numbers" ? 10 + 13 * x.length : 84, { "data-view": view.name, title: label });
    requestAnimationFrame(() => {
      const { pen, accent } = page.clear();
      if (view.kind === "field") head(pen, 2, 2, 80, x, view, floats, limit);
      else if (view.kind === "film") {
        const [colours, , h, w] = view.shape, each = h * w;
        const grey = Float32Array.from({ length: each }, (_, k) => {
          let sum = 0;
          for (let c = 0; c < colours; c++) sum += x[c * each + k];
          return sum / colours; });
        const table = floats[change ? "colours:diverging" : "colours:grey"];
        put(pen, picture(grey, w, h, change ? -limit : view.low, limit, table), 0, 0, 84, (84 * h) / w);
      } else lines(pen, accent, view, x, limit);
    });
    return page.canvas;
  }
  function lines(pen, accent, view, x, limit) {
    pen.fillStyle = accent;
    if (view.kind === "numbers") {
      x.forEach((value, k) => {
        const [low, high] = change ? [-limit, limit] : [view.low[k], view.high[k]];
        const y = 7 + 13 * k, at = 82 * clamp((value - low) / (high - low || 1), 0, 1);
        const from = change ? 41 : 0;
        pen.globalAlpha = 0.15; pen.fillRect(0, y, 82, 9); pen.globalAlpha = 1;
        pen.fillRect(Math.min(from, at), y, Math.max(1.5, Math.abs(at - from)), 9);
      });
      return;
    }
    const t = view.shape?.[1] ?? x.length;
    pen.globalAlpha = 0.6;
    for (let c = 0; c < x.length / t; c++) {
      pen.beginPath();
      for (let k = 0; k < t; k++) pen.lineTo((84 * k) / t, 42 - (40 * x[c * t + k]) / limit);
      pen.stroke();
    }
  }
  function walked() {
    if (latent === null) return;
    const box = make("div", { class: "ive-steps", style: `grid-template-columns: auto repeat(${scene.steps.length}, 84px)` });
    box.append(make("span", {}, scene.latents[latent]), ...scene.steps.map((z) => make("span", {}, `z = ${z}`)));
    for (const view of scene.views) {
      const names = view.kind === "numbers" ? view.columns : [view.name, view.at?.[latent] ?? ""];
      const label = make("span", { style: `white-space: pre; text-align: right; font-size: 10px; line-height: ${view.kind === "numbers" ? "13px" : "1.3"}` }, names.join("\n"));
      box.append(label, ...scene.steps.map((_, j) => drawn(view, latent, j)));
    }
    walk.replaceChildren(choices, box);
    walk.dataset.latent = scene.latents[latent];
  }
  const choices = choice("show", ["what is decoded", "the change from the middle"], (i) => { change = i; walked(); });
  walk.append(make("p", {}, scene.views.length ? "Choose a latent, by a click or Enter, to see what it changes." : ""));
  root.append(make("div", { class: "ive-side" }, grid.node, walk), says);
  grid.show(floats.relation);
}

export { mount };
export default { render };
