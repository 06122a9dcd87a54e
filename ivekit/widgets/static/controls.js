// What is turned: a slider a latent over the data's own distribution, the card that says what a latent is, and the pad.

const MEAN = -1, PRIOR = -2;
const LOCK = `<svg viewBox="0 0 12 12" aria-hidden="true">
  <path d="M3 5.5V4a3 3 0 0 1 6 0v1.5" fill="none" stroke="currentColor" stroke-width="1.3"/>
  <rect x="2" y="5.5" width="8" height="5.5" rx="1" fill="currentColor"/></svg>`;

/** A round step near a hundredth of the range, at least 0.1. */
function stepOf(low, high) {
  const raw = Math.max(0.1, (high - low) / 100), power = 10 ** Math.floor(Math.log10(raw));
  return Number(([1, 2, 5, 10].find((m) => m * power >= raw * 0.999) * power).toPrecision(3));
}

/** A curve of densities as an area; its unit is the box it is put in. */
function area(hist) {
  const n = hist.length, points = hist.map((h, i) => `L${i + 0.5} ${(1 - h).toFixed(3)}`).join("");
  const frame_ = `class="ivk-hist" viewBox="0 0 ${n} 1" preserveAspectRatio="none" aria-hidden="true"`;
  return `<svg ${frame_}><path d="M0 1${points}L${n} 1Z"/></svg>`;
}

/** What the checks said, as a mark with words. */
function verdictMark(verdict) {
  if (!verdict) return null;
  const said = `${verdict.passed ? "passed its checks" : "failed its checks"}: ${verdict.text}`;
  return make("span", { class: `ivk-mark ${verdict.passed ? "ivk-good" : "ivk-bad"}`, role: "img",
    "aria-label": said, title: said }, verdict.passed ? "✓" : "✗");
}

const shortR = (r) => r.toFixed(2).replace("-", "−").replace("0.", ".");
const matchWords = (m) => (m?.name ? `${words(m.name)}, r ${say(m.r, 2)} [${say(m.low, 2)}, ${say(m.high, 2)}]` : "");
const klWords = (kl) => (Number.isFinite(kl) ? `${say(kl, 2)} nats` : "");

/** One latent: its slider counts in standard deviations of the posterior. */
function latentRow(latent, i, its) {
  const sd = latent.sd || 1, step = stepOf(latent.low / sd, latent.high / sd);
  const min = Math.floor(latent.low / sd / step + 1e-6) * step,
    max = Math.ceil(latent.high / sd / step - 1e-6) * step;
  const part = (z) => `${(100 * Math.min(1, Math.max(0, (z / sd - min) / (max - min)))).toFixed(2)}%`;
  const input = make("input", { type: "range", min: min.toFixed(4), max: max.toFixed(4), step,
    "data-latent": latent.id, "data-lm-suppress-shortcuts": "true",
    "aria-label": `${latent.name}${latent.match?.passed ? `, goes with ${words(latent.match.name)}` : ""}`,
      "aria-keyshortcuts": "L",
    oninput: () => its.move(i, Number(input.value) * sd), onfocus: () => its.select(i),
      onkeydown: (e) => e.key.toLowerCase() === "l" && !e.ctrlKey && !e.metaKey && its.lock(i) });
  const counted = document.createTextNode(""), plain = make("small"),
    output = make("output", { class: "ivk-value" }, counted, plain), tick = make("i", { class: "ivk-tick" }),
    shift = make("i", { class: "ivk-shift" });
  const lock = make("button", { type: "button", class: "ivk-lock", tabindex: -1, "data-action": "lock",
    "data-latent": latent.id, "aria-pressed": "false", "aria-label": `lock ${latent.name}`,
    title: "lock: sample, play and pad leave it where it is (L)", onclick: () => its.lock(i) });
  lock.innerHTML = LOCK;
  const name = make("button", { type: "button", class: "ivk-name", tabindex: -1, title: latent.said,
    onclick: () => { its.select(i); input.focus(); } }, latent.name);
  const match = latent.match?.name ? make("span", { class: `ivk-match${latent.match.passed ? "" : " ivk-chance"}`,
    title: `${matchWords(latent.match)}${latent.match.passed ? "" : ": not above chance"}` },
    latent.match.passed ? `${words(latent.match.name)} ${shortR(latent.match.r)}` : "no match",
    latent.match.passed ? make("span", {}, ` [${shortR(latent.match.low)} ${shortR(latent.match.high)}]`) : null)
    : null;
  const track = make("div", { class: "ivk-track" });
  track.innerHTML = area(latent.hist ?? []);
  // the histogram spans low to high; the track a step more at most
  Object.assign(track.firstChild.style,
    { left: part(latent.low), width: `${(parseFloat(part(latent.high)) - parseFloat(part(latent.low))).toFixed(2)}%` });
  track.append(shift, tick);
  const thumb = latent.pattern && make("canvas", { class: "ivk-thumb", "aria-hidden": "true" });
  const node = make("div", { class: "ivk-latent" }, thumb ?? make("span", { class: "ivk-thumb" }),
    make("div", { class: "ivk-lines" }, make("div", { class: "ivk-top" }, name, match, verdictMark(latent.verdict),
      make("span", { class: "ivk-kl", title: "information about the data (divergence from the prior)" },
      klWords(latent.kl)), lock),
      make("div", { class: "ivk-slide" }, make("div", { class: "ivk-rail" }, track, input), output)));
  let at;
  const set = (z, from) => {
    const inSd = z / sd, round = inSd.toFixed(step < 1 && Math.abs(inSd) < 10 ? 1 : 0),
      said = `${Number(round) > 0 ? "+" : ""}${(Number(round) ? round : "0").replace("-", "−")} sd`;
    if (document.activeElement !== input || Math.abs(Number(input.value) - inSd) > step / 2) input.value = inSd;
    if (at !== z) {
      at = z;
      [counted.data, plain.textContent] = [said, `z ${z.toFixed(2).replace("-", "−")}`];
      input.setAttribute("aria-valuetext", `${said}, z ${say(z)}`);
    }
    const [a, b] = [part(Math.min(z, from)), part(Math.max(z, from))];
    Object.assign(shift.style, { left: a, width: `calc(${b} - ${a})` });
    tick.style.left = part(from);
  };
  const locked = (on) => {
    node.classList.toggle("ivk-locked", on);
    lock.setAttribute("aria-pressed", String(on));
  };
  return { node, input, thumb, set, locked, chosen: (on) => node.classList.toggle("ivk-chosen", on) };
}

/** All sliders by block, the informative first; collapsed latents folded. */
function latentRows(scene, its) {
  const place = Object.fromEntries((scene.order ?? scene.latents.map((l) => l.id)).map((id, i) => [id, i]));
  const rows = scene.latents.map((latent, i) => latentRow(latent, i, its));
  const groups = scene.blocks.map((block) => {
    const here = [...scene.latents.keys()].filter((i) => scene.latents[i].block === block.name);
    here.sort((a, b) => place[scene.latents[a].id] - place[scene.latents[b].id]);
    const used = here.filter((i) => scene.latents[i].active !== false),
      idle = here.filter((i) => scene.latents[i].active === false);
    const touches = block.touches.length === scene.views.length && scene.views.length > 1 ? "all views"
      : block.touches.map(words).join(", ");
    const folded = idle.length ? make("details", { class: "ivk-idle" },
      make("summary", {}, `${idle.length} unused (collapsed)`), ...idle.map((i) => rows[i].node)) : null;
    return make("div", { role: "group", class: "ivk-block",
      "aria-label": `latents of ${block.name}, which may touch ${touches}` },
      make("h3", {}, words(block.name), make("span", {}, `touches ${touches}`)), ...used.map((i) => rows[i].node),
      folded);
  });
  return { rows, groups };
}

/** Where one may start: code, uncertainty and what stands beside it, of a row, the mean (-1) or the prior (-2). */
function startsOf(scene, buffers, k) {
  return {
    code(start) {
      if (start === MEAN) return Float32Array.from(scene.mean);
      return start === PRIOR || !k ? new Float32Array(k) : buffers.codes.slice(start * k, start * k + k);
    },
    sds(start) {
      if (start >= 0) return buffers.sds.subarray(start * k, start * k + k);
      return Float32Array.from(scene.latents, ({ sd }) => (start === PRIOR ? 1 : sd));
    },
    given(row) {
      const of = ({ name, shape }) => {
        const size = shape.reduce((a, b) => a * b, 1);
        return [name, Float32Array.from(buffers[`given:${name}`].subarray(row * size, row * size + size))];
      };
      return Object.fromEntries((scene.given ?? []).map(of));
    },
  };
}

/** Mahalanobis' squared distance of a code from the centre of the data's. */
function distance(z, centre, precision) {
  const k = z.length;
  let sum = 0;
  for (let i = 0; i < k; i++) {
    for (let j = 0; j < k; j++) sum += (z[i] - centre[i]) * precision[i * k + j] * (z[j] - centre[j]);
  }
  return sum;
}

/** Why a code is outside the data, in words; "" of one that is not: a latent moved beyond its ends, or all together. */
function departure(z, scene, precision, moved) {
  const { centre, limit, ends } = scene.support, far = distance(z, centre, precision);
  const alone = [...moved].filter((i) => z[i] < ends[i][0] || z[i] > ends[i][1]).map((i) => scene.latents[i].name);
  if (alone.length) return `(${alone.slice(0, 3).join(", ")}${alone.length > 3 ? ", ..." : ""})`;
  return far > limit ? `(all latents together: squared distance ${say(far, 2)}, limit ${say(limit, 2)})` : "";
}

/** What the chosen latent is: its match beside chance, its verdict, its pattern, the views it may touch. */
function detailCard(scene, its) {
  const canvas = make("canvas", { class: "ivk-pattern", role: "img" }), title = make("h3"), said = make("p"),
    verdict = make("p", { class: "ivk-verdict" });
  const match = make("canvas", { class: "ivk-r", role: "img" }), when = make("figcaption"),
    facts = make("p", { class: "ivk-soft" });
  const pattern = make("figure", {}, canvas, when);
  const node = make("section", { class: "ivk-detail", "aria-label": "the latent that was moved last" }, pattern,
    make("div", {}, title, said, verdict, facts, match));
  const heads = {};
  const headOf = (view, which) => (heads[view + which] ??= headMap(scene.views.find((v) => v.name === view).topo,
    its.buffers[`topo:${view}`], its.buffers[`inside:${view}`]));
  function drawPattern(target, latent, table, thumb = false) {
    const values = its.buffers[latent.pattern.buffer], head = headOf(latent.pattern.view, thumb);
    head.at.set(values.subarray(0, head.at.length));
    drawMap(target, head, head.at, largestOf(head.at) || 1, table, its.pal.ink, thumb);
  }
  function drawMatch(m) {
    const on = sheet(match);
    if (!on) return;
    const { ctx, width } = on, { pal } = its, X = (r) => 10 + ((r + 1) / 2) * (width - 140);
    ctx.clearRect(0, 0, width, on.height);
    line(ctx, X(-1), 9, X(1), 9, pal.line, 1);
    line(ctx, X(-m.floor), 9, X(m.floor), 9, pal.mid, 6);
    line(ctx, X(m.low), 9, X(m.high), 9, pal.accent, 3);
    dot(ctx, X(m.r), 9, m.passed ? pal.accent : pal.soft);
    for (const r of ["−1", "0", "1"]) text(ctx, r, X(Number(r.replace("−", "-"))), 23, pal.faint, "center");
    text(ctx, `r ${shortR(m.r)} (grey: chance)`, X(1) + 14, 9, pal.soft);
  }
  return { node, drawPattern, show(latent) {
    const block = scene.blocks.find((b) => b.name === latent.block);
    title.textContent = latent.name;
    said.textContent = latent.said ?? "";
    verdict.replaceChildren(...[verdictMark(latent.verdict),
      latent.verdict?.text].filter(Boolean).flatMap((part) => [part, " "]));
    verdict.hidden = !latent.verdict;
    facts.textContent = [Number.isFinite(latent.kl) ? `information ${klWords(latent.kl)}` : "",
      `sd of the ${latent.kl === null ? "codes" : "posterior"} ${say(latent.sd, 2)}`,
      `may touch ${block.touches.map(words).join(", ")}`].filter(Boolean).join(" · ");
    match.hidden = !latent.match?.name;
    pattern.hidden = !latent.pattern;
    if (latent.match?.name) {
      match.setAttribute("aria-label", `${matchWords(latent.match)}; chance reaches ${say(latent.match.floor, 2)}`);
      drawMatch(latent.match);
    }
    if (!latent.pattern) return;
    when.textContent = `pattern at ${Math.round(latent.pattern.time * 1000)} ms (a.u.)`;
    canvas.setAttribute("aria-label",
      `field pattern of ${latent.name} at ${Math.round(latent.pattern.time * 1000)} ms`);
    drawPattern(canvas, latent, its.tables.diverging);
  } };
}

/** What takes the chosen latent through its range and back, four seconds a turn, until it is asked again. */
function player(its, state, root, ui) {
  return function play() {
    cancelAnimationFrame(state.played);
    const i = state.chosen, on = !state.played && i >= 0 && !state.locked.has(i);
    state.played = 0;
    ui.playing(on);
    if (!on) return;
    const { low, high } = its.scene.latents[i], middle = (low + high) / 2, half = (high - low) / 2;
    const phase = Math.asin(Math.min(1, Math.max(-1, (its.z[i] - middle) / half))), began = performance.now();
    const step = () => {
      if (!root.isConnected || state.chosen !== i || state.locked.has(i)) return play();
      const turned = ((performance.now() - began) * Math.PI) / 2000;
      its.moveMany([[i, middle + half * Math.sin(phase + turned)]]);
      state.played = requestAnimationFrame(step);
    };
    state.played = requestAnimationFrame(step);
  };
}

/** Two latents on a square, over the density of the data's codes. */
function pad(scene, its) {
  const canvas = make("canvas", { class: "ivk-pad", tabindex: 0, role: "group",
    "aria-roledescription": "two-latent pad", "data-lm-suppress-shortcuts": "true", "data-part": "pad" });
  const used = scene.latents.map((l, i) => i).filter((i) => scene.latents[i].active !== false), cells = 32,
    density = {};
  const place = (id) => scene.latents.findIndex((l) => l.id === id);
  const order = (scene.order ?? []).map(place).filter((i) => used.includes(i));
  const pair = [order[0] ?? 0, order[1] ?? order[0] ?? 0], picture = document.createElement("canvas");
  picture.width = picture.height = cells;
  const choice = (which) => make("select", { "aria-label": `latent ${which ? "up" : "across"}`,
    "data-pad": which ? "y" : "x", onchange: (e) => { pair[which] = Number(e.target.value); its.repaint(); } },
    ...used.map((i) => make("option", { value: i, ...(i === pair[which] ? { selected: true } : {}) },
    scene.latents[i].name)));
  const node = make("section", { class: "ivk-padcard", "aria-label": "two-latent pad", hidden: true },
    make("div", { class: "ivk-row" }, choice(0), "→", choice(1), "↑"), canvas);
  const box = () => canvas.clientWidth && { x0: 34, x1: canvas.clientWidth - 4, y0: 4, y1: canvas.clientHeight - 20 };
  const ends = (i) => [scene.latents[i].low, scene.latents[i].high];
  const go = (which, part) => {
    const [low, high] = ends(pair[which]);
    return low + part * (high - low);
  };
  draggable(canvas, box, (x, y) => { canvas.focus(); its.moveMany([[pair[0], go(0, x)], [pair[1], go(1, 1 - y)]]); });
  canvas.addEventListener("keydown", (event) => {
    const [which, by] = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, -1], ArrowUp: [1, 1] }[event.key]
      ?? [];
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const i = pair[which], [low, high] = ends(i);
    its.moveMany([[i, Math.min(high, Math.max(low, its.z[i] + (by * (high - low)) / 50))]]);
  });
  function cloud() {
    const key = `${pair} ${its.pal.accent}`;
    if (density.key === key) return;
    density.key = key;
    const k = scene.latents.length, codes = its.buffers.codes, count = new Float32Array(cells * cells),
      pen = picture.getContext("2d"), image = pen.createImageData(cells, cells);
    for (let n = 0; n < codes.length; n += k) {
      const [x, y] = pair.map((i) => Math.floor((cells * (codes[n + i] - ends(i)[0])) / (ends(i)[1] - ends(i)[0])));
      if (x >= 0 && x < cells && y >= 0 && y < cells) count[(cells - 1 - y) * cells + x] += 1;
    }
    const most = largestOf(count) || 1, [r, g, b] = its.pal.rgb;
    for (let i = 0; i < count.length; i++) image.data.set([r, g, b, 200 * Math.sqrt(count[i] / most)], 4 * i);
    pen.putImageData(image, 0, 0);
  }
  return { node, paint() {
    const on = !node.hidden && sheet(canvas);
    if (!on) return;
    cloud();
    const { ctx } = on, area_ = box(), { pal } = its, [a, b] = pair.map((i) => scene.latents[i]);
    ctx.clearRect(0, 0, on.width, on.height);
    drawAxes(ctx, area_, { low: a.low, high: a.high }, { low: b.low, high: b.high }, pal);
    ctx.drawImage(picture, area_.x0, area_.y0, area_.x1 - area_.x0, area_.y1 - area_.y0);
    const X = area_.x0 + ((its.z[pair[0]] - a.low) / (a.high - a.low)) * (area_.x1 - area_.x0),
      Y = area_.y1 - ((its.z[pair[1]] - b.low) / (b.high - b.low)) * (area_.y1 - area_.y0);
    line(ctx, X, area_.y0, X, area_.y1, pal.accent, 0.8);
    line(ctx, area_.x0, Y, area_.x1, Y, pal.accent, 0.8);
    dot(ctx, X, Y, pal.accent);
    canvas.setAttribute("aria-label",
      `${a.name} across at z ${say(its.z[pair[0]])}, ${b.name} up at z ${say(its.z[pair[1]])}; arrow keys move them`);
  } };
}

/** Sliders or a choice for what the decoder is given beside the code. */
function givenControls(scene, its) {
  const sets = [], parts = [];
  for (const view of scene.grid ? [] : (scene.given ?? [])) {
    const size = view.shape.reduce((a, b) => a * b, 1);
    if (view.kind === "numbers" && size <= 24) {
      for (let i = 0; i < size; i++) {
        const label = withUnit(words(view.columns[i]), view.units[i] && `(${view.units[i]})`),
          step = (view.high[i] - view.low[i]) / 100;
        const output = make("output", { class: "ivk-value" }),
          input = dial(`${words(view.name)}: ${label}`, { min: view.low[i], max: view.high[i], step,
          "data-given": `${view.name}:${i}` }, (v) => its.give(view.name, i, v));
        sets.push((given) => { input.value = given[view.name][i]; output.textContent = say(given[view.name][i]);
          input.setAttribute("aria-valuetext", withUnit(say(given[view.name][i]), view.units[i])); });
        parts.push(make("label", { class: "ivk-given" }, make("span", {}, label),
          make("div", { class: "ivk-slide" }, input, output)));
      }
    } else if (view.kind === "classes") {
      const hot = size === view.classes.length, input = make("select", { "aria-label": words(view.name),
        "data-given": view.name, onchange: () => its.giveClass(view.name, Number(input.value), hot) },
        ...view.classes.map((c, i) => make("option", { value: i }, words(c))));
      sets.push((given) => { input.value = hot ? given[view.name].indexOf(Math.max(...given[view.name]))
        : given[view.name][0]; });
      parts.push(make("label", { class: "ivk-given" }, make("span", {}, words(view.name)), input));
    }
  }
  return { parts, set: (given) => sets.forEach((f) => f(given)) };
}

/** The frame around everything: the bar, the sliders on the left, the cards on the right, the facts below. */
function frame(scene, its, on, k) {
  const button = (action, label, title, listener, more = {}) => make("button",
    { type: "button", "data-action": action, title, onclick: listener, ...more }, label);
  const points = scene.latents.every(({ kl }) => kl === null); // an autoencoder's codes: there is no prior
  const options = scene.rows.labels.map((label, i) => make("option", { value: i }, label));
  const start = make("select", { "data-action": "start", "aria-label": "start from",
    onchange: () => on.setStart(Number(start.value)) }, ...(k ? [make("option", { value: -1 },
    "the mean of all trials"), ...(points ? [] : [make("option", { value: -2 }, "the prior's mean")])] : []),
    ...options);
  const reset = button("reset", "Reset", "back to the start", () => on.reset()),
    sample = button("sample", "Draw a sample", "a code from the prior", () => on.sample());
  const play = button("play", "▶ Play", "take the chosen latent through its range and back", () => on.play()),
    padButton = button("pad", "Pad", "two latents at once", () => on.togglePad(), { "aria-pressed": "false" });
  const attention = button("attention", "Attention", "what the model looks at", () => on.attention(),
    { "aria-pressed": "false" });
  const conditional = scene.given?.length > 0, row = k && conditional ? make("select",
    { "data-action": "row", "aria-label": "condition of", onchange: () => on.setRow(Number(row.value)) },
    ...options.map((o) => o.cloneNode(true))) : null;
  const status = make("span", { role: "status", class: "ivk-status" }), alert = make("span", { role: "alert" }),
    far = make("span", { class: "ivk-far", "aria-live": "off" });
  const warning = k > 0 && make("p", { class: "ivk-warning ivk-outside" }, alert, " ", far);
  const bar = make("div", { class: "ivk-bar-top", role: "toolbar", "aria-label": "explorer" },
    make("label", { class: "ivk-start" }, k ? "Start" : "Trial", start),
    row && make("label", { class: "ivk-start" }, "Condition", row), reset,
    ...(k ? [...(points ? [] : [sample]), play, padButton] : []), its.asks && conditional ? attention : null,
    warning || null, status);
  const { rows, groups } = latentRows(scene, its), detail = detailCard(scene, its),
    pad_ = k > 1 ? pad(scene, its) : null, given = givenControls(scene, its);
  const matrices = make("section", { class: "ivk-card ivk-matrices", hidden: true, "aria-label": "attention" });
  const givens = given.parts.length ? [make("div", { role: "group", class: "ivk-block",
    "aria-label": "what the decoder is given" }, make("h3", {}, "given"), ...given.parts)] : [];
  const left = make("div", { class: "ivk-left" }, make("div", { class: "ivk-scroll" }, ...givens, ...groups)),
    right = make("div", { class: "ivk-right" }, ...(k ? [make("div", { class: "ivk-about-latent" }, detail.node,
    pad_?.node ?? null)] : []), matrices);
  const facts = its.asks && make("details", { class: "ivk-facts" }, make("summary", {}, "Where this comes from"),
    make("dl", {}, ...scene.about.flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, value)])));
  const title = scene.title ? make("h2", {}, scene.title) : null,
    warned = scene.warnings.map((w) => make("p", { class: "ivk-warning" }, w));
  const body = make("div", { class: `ivk-main${k || givens.length ? "" : " ivk-alone"}` },
    ...(k || givens.length ? [left] : []), right);
  return { nodes: [...(title ? [title] : []), bar, ...warned, body, ...(facts ? [facts] : [])], right, rows,
    detail, pad: pad_, padButton, sample, start, row, play, attention, matrices, given, status, alert, far, warning,
    playing: (yes) => { play.firstChild.textContent = yes ? "■ Stop" : "▶ Play";
      play.setAttribute("aria-pressed", String(yes)); } };
}

/** Attention as pictures, one at a time, chosen by name. */
function drawMatrices(node, maps, each, its) {
  const canvas = make("canvas", { class: "ivk-matrix", role: "img" }), bar = colourBar("attention"),
    grey = its.tables.grey.slice().reverse();
  const choose = make("select", { "aria-label": "which attention", onchange: () => show(Number(choose.value)) },
    ...maps.map((m, i) => make("option", { value: i }, words(m.name))));
  const ends = make("p", { class: "ivk-note" });
  node.replaceChildren(make("header", {}, make("h3", {}, "attention"), choose), canvas, bar.node, ends);
  function show(i) {
    const { shape, rows, columns, name } = maps[i], [h, w] = shape.slice(-2), values = each[i].subarray(0, h * w),
      image = new ImageData(w, h), most = Math.max(...values);
    [canvas.width, canvas.height, canvas.style.aspectRatio] = [w, h, `${w} / ${h}`];
    colourise(image, values, 0, most || 1, grey);
    canvas.getContext("2d").putImageData(image, 0, 0);
    bar.set(grey, 0, most || 1);
    const span = (names) => (Array.isArray(names) ? `${words(names[0])} to ${words(names.at(-1))}`
      : words(names ?? ""));
    ends.textContent = `rows (top to bottom): ${span(rows)}; columns: ${span(columns)}`;
    canvas.setAttribute("aria-label", `${words(name)}: ${h} rows by ${w} columns, at most ${say(most)}`);
  }
  if (maps.length) show(0);
}
