// One card a view: what the decoder says of it, and how that differs from the start.

/** A captioned picture: a canvas that says in words what it shows. */
function figure(view, part, title, size, ...below) {
  const canvas = make("canvas", { role: "img", "data-view": view.name, "data-part": part, class: `ivk-${size}`, "aria-label": `${words(view.name)}: ${title}` });
  const caption = make("figcaption", {}, title);
  return { canvas, caption, node: make("figure", { class: `ivk-figure ivk-of-${size}` }, caption, canvas, ...below) };
}

function card(view, ...children) {
  const tag = make("span", { class: "ivk-tag" }), name = make("h3", {}, words(view.name));
  const node = make("section", { class: `ivk-card ivk-${view.kind}`, "aria-label": words(view.name) }, make("header", {}, name, tag), make("div", { class: "ivk-body" }, ...children));
  return { node, tag };
}

/** What a card is made by, from the kind of its view. */
function cardOf(view, its) {
  const kinds = { field: fieldCard, film: filmCard, picture: filmCard, numbers: numbersCard, classes: classesCard, traces: tracesCard, text: textCard };
  return (kinds[view.kind] ?? listCard)(view, its);
}

/** The second picture of an input shows, when asked, what speaks for an output: on its own scale, under its own name. */
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
  const input = make("input", { type: "range", "aria-label": label, "data-lm-suppress-shortcuts": "true", ...attributes, oninput: () => oninput(Number(input.value)) });
  return input;
}

/** Press, drag and let go on a canvas: where, from 0 to 1 across a box of it. */
function draggable(canvas, boxOf, move) {
  const at = (event) => {
    const box = boxOf(), place = canvas.getBoundingClientRect();
    if (box) move(Math.min(1, Math.max(0, (event.clientX - place.left - box.x0) / (box.x1 - box.x0))), Math.min(1, Math.max(0, (event.clientY - place.top - box.y0) / (box.y1 - box.y0))));
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
  const input = dial(`${timed ? "time" : view.axis} of ${words(view.name)}`, { min: 0, max: last, step: 1, "data-action": timed ? "time" : "element", class: "ivk-time" }, go);
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
  const [c, t] = view.shape, { times, topo } = view, unsigned = Boolean(topo?.pairs), matrix = topo && its.buffers[`topo:${view.name}`];
  const shown = topo ? (topo.pairs ?? topo.picks.map((i) => [i])).flat() : Array.from({ length: c }, (_, i) => i);
  const low = its.tables.diverging, head = matrix && headMap(topo, matrix, its.buffers[`inside:${view.name}`]);
  const bar = colourBar(quantity(view.unit), unsigned), barChange = colourBar(quantity(view.unit).replace(/^/, "change of "));
  const map = figure(view, "map", "map", "square", bar.node), change = figure(view, "map-change", "change from start", "square", barChange.node);
  const waves = figure(view, "waves", "waveforms", "wide"), axis = {}, difference = new Float32Array(topo?.pos.length ?? 0);
  const box = () => waves.canvas.clientWidth && { x0: 50, x1: waves.canvas.clientWidth - 8, y0: 6, y1: waves.canvas.clientHeight - 36 };
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
    const { ctx } = on, area = box(), limit = scaleFor(view.limit, shownLargest(now, shown, t)), { pal } = its, i = state.i;
    ctx.clearRect(0, 0, on.width, on.height);
    const x = { low: times[0] * 1000, high: times[t - 1] * 1000, label: "time (ms)" };
    axes(axis, on, area, x, { low: -limit, high: limit, label: quantity(view.unit) }, pal, topo && view.colours && ((pen) => colourKey(pen, topo, view.colours, area.x0 + 28, area.y0 + 26, 22)));
    state.strongest = shown.reduce((best, j) => (Math.abs(now[j * t + i]) > Math.abs(now[best * t + i]) ? j : best), shown[0]);
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
    its.write(note, `${view.names?.[j] ?? `channel ${j}`} is the strongest at ${cursor.words(i)}: ${withUnit(signed(now[j * t + i], 3), view.unit)}${view.explained ? "" : ` (dotted: at the start${band ? "; shaded: 90 % of what the other latents may be" : ""})`}`);
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
    map.canvas.setAttribute("aria-label", `${name} field at ${at}, from ${withUnit(say(state.least), "")} to ${withUnit(say(state.most), view.unit)}`);
    change.canvas.setAttribute("aria-label", `${name}: change of the field at ${at} from the start, at most ${withUnit(say(largestOf(difference)), view.unit)}`);
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
  for (const { canvas } of [frame, change]) [canvas.width, canvas.height, canvas.style.aspectRatio] = [w, h, `${w} / ${h}`];
  const state = { i: Math.floor(n / 2), change: 0, mean: 0, timer: 0 };
  const input = dial(`frame of ${words(view.name)}`, { min: 0, max: n - 1, step: 1, value: state.i, "data-action": "frame", class: "ivk-time" }, (i) => go(i));
  const play = make("button", { type: "button", class: "ivk-small", "data-action": "film", "aria-label": `play ${words(view.name)}`, onclick: toggle }, "▶");
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
    state.timer = state.timer ? 0 : setInterval(() => (made.node.isConnected ? go((state.i + 1) % n) : toggle()), 1000 / (view.fps || 10));
    play.textContent = state.timer ? "❚❚" : "▶";
    play.setAttribute("aria-label", `${state.timer ? "stop" : "play"} ${words(view.name)}`);
  }
  const at = () => (view.kind === "film" ? `frame ${state.i + 1} of ${n}${view.fps ? `, ${when()}` : ""}` : "picture");
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
    for (let c = 0; c < colours; c++) for (let i = 0; i < size; i++) values[i] += (now[c * n * size + from + i] - base[c * n * size + from + i]) / colours;
    state.change = scaleFor(view.limit_change, largestOf(values));
    colourise(image, values, -state.change, state.change, its.tables.diverging);
    change.canvas.getContext("2d").putImageData(image, 0, 0);
    barChange.set(its.tables.diverging, -state.change, state.change);
    state.mean = now.subarray(from, from + size).reduce((a, b) => a + b, 0) / size;
  }, describe() {
    frame.canvas.setAttribute("aria-label", `${words(view.name)}: ${at()}, mean ${unit} ${say(state.mean)}`);
    change.canvas.setAttribute("aria-label", `${words(view.name)}: change of ${at()} from the start, at most ${say(largestOf(values))}`);
  }, explain: explains(view, change, barChange), stop: () => state.timer && toggle() };
}

/** Rows of one number each, every one on its own axis. */
function numbersCard(view, its) {
  const n = view.columns.length, height = 38 * n + 18;
  const wide = (x, i) => (Array.isArray(x) ? x[i] : (view.high[i] - view.low[i]) / 2);
  const bars = figure(view, "bars", "mean", "rows"), change = figure(view, "bars-change", "change from start", "rows");
  for (const { canvas } of [bars, change]) canvas.style.height = `${height}px`;
  const made = card(view, make("div", { class: "ivk-pair ivk-uneven" }, bars.node, change.node));
  const units = view.units.map((u, i) => (view.kinds[i] === "probability" && u === "0 or 1" ? "probability" : u));
  const state = { said: [] };
  function row(ctx, i, width, now, base, sd, band) {
    const { pal } = its, y = 38 * i + 25, low = Math.min(view.low[i], now[i]), high = Math.max(view.high[i], now[i]), x0 = 8, x1 = width - 8;
    const X = (v) => x0 + ((Math.min(high, Math.max(low, v)) - low) / (high - low)) * (x1 - x0);
    const spread = sd && view.kinds[i] !== "probability" ? sd[i] : 0;
    const said = say(now[i]) + (spread ? ` ± ${say(spread, 2)}` : "");
    state.said[i] = `${words(view.columns[i])} ${withUnit(said, units[i])}`;
    text(ctx, words(view.columns[i]), 0, y - 15, pal.ink);
    text(ctx, units[i], (x0 + x1) / 2, y + 9, pal.faint, "center", "middle", SMALL);
    text(ctx, said, width, y - 15, pal.ink, "right");
    line(ctx, x0, y, x1, y, pal.line, 5);
    if (spread) line(ctx, X(now[i] - spread), y, X(now[i] + spread), y, pal.bandStrong, 5);
    if (band) line(ctx, X(band[0][i]), y, X(band[1][i]), y, pal.accent, 1.6);
    line(ctx, X(base[i]), y - 5, X(base[i]), y + 5, pal.soft, 1);
    dot(ctx, X(now[i]), y, pal.accent);
    text(ctx, say(low, 2), x0 - 8, y + 9, pal.faint, "left", "middle", SMALL);
    text(ctx, say(high, 2), x1 + 8, y + 9, pal.faint, "right", "middle", SMALL);
  }
  function rowChange(ctx, i, width, now, base) {
    const { pal } = its, y = 38 * i + 25, change_ = now[i] - base[i], limit = scaleFor(wide(view.limit_change, i), Math.abs(change_)), middle = width / 2;
    const by = Math.abs(change_) < 1e-5 * limit ? 0 : change_; // two decoders differ in their last digits
    line(ctx, 4, y, width - 4, y, pal.line, 1);
    line(ctx, middle, y - 5, middle, y + 5, pal.soft, 1);
    if (by) line(ctx, middle, y, middle + (by / limit) * (middle - 6), y, by < 0 ? pal.down : pal.up, 5);
    text(ctx, withUnit(signed(by), units[i] === "probability" ? "" : units[i]), middle, y - 15, pal.ink, "center");
    text(ctx, say(-limit, 2), 0, y + 9, pal.faint, "left", "middle", SMALL);
    text(ctx, signed(limit), width, y + 9, pal.faint, "right", "middle", SMALL);
  }
  return { ...made, view, paint(now, base, band, sd) {
    const a = sheet(bars.canvas), b = sheet(change.canvas);
    if (!a || !b) return;
    a.ctx.clearRect(0, 0, a.width, a.height);
    b.ctx.clearRect(0, 0, b.width, b.height);
    its.write(bars.caption, `mean${sd ? ", ± 1 sd (pale)" : ""}${band ? ", 90 % (line)" : ""}`);
    for (let i = 0; i < n; i++) {
      row(a.ctx, i, a.width, now, base, sd, band);
      rowChange(b.ctx, i, b.width, now, base);
    }
  }, describe() {
    bars.canvas.setAttribute("aria-label", `${words(view.name)}: ${state.said.join("; ")}`);
    change.canvas.setAttribute("aria-label", `${words(view.name)}: change of each number from the start`);
  }, explain: explains(view, change) };
}

function dot(ctx, x, y, colour) {
  ctx.fillStyle = colour;
  ctx.beginPath();
  ctx.arc(x, y, 4, 0, 2 * Math.PI);
  ctx.fill();
}

/** Signals below one another, each on its own scale, under the common cursor. */
function tracesCard(view, its) {
  const [c, t] = view.shape, strip = Math.max(44, Math.min(120, 260 / c)), height = strip * c + 40;
  const traces = figure(view, "traces", "dotted: at the start", "wide"), stores = Array.from({ length: c }, () => ({})), limits = [];
  traces.canvas.style.height = `${height}px`;
  const box = () => traces.canvas.clientWidth && { x0: 50, x1: traces.canvas.clientWidth - 8, y0: 4, y1: height - 36 };
  const cursor = cursorOf(view, its, box, traces.canvas), named = c > 1 || (view.names?.[0] && view.names[0] !== view.name), note = make("p", { class: "ivk-note" });
  traces.node.append(cursor.input, note);
  const made = card(view, traces.node);
  function range(now, base, s) {
    const all = [...now.subarray(s * t, s * t + t), ...base.subarray(s * t, s * t + t)], a = Math.min(...all), b = Math.max(...all);
    const was = limits[s];
    if (!was || a < was[0] || b > was[1]) limits[s] = [Math.min(was?.[0] ?? a, a) - (b - a) * 0.1 - 1e-9, Math.max(was?.[1] ?? b, b) + (b - a) * 0.1 + 1e-9];
    return limits[s];
  }
  return { ...made, view, paint(now, base, band) {
    const on = sheet(traces.canvas), i = cursor.index();
    if (!on) return;
    const { ctx } = on, { pal } = its, whole = box();
    ctx.clearRect(0, 0, on.width, on.height);
    for (let s = 0; s < c; s++) {
      const area = { ...whole, y0: (named ? 16 : 4) + s * strip, y1: (s + 1) * strip - 4 }, [low, high] = range(now, base, s);
      axes(stores[s], on, area, { low: view.times[0], high: view.times[t - 1], label: view.axis ?? "time (s)", bare: s < c - 1 }, { low, high, label: quantity(view.unit) }, pal);
      if (band) ribbon(ctx, band[0], band[1], s * t, t, area, low, high, pal.band);
      const colour = OKABE_ITO[s % 6];
      for (const [values, ink, width, dash] of [[base, pal.soft, 1, [2, 3]], [now, colour, 1.5, []]]) {
        ctx.beginPath();
        ctx.strokeStyle = ink;
        ctx.lineWidth = width;
        ctx.setLineDash(dash);
        polyline(ctx, values, s * t, t, area, low, high);
        ctx.stroke();
      }
      ctx.setLineDash([]);
      if (named) text(ctx, words(view.names?.[s] ?? s), area.x0 + 2, area.y0 - 7, colour);
    }
    const X = whole.x0 + (i / (t - 1)) * (whole.x1 - whole.x0);
    line(ctx, X, whole.y0, X, whole.y1, pal.accent, 1.2);
    const each = view.shape[0] > 4 ? [] : Array.from({ length: c }, (_, s) => `${words(view.names?.[s] ?? s)} ${withUnit(say(now[s * t + i]), view.unit)}`);
    its.write(note, `at ${cursor.words(i)}${each.length ? `: ${each.join(", ")}` : ""}${band ? " (shaded: 90 % of what the other latents may be)" : ""}`);
  }, describe() {
    traces.canvas.setAttribute("aria-label", `${words(view.name)}: ${c} signals; ${note.textContent}`);
  } };
}

/** A probability a class; a class that is chosen can be asked about. */
function classesCard(view, its) {
  const n = view.classes.length, height = 26 * n + 22, bars = figure(view, "bars", "probability", "rows"), change = figure(view, "bars-change", "change from start", "rows");
  for (const { canvas } of [bars, change]) canvas.style.height = `${height}px`;
  const choose = make("select", { "aria-label": `attribution to a class of ${words(view.name)}`, "data-action": "attribution", onchange: () => its.attribute(view, Number(choose.value)) }, make("option", { value: -1 }, "no attribution"), ...view.classes.map((name, i) => make("option", { value: i }, words(name))));
  draggable(bars.canvas, () => ({ x0: 0, x1: 1, y0: 0, y1: 26 * n }), (_, y) => its.asks && ((choose.value = Math.min(n - 1, Math.floor(y * n))), its.attribute(view, Number(choose.value))));
  const made = card(view, make("div", { class: "ivk-pair ivk-uneven" }, bars.node, change.node), its.asks ? make("label", { class: "ivk-row" }, "what speaks for ", choose) : null);
  let said = "";
  return { ...made, view, paint(now, base) {
    const a = sheet(bars.canvas), b = sheet(change.canvas), { pal } = its;
    if (!a || !b) return;
    a.ctx.clearRect(0, 0, a.width, a.height);
    b.ctx.clearRect(0, 0, b.width, b.height);
    const left = Math.min(130, a.width * 0.4), right = a.width - 44, best = now.indexOf(Math.max(...now));
    for (let i = 0; i < n; i++) {
      const y = 26 * i + 13, middle = b.width / 2, by = now[i] - base[i];
      text(a.ctx, words(view.classes[i]), left - 6, y, pal.ink, "right");
      line(a.ctx, left, y, right, y, pal.line, 9);
      line(a.ctx, left, y, left + now[i] * (right - left), y, i === best ? pal.accent : pal.soft, 9);
      line(a.ctx, left + base[i] * (right - left), y - 7, left + base[i] * (right - left), y + 7, pal.ink, 1);
      text(a.ctx, now[i].toFixed(2), a.width, y, pal.ink, "right");
      line(b.ctx, middle, y - 7, middle, y + 7, pal.soft, 1);
      line(b.ctx, middle, y, middle + by * (middle - 40), y, by < 0 ? pal.down : pal.up, 7);
      text(b.ctx, signed(Math.abs(by) < 0.005 ? 0 : by), by < 0 ? 0 : b.width, y, pal.ink, by < 0 ? "left" : "right");
    }
    for (const v of [0, 0.5, 1]) text(a.ctx, String(v), left + v * (right - left), height - 10, pal.faint, "center");
    said = `most probable: ${words(view.classes[best])}, ${now[best].toFixed(2)}`;
  }, describe() {
    bars.canvas.setAttribute("aria-label", `${words(view.name)}: ${said}`);
  } };
}

/** Bytes that are text, up to the first 0. */
function textCard(view) {
  const said = make("p", { class: "ivk-text" }), before = make("p", { class: "ivk-text ivk-soft" });
  const read = (values) => new TextDecoder().decode(Uint8Array.from(values.subarray(0, values.indexOf(0) < 0 ? values.length : values.indexOf(0)), Math.round));
  const made = card(view, said, make("figcaption", {}, "at the start"), before);
  return { ...made, view, describe() {}, paint(now, base) {
    [said.textContent, before.textContent] = [read(now), read(base)];
  } };
}

/** Anything else: its numbers in order. */
function listCard(view, its) {
  const flat = { ...view, kind: "traces", shape: [1, view.shape.reduce((a, b) => a * b, 1)], axis: "element", names: [""] };
  flat.times = Array.from({ length: flat.shape[1] }, (_, i) => i);
  return { ...tracesCard(flat, its), view };
}
