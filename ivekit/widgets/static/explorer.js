// The live latent explorer: turn what a model thinks of a trial, see at once what it would have recorded.

const REST = 150; // ms without a move, after which the band is drawn
const PATIENCE = 2000; // ms after which a kernel that has not answered is said to be gone

const OUTSIDE = "Outside the data: fewer than 1 % of the trials lie this far out; what is shown is extrapolated.";

/** Build an explorer in an element; gives back what takes it down. */
async function mount(el, host) {
  const root = make("div", { class: "ivk", "data-testid": "explorer" },
    make("p", { role: "status", class: "ivk-wait" }, "waiting for the model …"));
  el.replaceChildren(root);
  const late = setTimeout(() => (root.firstChild.textContent = "No kernel answers. Run this cell again."),
    5 * PATIENCE);
  const { scene, buffers } = await host.scene();
  clearTimeout(late);
  return explorer(root, host, scene, buffers);
}

function explorer(root, host, scene, buffers) {
  const k = scene.latents.length, table = (name) => new Uint32Array(buffers[name].slice().buffer);
  const diverging = table("diverging");
  const its = { scene, buffers, z: new Float32Array(k), tables: { diverging, grey: table("grey") }, pal: {},
    asks: host.kind === "kernel",
    move, moveMany, select, lock, setTime, give, giveClass,
      attribute: (view, index) => python.attribute(view, index), repaint, time: () => state.time, write };
  const state = { start: k ? MEAN : 0, row: 0, time: 0, locked: new Set(), moved: new Set(), chosen: -1, given: {},
    edited: new Set(), base: null, now: null, band: null,
    decoder: null, busy: false, dirty: false, baseStale: true, rest: 0, frame: 0, banding: false, bandAgain: false,
      played: 0, asked: 0, painted: 0, waiters: [], outside: false, why: "" };
  const times = [], tell = sender(host, state), from = startsOf(scene, buffers, k);

  // what is seen ----------------------------------------------------------------------------------------------------
  const ui = frame(scene, its, { reset, sample, play: () => play(), togglePad, setStart, setRow,
    attention: () => python.attention() }, k);
  root.replaceChildren(...ui.nodes);
  const cards = scene.views.map((view) => cardOf({ ...view }, its)),
    inputs = (scene.given ?? []).map((view) => cardOf({ ...view }, { ...its, asks: false }));
  ui.right.append(...cards.map((c) => c.node), ...inputs.map((c) => c.node));
  for (const { node, tag } of inputs) {
    node.classList.add("ivk-input");
    tag.textContent = "given";
  }
  const play = player(its, state, root, ui);
  const python = asking(host, its, state, ui, inputs, () => status(true));
  const timed = (views) => views.find((v) => v.kind === "field") ?? views.find((v) => v.times),
    first = timed(scene.views) ?? timed(scene.given ?? []);

  function write(node, text_) {
    if (node.textContent !== text_) node.textContent = text_;
  }

  function theme() {
    Object.assign(its.pal, paletteOf(root));
    ui.rows.forEach(({ thumb }, i) => thumb && ui.detail.drawPattern(thumb, scene.latents[i], diverging, true));
    if (state.chosen >= 0) ui.detail.show(scene.latents[state.chosen]);
    repaint();
  }

  // where one starts ------------------------------------------------------------------------------------------------
  function setStart(start) {
    state.start = start;
    if (start >= 0) state.row = start;
    ui.start.value = start;
    if (ui.row) ui.row.value = state.row;
    tell("start", start);
    reset();
  }

  function setRow(row) {
    state.row = row;
    reset(false);
  }

  function reset(codes = true) {
    if (codes !== false) {
      its.z.set(from.code(state.start));
      state.moved.clear();
    }
    state.given = from.given(state.row);
    state.before = from.given(state.row);
    state.edited.clear();
    if (ui.matrices.hidden === false) python.attention(true);
    state.baseStale = true;
    changed();
  }

  // what is moved ---------------------------------------------------------------------------------------------------
  function move(i, value) {
    select(i);
    moveMany([[i, value]], true);
  }

  function moveMany(pairs, evenLocked = false) {
    for (const [i, value] of pairs) {
      if (!evenLocked && state.locked.has(i)) continue;
      if (state.decoder?.only && state.decoder.only.has(i)) its.z.set(from.code(MEAN));
        // a grid knows one latent at a time
      its.z[i] = value;
      state.moved.add(i);
      if (state.chosen !== i) select(i);
    }
    changed();
  }

  function select(i) {
    if (state.chosen === i) return;
    ui.rows[state.chosen]?.chosen(false);
    ui.rows[i].chosen(true);
    state.chosen = i;
    const latent = scene.latents[i], touches = scene.blocks.find((b) => b.name === latent.block).touches;
    for (const { tag, node, view } of cards) {
      const may = touches.includes(view.name);
      tag.textContent = may ? `${latent.name} may move it` : `not touched by ${latent.name}`;
      node.classList.toggle("ivk-apart", !may);
    }
    ui.detail.show(latent);
    ui.play.setAttribute("aria-label", `play ${latent.name}`);
  }

  function lock(i, on = !state.locked.has(i)) {
    state.locked[on ? "add" : "delete"](i);
    ui.rows[i].locked(on);
    tell("locked", [...state.locked].map((j) => scene.latents[j].id));
  }

  function sample() {
    const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    for (let i = 0; i < k; i++) {
      if (state.locked.has(i) || state.decoder?.only) continue;
      its.z[i] = normal();
      state.moved.add(i);
    }
    changed();
  }

  function togglePad() {
    ui.pad.node.hidden = !ui.pad.node.hidden;
    ui.padButton.setAttribute("aria-pressed", String(!ui.pad.node.hidden));
    repaint();
  }

  function setTime(time) {
    if (time === state.time) return;
    state.time = time;
    tell("time", time);
    repaint();
    describeLater();
  }

  function give(name, i, value) {
    state.given[name][i] = value;
    state.edited.add(name);
    changed();
  }

  function giveClass(name, c, hot) {
    if (hot) state.given[name].fill(0);
    give(name, hot ? c : 0, hot ? 1 : c);
  }

  /** Everything that follows from another code: sliders, warning, decode, traits. */
  function changed() {
    state.asked = performance.now();
    state.band = null;
    python.forget();
    showCode();
    tell("z", Array.from(its.z));
    draw();
  }

  function showCode() {
    const began = from.code(state.start);
    ui.rows.forEach((row, i) => row.set(its.z[i], began[i]));
    ui.given.set(state.given);
    const why = k && scene.support.limit ? departure(its.z, scene, buffers.precision, state.moved) : "";
    if (Boolean(why) !== state.outside) write(ui.alert, why ? OUTSIDE : "");
    state.outside = Boolean(why);
    write(ui.far, why);
    if (ui.warning) ui.warning.classList.toggle("ivk-on", state.outside);
  }

  // decode and paint ------------------------------------------------------------------------------------------------
  const question = () => ({ z: its.z.slice(), row: state.row, start: state.start, given: state.given,
    edited: state.edited, latent: Math.max(0, state.chosen), sds: from.sds(state.start), moved: [...state.moved],
    fromPrior: state.start === PRIOR });

  async function draw() {
    state.dirty = true;
    if (state.busy || !state.decoder) return;
    state.busy = true;
    clearTimeout(state.rest);
    state.rest = 0;
    try {
      while (state.dirty) {
        state.dirty = false;
        await once();
      }
    } catch (error) {
      state.why = `the decoder failed: ${error.message}`;
      status(true);
    }
    state.busy = false;
    describeLater();
  }

  async function once() {
    const { asked, decoder } = state,
      slow = setTimeout(() => { state.why = "the kernel does not answer; the picture is the last it sent";
      status(true); }, PATIENCE);
    const it = question();
    if (decoder.kind !== "kernel") clearTimeout(slow);
    const atStart = state.baseStale && { ...it, z: from.code(decoder.only ? MEAN : state.start),
      given: from.given(state.row), edited: new Set() };
    state.baseStale = false;
    let found;
    try {
      if (atStart) state.base = (await decoder.decode(atStart)).outputs;
      found = await decoder.decode(it);
    } finally {
      clearTimeout(slow);
    }
    state.why = "";
    state.now = found.outputs;
    paint();
    times.push([found.ms, performance.now() - asked]);
    if (times.length > 5000) times.shift();
  }

  function paint() {
    cancelAnimationFrame(state.frame);
    state.frame = 0;
    const { now, base, band } = state;
    if (!now || !base) return;
    for (const card_ of cards) {
      const { name } = card_.view;
      card_.paint(now[name], base[name], band?.[name], now[`${name}.sd`]);
    }
    for (const card_ of inputs) card_.paint(state.given[card_.view.name],
      (state.heat ?? state.before)[card_.view.name]);
    ui.pad?.paint();
    root.dataset.painted = ++state.painted;
  }

  function repaint() {
    if (!state.frame) state.frame = requestAnimationFrame(() => { paint(); settle(); });
  }

  /** At rest: say in words what is shown, then draw what the other latents may be. */
  function describeLater() {
    clearTimeout(state.rest);
    const mine = setTimeout(async () => {
      status();
      if (!state.band && !state.busy && state.now) await drawBand();
      if (state.attributed && !state.heat) await python.attribute(...state.attributed);
      for (const card_ of [...cards, ...inputs]) card_.describe();
      if (state.rest === mine) state.rest = 0;
      settle();
    }, REST);
    state.rest = mine;
  }

  async function drawBand() {
    if (!k) return;
    if (state.banding) return void (state.bandAgain = true);
    state.banding = true;
    do {
      state.bandAgain = false;
      const { asked, decoder } = state, stale = () => asked !== state.asked || decoder !== state.decoder;
      const band = await decoder.band({ ...question(), stale }).catch(() => null);
      if (stale()) continue;
      state.band = band ?? {};
      if (band) paint();
    } while (state.bandAgain);
    state.banding = false;
    settle();
  }

  function settle() {
    if (state.busy || state.dirty || state.rest || state.frame || state.banding || !state.now) return;
    for (const done of state.waiters.splice(0)) done();
  }

  function status(bad = false) {
    const where = { browser: "decoded in the browser", kernel: "decoded by the kernel",
      grid: `precomputed${k ? ": one latent at a time, from the mean" : " for each row"}` }[state.decoder?.kind]
        ?? "loading the decoder";
    const last = times.at(-1), extra = state.decoder?.kind === "kernel" && state.note ? ` (${state.note})` : "";
    write(ui.status, state.why || `${where}${extra}${last ? `, ${Math.max(1, Math.round(last[0]))} ms` : ""}`);
    ui.status.classList.toggle("ivk-bad", bad);
  }

  // what Python sees and says ----------------------------------------------------------------------------------------
  function hear() {
    const same = (a, b) => a?.length === b.length && a.every((v, i) => Math.abs(v - b[i]) <= 1e-5 * (1
      + Math.abs(v)));
    host.watch?.("z", () => {
      const z = host.get("z");
      if (z?.length === k && !same(z, its.z)) putCode(z);
    });
    host.watch?.("start", () => host.get("start") !== state.start && setStart(host.get("start")));
    host.watch?.("time", () => Number.isFinite(host.get("time")) && setTime(host.get("time")));
    host.watch?.("locked", () => {
      const ids = host.get("locked") ?? [];
      scene.latents.forEach(({ id }, i) => ids.includes(id) !== state.locked.has(i) && lock(i, ids.includes(id)));
    });
    host.on?.("net", () => {
      clearTimeout(state.again);
      takeNet();
    });
  }

  function putCode(z) {
    const began = from.code(state.start);
    its.z.set(z);
    state.moved = new Set([...z.keys()].filter((i) => Math.abs(z[i] - began[i]) > 1e-5));
    changed();
  }

  async function takeNet() {
    try {
      const decoder = await browserDecoder(host, scene);
      if (decoder) return use(decoder);
      state.note = host.why ? `the browser cannot: ${host.why}` : "the browser is getting ready";
      status();
      if (host.kind !== "kernel") throw new Error(scene.net?.why || "there is no decoder here");
      if (!host.why) state.again = setTimeout(takeNet, 5000); // where nobody can announce it
    } catch (error) {
      state.note = `the browser cannot: ${error.message}`;
      if (!state.decoder) state.why = state.note;
      status(!state.decoder);
    }
  }

  function use(decoder) {
    state.decoder = decoder;
    root.dataset.decoder = decoder.kind;
    state.baseStale = true;
    if (decoder.only) {
      ui.rows.forEach((row, i) => (row.input.disabled = !decoder.only.has(i)));
      ui.start.disabled = ui.sample.hidden = ui.padButton.hidden = true;
    }
    draw();
  }

  function begin() {
    const start = host.get?.("start"), time = host.get?.("time"), z = host.get?.("z");
    state.time = Number.isFinite(time) && timed(scene.views) ? time
      : (first?.times[first.peak ?? Math.floor(first.times.length / 2)] ?? 0);
    if (Number.isInteger(start) && (k || start >= 0)) setStart(start);
    else setStart(state.start);
    if (z?.length === k && k && z.some((v, i) => Math.abs(v - its.z[i]) > 1e-5)) putCode(z);
    (host.get?.("locked") ?? []).forEach((id) => lock(scene.latents.findIndex((l) => l.id === id), true));
    if (k) select(Math.max(0, scene.latents.findIndex((l) => l.id === (scene.order ?? [])[0])));
    hear();
    state.ready = true;
    if (host.kind === "kernel") use(kernelDecoder(host, scene));
    if (scene.grid) use(gridDecoder(scene, buffers));
    else takeNet();
    status();
  }

  let wide = 0; // a cell that is not laid out yet, or another width: everything is drawn anew
  const resized = () => (root.clientWidth === wide ? repaint() : ((wide = root.clientWidth), theme()));
  const watchSize = new ResizeObserver(resized), dark = matchMedia("(prefers-color-scheme: dark)"),
    skin = new MutationObserver(theme);
  watchSize.observe(root);
  dark.addEventListener("change", theme);
  skin.observe(document.body, { attributes: true, attributeFilter: ["class", "data-jp-theme-name",
    "data-jp-theme-light", "data-vscode-theme-kind"] });
  root.ivekit = { z: () => Array.from(its.z), outputs: () => state.now, times,
    settled: () => new Promise((done) => { state.waiters.push(done); settle(); }) };
  begin();
  theme();
  return () => {
    cancelAnimationFrame(state.played);
    clearTimeout(state.rest);
    clearTimeout(state.again);
    cards.forEach((c) => c.stop?.());
    watchSize.disconnect();
    skin.disconnect();
    dark.removeEventListener("change", theme);
    host.end?.();
  };
}

/** An anywidget's view. */
async function render({ model, el }) {
  return mount(el, kernelHost(model));
}

export { mount, render };
export default { render };
