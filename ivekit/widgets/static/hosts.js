// Who answers: a kernel through its widget's messages, or a page that carries everything. And what decodes: a network
// in the browser (ONNX Runtime web), the kernel, or a grid of precomputed traversals.

const BAND_DRAWS = 32;

const bytesOf = (v) => (v instanceof Uint8Array ? v : new Uint8Array(v.buffer ?? v, v.byteOffset ?? 0, v.byteLength));

function floats(v) {
  const bytes = bytesOf(v);
  if (bytes.byteOffset % 4 === 0) return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  return new Float32Array(bytes.slice().buffer);
}

/** Unpacked bytes; those that were not packed as they are. */
async function gunzip(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A host that asks the kernel: one message a question, its answer known by its id. */
function kernelHost(model) {
  const me = Math.random().toString(36).slice(2), waiting = new Map(), listeners = {};
  let count = 0;
  const hear = (message, buffers) => {
    if (message.event) for (const f of listeners[message.event] ?? []) f(message);
    const there = waiting.get(message.id);
    if (!there) return;
    waiting.delete(message.id);
    if (message.error) there.fail(new Error(message.error));
    else there.done({ ...message, names: message.buffers, buffers: (buffers ?? []).map(bytesOf) });
  };
  model.on("msg:custom", hear);
  const ask = (question) =>
    new Promise((done, fail) => {
      const id = `${me}:${count++}`;
      waiting.set(id, { done, fail });
      model.send({ id, ...question });
    });
  const watched = [];
  return {
    kind: "kernel",
    ask,
    async scene() {
      const { scene, names, buffers } = await ask({ ask: "scene" });
      return { scene, buffers: Object.fromEntries(names.map(({ name, dtype }, i) => [name,
        dtype === "u1" ? buffers[i] : floats(buffers[i])])) };
    },
    runtime: async () => (await ask({ ask: "runtime" })).buffers,
    why: "",
    async net() {
      const { buffers, why } = await ask({ ask: "net" });
      this.why = why ?? "";
      return buffers[0] ?? null;
    },
    on: (event, f) => (listeners[event] ??= []).push(f),
    get: (name) => model.get(name),
    set: (name, value) => model.set(name, value),
    save: () => model.save_changes(),
    watch(name, f) {
      model.on(`change:${name}`, f);
      watched.push([name, f]);
    },
    end() {
      model.off("msg:custom", hear);
      for (const [name, f] of watched) model.off(`change:${name}`, f);
    },
  };
}

/** ONNX Runtime web, once a page: 14 MB of it are kept out of saved notebooks. */
function runtimeOf(host) {
  const load = async () => {
    const [script, wasm] = (await host.runtime()) ?? [];
    if (!wasm) throw new Error("there is no runtime for decoders here");
    const url = URL.createObjectURL(new Blob([await gunzip(script)], { type: "text/javascript" }));
    const ort = await import(url);
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmBinary = (await gunzip(wasm)).buffer;
    ort.env.logLevel = "error";
    return ort;
  };
  return (globalThis.__ivekit_ort ??= load().catch((error) => {
    globalThis.__ivekit_ort = undefined;
    throw error;
  }));
}

/** The decoder in the page. `run(z, n, given)` takes n codes side by side and gives {output: values}. */
async function browserDecoder(host, scene) {
  const bytes = await host.net();
  if (!bytes?.length) return null;
  const ort = await runtimeOf(host);
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  const shapes = Object.fromEntries((scene.given ?? []).map((g) => [`given:${g.name}`, g.shape]));
  const k = scene.mean.length, plain = session.outputNames;
  const named = scene.net.outputs.every((name) => plain.includes(name));
  let last = Promise.resolve();
  const once = async (z, n, given) => {
    const feeds = {};
    scene.net.inputs.forEach((name, i) => {
      const values = name === "z" ? z : repeated(given[name.slice(6)], n),
        shape = name === "z" ? [n, k] : [n, ...shapes[name]];
      feeds[session.inputNames.includes(name) ? name : session.inputNames[i]] = new ort.Tensor("float32", values,
        shape);
    });
    const found = await session.run(feeds), outputs = {};
    scene.net.outputs.forEach((name, i) => {
      const tensor = found[named ? name : plain[i]];
      outputs[name] = tensor.data;
      tensor.dispose();
    });
    return outputs;
  };
  // a session runs one thing at a time
  const run = (z, n, given) => (last = last.catch(() => {}).then(() => once(z, n, given)));
  return { kind: "browser", async decode({ z, given }) {
    const began = performance.now(), outputs = await run(z.slice(), 1, given);
    return { outputs, ms: performance.now() - began };
  }, band: (question) => bandOf(scene, run, question) };
}

function repeated(values, n) {
  if (n === 1) return values;
  const all = new Float32Array(values.length * n);
  for (let i = 0; i < n; i++) all.set(values, i * values.length);
  return all;
}

/** The same standard normal numbers for everybody and for ever, so that a band does not flicker. */
function standardNormals(n, seed = 0) {
  let state = seed >>> 0;
  const uniform = () => { // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return Float32Array.from({ length: n },
    () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}

/** Draws of everything that was not set by hand, decoded side by side; 5 % and 95 % of them at each place. */
async function bandOf(scene, run, { z, sds, moved, given, fromPrior, stale }) {
  const k = z.length, draws = new Float32Array(BAND_DRAWS * k), eps = standardNormals(BAND_DRAWS * k);
  const fixed = new Set(moved);
  for (let d = 0; d < BAND_DRAWS; d++) {
    for (let i = 0; i < k; i++) {
      draws[d * k + i] = fixed.has(i) ? z[i] : (fromPrior ? 0 : z[i]) + eps[d * k + i] * sds[i];
    }
  }
  const shown = scene.views.filter(({ kind }) => !["film", "picture", "classes", "text"].includes(kind));
  const all = {}, at_once = BAND_DRAWS / 4; // so that a hand that moves again does not wait for all of them
  for (let d = 0; d < BAND_DRAWS; d += at_once) {
    const outputs = await run(draws.slice(d * k, (d + at_once) * k), at_once, given);
    if (stale()) return null;
    for (const { name } of shown) {
      all[name] ??= new Float32Array(outputs[name].length * 4);
      all[name].set(outputs[name], (d / at_once) * outputs[name].length);
    }
  }
  return Object.fromEntries(shown.map(({ name }) => [name, tails(all[name], BAND_DRAWS)]));
}

/** The central 90 % of n draws at each place, linear between draws. */
function tails(values, n) {
  const size = values.length / n, low = new Float32Array(size), high = new Float32Array(size),
    sorted = new Float32Array(n);
  const at = 0.05 * (n - 1), i = Math.floor(at), w = at - i;
  for (let p = 0; p < size; p++) {
    for (let d = 0; d < n; d++) {
      const v = values[d * size + p];
      let j = d;
      while (j > 0 && sorted[j - 1] > v) sorted[j] = sorted[--j];
      sorted[j] = v;
    }
    low[p] = sorted[i] * (1 - w) + sorted[i + 1] * w;
    high[p] = sorted[n - 1 - i] * (1 - w) + sorted[n - 2 - i] * w;
  }
  return [low, high];
}

/** The kernel decodes: slower, and always there. */
function kernelDecoder(host, scene) {
  return { kind: "kernel", async decode({ z, row, given, edited }) {
    const began = performance.now();
    const answer = await host.ask({ ask: "decode", z: Array.from(z), row, given: plainGiven(given, edited) });
    const outputs = Object.fromEntries(scene.net.outputs.map((name, i) => [name, floats(answer.buffers[i])]));
    return { outputs, ms: answer.ms ?? performance.now() - began };
  }, async band({ z, start, moved, given, edited, row }) {
    const answer = await host.ask({ ask: "band", z: Array.from(z), row: start, moved,
      given: plainGiven(given, row === Math.max(0, start) ? edited : Object.keys(given)) });
    return Object.fromEntries(scene.views.map((view, i) => [view.name,
      [floats(answer.buffers[2 * i]), floats(answer.buffers[2 * i + 1])]]));
  } };
}

/** Of what the network needs beside the code, the inputs that were changed by hand. */
const plainGiven = (given, edited) => Object.fromEntries([...(edited ?? [])].map((name) => [name,
  Array.from(given[name])]));

/** What was told of each row beforehand: all there is of a model without latents that cannot be translated. */
function rowDecoder(scene, buffers) {
  const said = (name, row) => {
    const values = buffers[`rows:${name}`], n = values.length / scene.grid.rows;
    return values.subarray(n * row, n * row + n);
  };
  return { kind: "grid", band: async () => null, async decode({ row }) {
    return { ms: 0, outputs: Object.fromEntries(scene.views.map(({ name }) => [name, said(name, row)])) };
  } };
}

/** Precomputed traversals, one latent at a time from the mean, linear between their steps. */
function gridDecoder(scene, buffers) {
  if (!scene.grid.latents.length) return rowDecoder(scene, buffers);
  const { latents, values, views } = scene.grid, ids = scene.latents.map(({ id }) => id);
  const rows = latents.map((id) => ids.indexOf(id)), steps = Math.max(...values.map((v) => v?.length ?? 0));
  return { kind: "grid", only: new Set(rows), async decode({ z, latent }) {
    const began = performance.now(), row = Math.max(0, rows.indexOf(latent)), v = z[rows[row]], outputs = {};
    const at = values.length === rows.length ? values[row] : values[rows[row]];
    let i = 0;
    while (i < at.length - 2 && at[i + 1] <= v) i++;
    const w = Math.min(1, Math.max(0, (v - at[i]) / (at[i + 1] - at[i])));
    for (const { name, scale, offset } of views) {
      const grid = buffers[`grid:${name}`], n = grid.length / (rows.length * steps), from = (row * steps + i) * n,
        out = new Float32Array(n);
      const part = (x, j) => (Array.isArray(x) ? x[j % x.length] : x);
      for (let j = 0; j < n; j++) out[j] = part(offset, j) + part(scale, j) * ((1 - w) * grid[from + j]
        + w * grid[from + n + j]);
      outputs[name] = out;
    }
    return { outputs, ms: performance.now() - began };
  }, band: async () => null };
}

/** What tells Python of traits: at most every 50 ms, and the last value always. */
function sender(host, state) {
  let timer = 0, last = 0;
  return (name, value) => {
    if (!state.ready || !host.set) return;
    host.set(name, value);
    if (timer) return;
    const send = () => {
      [timer, last] = [0, performance.now()];
      host.save?.();
    };
    timer = setTimeout(send, Math.max(0, 50 - (performance.now() - last)));
  };
}

/** What only Python knows: attributions of what is told to what is given, and attention. */
function asking(host, its, state, ui, inputs, failed) {
  const now = () => ({ row: state.row, given: plainGiven(state.given, state.edited) });

  function forget() {
    if (!state.heat) return;
    state.heat = null;
    for (const card_ of inputs) card_.explain?.(null);
  }

  async function attribute(view, index) {
    forget();
    state.attributed = index >= 0 && [view, index];
    if (index < 0) return its.repaint();
    const { asked } = state, heat = {};
    try {
      const { buffers, views } = await host.ask({ ask: "attribution", view: view.name, index, ...now() });
      if (asked !== state.asked) return; // moved on: asked again at rest
      views.forEach((name, i) => (heat[name] = floats(buffers[i])));
    } catch (error) {
      state.why = error.message;
      return failed();
    }
    // a card draws differences: from the input less its attribution, that is the attribution
    const less = (name) => state.given[name].map((x, i) => x - (heat[name]?.[i] ?? 0));
    state.heat = Object.fromEntries(Object.keys(state.given).map((name) => [name, less(name)]));
    const what = `attribution to ${words((view.classes ?? view.columns ?? [])[index] ?? view.name)}`;
    for (const { view: { name }, explain } of inputs) if (heat[name]) explain?.(what, largestOf(heat[name]));
    its.repaint();
  }

  async function attention(again = false) {
    const on = again || ui.attention.getAttribute("aria-pressed") !== "true";
    ui.attention.setAttribute("aria-pressed", String(on));
    ui.matrices.hidden = !on;
    if (!on) return;
    try {
      const { maps, buffers } = await host.ask({ ask: "attention", z: Array.from(its.z), ...now() });
      if (maps.length) drawMatrices(ui.matrices, maps, buffers.map(floats), its);
      else ui.matrices.replaceChildren(make("p", {}, "No part of this model attends."));
    } catch (error) {
      ui.matrices.replaceChildren(make("p", { class: "ivk-note" }, error.message));
    }
  }

  return { attribute, attention, forget };
}
