// The cards of numbers, signals, classes and texts.

/** Rows of one number each, every one on its own axis. */
function numbersCard(view, its) {
  const n = view.columns.length, height = 38 * n + 18;
  const wide = (x, i) => (Array.isArray(x) ? x[i] : (view.high[i] - view.low[i]) / 2);
  const bars = figure(view, "bars", "mean", "rows"), change = figure(view, "bars-change", "change from start",
    "rows");
  for (const { canvas } of [bars, change]) canvas.style.height = `${height}px`;
  const made = card(view, make("div", { class: "ivk-pair ivk-uneven" }, bars.node, change.node),
    chooser(view, view.columns, its).label);
  const units = view.units.map((u, i) => (view.kinds[i] === "probability" && u === "0 or 1" ? "probability" : u));
  const state = { said: [] };
  function row(ctx, i, width, now, base, sd, band) {
    const { pal } = its, y = 38 * i + 25, low = Math.min(view.low[i], now[i]), high = Math.max(view.high[i], now[i]),
      x0 = 8, x1 = width - 8;
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
    const { pal } = its, y = 38 * i + 25, change_ = now[i] - base[i],
      limit = scaleFor(wide(view.limit_change, i), Math.abs(change_)), middle = width / 2;
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
  const traces = figure(view, "traces", "dotted: at the start", "wide"),
    stores = Array.from({ length: c }, () => ({})), limits = [];
  traces.canvas.style.height = `${height}px`;
  const box = () => traces.canvas.clientWidth && { x0: 56, x1: traces.canvas.clientWidth - 8, y0: 4,
    y1: height - 36 };
  const cursor = cursorOf(view, its, box, traces.canvas), named = c > 1 || (view.names?.[0]
    && view.names[0] !== view.name), note = make("p", { class: "ivk-note" });
  traces.node.append(cursor.input, note);
  const made = card(view, traces.node);
  function range(now, base, s) {
    const all = [...now.subarray(s * t, s * t + t), ...base.subarray(s * t, s * t + t)], a = Math.min(...all),
      b = Math.max(...all);
    const was = limits[s];
    if (!was || a < was[0] || b > was[1]) limits[s] = [Math.min(was?.[0] ?? a, a) - (b - a) * 0.1 - 1e-9,
      Math.max(was?.[1] ?? b, b) + (b - a) * 0.1 + 1e-9];
    return limits[s];
  }
  return { ...made, view, paint(now, base, band) {
    const on = sheet(traces.canvas), i = cursor.index();
    if (!on) return;
    const { ctx } = on, { pal } = its, whole = box();
    ctx.clearRect(0, 0, on.width, on.height);
    for (let s = 0; s < c; s++) {
      const area = { ...whole, y0: (named ? 16 : 8) + s * strip, y1: (s + 1) * strip - 4 },
        [low, high] = range(now, base, s);
      axes(stores[s], on, area, { low: view.times[0], high: view.times[t - 1], label: view.axis ?? "time (s)",
        bare: s < c - 1 }, { low, high, label: quantity(view.unit) }, pal);
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
    const each = view.shape[0] > 4 ? []
      : Array.from({ length: c }, (_,
      s) => `${words(view.names?.[s] ?? s)} ${withUnit(say(now[s * t + i]), view.unit)}`);
    its.write(note, `at ${cursor.words(i)}${each.length ? `: ${each.join(", ")}` : ""}${band ? ` (${SHADED})` : ""}`);
  }, describe() {
    traces.canvas.setAttribute("aria-label", `${words(view.name)}: ${c} signals; ${note.textContent}`);
  } };
}

/** Which of a view's numbers one asks about: what of the input speaks for it, where an input is encoded. */
function chooser(view, names, its) {
  if (!its.asks || its.scene.latents.length) return { label: null };
  const select = make("select", { "data-action": "attribution",
    onchange: () => its.attribute(view, Number(select.value)) },
    make("option", { value: -1 }, "no attribution"), ...names.map((name, i) => make("option", { value: i },
      words(name))));
  const choose = (i) => {
    select.value = i;
    its.attribute(view, i);
  };
  return { label: make("label", { class: "ivk-row" }, "what speaks for ", select), choose };
}

/** A probability a class; a class that is chosen can be asked about. */
function classesCard(view, its) {
  const n = view.classes.length, height = 26 * n + 22, bars = figure(view, "bars", "probability", "rows"),
    change = figure(view, "bars-change", "change from start", "rows");
  for (const { canvas } of [bars, change]) canvas.style.height = `${height}px`;
  const { label, choose } = chooser(view, view.classes, its);
  draggable(bars.canvas, () => ({ x0: 0, x1: 1, y0: 0, y1: 26 * n }),
    (_, y) => label && choose(Math.min(n - 1, Math.floor(y * n))));
  const made = card(view, make("div", { class: "ivk-pair ivk-uneven" }, bars.node, change.node), label);
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
  const read = (values) => new TextDecoder().decode(Uint8Array.from(values.subarray(0,
    values.indexOf(0) < 0 ? values.length : values.indexOf(0)), Math.round));
  const made = card(view, said, make("figcaption", {}, "at the start"), before);
  return { ...made, view, describe() {}, paint(now, base) {
    [said.textContent, before.textContent] = [read(now), read(base)];
  } };
}

/** Anything else: its numbers in order. */
function listCard(view, its) {
  const flat = { ...view, kind: "traces", shape: [1, view.shape.reduce((a, b) => a * b, 1)], axis: "element",
    names: [""] };
  flat.times = Array.from({ length: flat.shape[1] }, (_, i) => i);
  return { ...tracesCard(flat, its), view };
}
