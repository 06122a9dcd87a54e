// One card a view: what the decoder says of it, and how that differs from the start.

const SHADED = "shaded: 90 % of what the other latents may be";

/** A captioned picture: a canvas that says in words what it shows. */
function figure(view, part, title, size, ...below) {
  const canvas = make("canvas", { role: "img", "data-view": view.name, "data-part": part, class: `ivk-${size}`,
    "aria-label": `${words(view.name)}: ${title}` });
  const caption = make("figcaption", {}, title);
  return { canvas, caption, node: make("figure", { class: `ivk-figure ivk-of-${size}` }, caption, canvas, ...below) };
}

function card(view, ...children) {
  const tag = make("span", { class: "ivk-tag" }), name = make("h3", {}, words(view.name));
  const node = make("section", { class: `ivk-card ivk-${view.kind}`, "aria-label": words(view.name) },
    make("header", {}, name, tag), make("div", { class: "ivk-body" }, ...children));
  return { node, tag };
}

/** What a card is made by, from the kind of its view. */
function cardOf(view, its) {
  const kinds = { field: fieldCard, film: filmCard, picture: filmCard, numbers: numbersCard, classes: classesCard,
    traces: tracesCard, text: textCard };
  return (kinds[view.kind] ?? listCard)(view, its);
}

/** The second picture of an input shows, when asked, what speaks for an output: on its own scale and named. */
function explains(view, change, bar) {
  const { limit_change: usual } = view, usually = change.caption.textContent;
  return (what, largest) => {
    view.explained = Boolean(what);
    view.limit_change = what ? (Array.isArray(usual) ? usual.map(() => largest || 1) : largest || 1) : usual;
    change.caption.textContent = what || usually;
    bar?.label(what ? "attribution" : undefined);
  };
}

/** A slider with its value in words. */
function dial(label, attributes, oninput) {
  const input = make("input", { type: "range", "aria-label": label, "data-lm-suppress-shortcuts": "true",
    ...attributes, oninput: () => oninput(Number(input.value)) });
  return input;
}

/** Press, drag and let go on a canvas: where, from 0 to 1 across a box of it. */
function draggable(canvas, boxOf, move) {
  const at = (event) => {
    const box = boxOf(), place = canvas.getBoundingClientRect();
    if (box) move(Math.min(1, Math.max(0, (event.clientX - place.left - box.x0) / (box.x1 - box.x0))),
      Math.min(1, Math.max(0, (event.clientY - place.top - box.y0) / (box.y1 - box.y0))));
  };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); at(event); });
  canvas.addEventListener("pointermove", (event) => event.buttons && at(event));
}

const nearest = (times, t) => {
  let i = 0;
  while (i < times.length - 1 && Math.abs(times[i + 1] - t) <= Math.abs(times[i] - t)) i++;
  return i;
};

const isTimed = (view) => !view.axis || view.axis.startsWith("time");

/** Waveforms under a common cursor: shared by fields and traces. */
function cursorOf(view, its, boxOf, canvas) {
  const { times } = view, last = times.length - 1, timed = isTimed(view);
  const words_ = (i) => (timed ? `${Math.round(times[i] * 1000)} ms` : `${view.axis} ${i}`);
  let shown = -1, own = 0;
  const go = (i) => {
    own = i;
    if (timed) its.setTime(times[i]);
    else its.repaint();
  };
  const input = dial(`${timed ? "time" : view.axis} of ${words(view.name)}`,
    { min: 0, max: last, step: 1, "data-action": timed ? "time" : "element", class: "ivk-time" }, go);
  draggable(canvas, boxOf, (x) => go(Math.round(x * last)));
  return { input, words: words_, index() {
    const i = timed ? nearest(times, its.time()) : own;
    if (i !== shown) {
      shown = i;
      input.value = i;
      input.setAttribute("aria-valuetext", words_(i));
    }
    return i;
  } };
}

function fieldCard(view, its) {
  const [c, t] = view.shape, { times, topo } = view, unsigned = Boolean(topo?.pairs),
    matrix = topo && its.buffers[`topo:${view.name}`];
  const shown = topo ? (topo.pairs ?? topo.picks.map((i) => [i])).flat() : Array.from({ length: c }, (_, i) => i);
  const low = its.tables.diverging, head = matrix && headMap(topo, matrix, its.buffers[`inside:${view.name}`]);
  const bar = colourBar(quantity(view.unit), unsigned), barChange = colourBar(`change of ${quantity(view.unit)}`);
  const map = figure(view, "map", "map", "square", bar.node),
    change = figure(view, "map-change", "change from start", "square", barChange.node);
  const waves = figure(view, "waves", "waveforms", "wide"), axis = {},
    difference = new Float32Array(topo?.pos.length ?? 0);
  const box = () => waves.canvas.clientWidth && 
    { x0: 56, x1: waves.canvas.clientWidth - 8, y0: 8, y1: waves.canvas.clientHeight - 36 };
  const cursor = cursorOf(view, its, box, waves.canvas);
  waves.node.append(cursor.input);
  const note = make("p", { class: "ivk-note" });
  waves.node.append(note);
  const made = card(view, ...(head ? [make("div", { class: "ivk-pair" }, map.node, change.node)] : []), waves.node);
  const state = { limit: 0, change: 0, strongest: 0, i: 0, least: 0, most: 0 };

  function paintMaps(now, base) {
    const i = state.i, at = atSensors(head, now, i, t);
    const most = largestOf(at);
    state.limit = scaleFor(view.limit, most);
    [state.least, state.most] = [Math.min(...at), Math.max(...at)];
    drawMap(map.canvas, head, at, state.limit, low, its.pal.ink);
    bar.set(low, unsigned ? 0 : -state.limit, state.limit);
    difference.set(at);
    const before = atSensors(head, base, i, t);
    for (let j = 0; j < difference.length; j++) difference[j] -= before[j];
    state.change = scaleFor(view.limit_change, largestOf(difference));
    drawMap(change.canvas, head, difference, state.change, its.tables.diverging, its.pal.ink);
    barChange.set(its.tables.diverging, -state.change, state.change);
  }

  function paintWaves(now, base, band) {
    const on = sheet(waves.canvas);
    if (!on) return;
    const { ctx } = on, area = box(), limit = scaleFor(view.limit, shownLargest(now, shown, t)), { pal } = its,
      i = state.i;
    ctx.clearRect(0, 0, on.width, on.height);
    const x = { low: times[0] * 1000, high: times[t - 1] * 1000, label: "time (ms)" };
    axes(axis, on, area, x, { low: -limit, high: limit, label: quantity(view.unit) }, pal,
      topo && view.colours && ((pen) => colourKey(pen, topo, view.colours, area.x0 + 28, area.y0 + 26, 22)));
    state.strongest = shown.reduce((best, j) => (Math.abs(now[j * t + i]) > Math.abs(now[best * t + i]) ? j : best),
      shown[0]);
    const j = state.strongest;
    ctx.lineWidth = 0.8;
    ctx.globalAlpha = 0.8;
    for (const s of shown) {
      ctx.beginPath();
      ctx.strokeStyle = view.colours?.[s] ?? pal.soft;
      polyline(ctx, now, s * t, t, area, -limit, limit);
      ctx.stroke();
    }
    ctx.globalAlpha = 1;
    if (band) ribbon(ctx, band[0], band[1], j * t, t, area, -limit, limit, pal.band);
    if (!view.explained) strong(ctx, base, j, area, limit, pal.ink, 1, [2, 3]);
    strong(ctx, now, j, area, limit, pal.ink, 1.8, []);
    const X = area.x0 + (i / (t - 1)) * (area.x1 - area.x0);
    line(ctx, X, area.y0, X, area.y1, pal.accent, 1.2);
    const name = view.names?.[j] ?? `channel ${j}`, value = withUnit(signed(now[j * t + i], 3), view.unit);
    const legend = view.explained ? "" : ` (dotted: at the start${band ? `; ${SHADED}` : ""})`;
    its.write(note, `${name} is the strongest at ${cursor.words(i)}: ${value}${legend}`);
  }

  function strong(ctx, values, j, area, limit, colour, width, dash) {
    ctx.beginPath();
    ctx.strokeStyle = colour;
    ctx.lineWidth = width;
    ctx.setLineDash(dash);
    polyline(ctx, values, j * t, t, area, -limit, limit);
    ctx.stroke();
    ctx.setLineDash([]);
  }

  return { ...made, view, paint(now, base, band) {
    state.i = cursor.index();
    its.write(map.caption, `field at ${cursor.words(state.i)}`);
    if (head) paintMaps(now, base);
    paintWaves(now, base, band);
  }, describe() {
    const at = cursor.words(state.i), name = words(view.name);
    map.canvas.setAttribute("aria-label",
      `${name} field at ${at}, from ${withUnit(say(state.least), "")} to ${withUnit(say(state.most), view.unit)}`);
    change.canvas.setAttribute("aria-label",
      `${name}: change of the field at ${at}, at most ${withUnit(say(largestOf(difference)), view.unit)}`);
    waves.canvas.setAttribute("aria-label", `${name} waveforms of ${shown.length} sensors; ${note.textContent}`);
  }, explain: explains(view, change, barChange) };
}

/** The largest absolute value of the channels that are drawn. */
function shownLargest(values, shown, t) {
  let largest = 0;
  for (const j of shown) largest = Math.max(largest, largestOf(values, j * t, (j + 1) * t));
  return largest;
}

function filmCard(view, its) {
  const [colours, n, h, w] = view.kind === "film" ? view.shape : [view.shape[0], 1, view.shape[1], view.shape[2]];
  const size = h * w, image = new ImageData(w, h), values = new Float32Array(size), unit = view.unit || "intensity";
  const bar = colourBar(unit), barChange = colourBar(`change of ${unit}${colours > 1 ? ", mean over colours" : ""}`);
  const frame = figure(view, "frame", "frame", "frame", ...(colours > 1 ? [] : [bar.node]));
  const change = figure(view, "frame-change", "change from start", "frame", barChange.node);
  for (const { canvas } of [frame, change]) [canvas.width, canvas.height, canvas.style.aspectRatio] = [w, h,
    `${w} / ${h}`];
  const state = { i: Math.floor(n / 2), change: 0, mean: 0, timer: 0 };
  const input = dial(`frame of ${words(view.name)}`, { min: 0, max: n - 1, step: 1, value: state.i,
    "data-action": "frame", class: "ivk-time" }, (i) => go(i));
  const play = make("button", { type: "button", class: "ivk-small", "data-action": "film",
    "aria-label": `play ${words(view.name)}`, onclick: toggle }, "▶");
  const where = make("output", { class: "ivk-where" });
  const controls = n > 1 ? [make("div", { class: "ivk-row" }, play, input, where)] : [];
  const made = card(view, make("div", { class: "ivk-pair" }, frame.node, change.node), ...controls);
  function go(i) {
    state.i = i;
    input.value = i;
    its.repaint();
  }
  function toggle() {
    clearInterval(state.timer);
    state.timer = state.timer ? 0 : setInterval(() => (made.node.isConnected ? go((state.i + 1) % n) : toggle()),
      1000 / (view.fps || 10));
    play.textContent = state.timer ? "❚❚" : "▶";
    play.setAttribute("aria-label", `${state.timer ? "stop" : "play"} ${words(view.name)}`);
  }
  const at = () => (view.kind === "film" ? `frame ${state.i + 1} of ${n}${view.fps ? `, ${when()}` : ""}`
    : "picture");
  const when = () => `${Math.round((1000 * state.i) / view.fps)} ms`;
  return { ...made, view, paint(now, base) {
    its.write(where, `${state.i + 1} / ${n}${view.fps ? `, ${when()}` : ""}`);
    its.write(frame.caption, view.kind === "film" ? `frame ${state.i + 1}` : "picture");
    if (input.getAttribute("aria-valuetext") !== at()) input.setAttribute("aria-valuetext", at());
    const from = state.i * size;
    if (colours >= 3) threeColours(image, now, view.low, view.high, from, n * size);
    else colourise(image, now, view.low, view.high, its.tables.grey, false, from);
    frame.canvas.getContext("2d").putImageData(image, 0, 0);
    bar.set(its.tables.grey, view.low, view.high);
    values.fill(0);
    for (let c = 0; c < colours; c++) for (let i = 0; i < size;
      i++) values[i] += (now[c * n * size + from + i] - base[c * n * size + from + i]) / colours;
    state.change = scaleFor(view.limit_change, largestOf(values));
    colourise(image, values, -state.change, state.change, its.tables.diverging);
    change.canvas.getContext("2d").putImageData(image, 0, 0);
    barChange.set(its.tables.diverging, -state.change, state.change);
    state.mean = now.subarray(from, from + size).reduce((a, b) => a + b, 0) / size;
  }, describe() {
    frame.canvas.setAttribute("aria-label", `${words(view.name)}: ${at()}, mean ${unit} ${say(state.mean)}`);
    change.canvas.setAttribute("aria-label",
      `${words(view.name)}: change of ${at()} from the start, at most ${say(largestOf(values))}`);
  }, explain: explains(view, change, barChange), stop: () => state.timer && toggle() };
}
