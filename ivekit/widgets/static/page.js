// The host of an exported page: everything it answers was baked in. It runs after the explorer's own files, in their
// module, and makes no request: what is large is base64 of gzip in <script type="text/plain" id="ivekit-...">.
{
  const text = (name) => document.getElementById(`ivekit-${name}`)?.textContent.trim() ?? null;

  function bytes(base64) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
    const binary = atob(base64), out = new Uint8Array(binary.length);
    for (let i = 0; i < out.length; i++) out[i] = binary.charCodeAt(i);
    return out;
  }

  async function unzipped(name) {
    const base64 = text(name);
    if (base64 === null) return null;
    const stream = new Blob([bytes(base64)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  const TYPES = { f4: Float32Array, u1: Uint8Array, i2: Int16Array };

  /** An array as it was: small whole numbers become what they stand for, differences are summed up. */
  function restored(raw, told) {
    const x = new TYPES[told.stored](raw.slice(told.at, told.at + told.bytes).buffer);
    if (told.stored === "i2") return Float32Array.from(x, (q) => q * told.scale);
    if (told.step) for (let i = 0; i < x.length; i++) if (i % told.lap >= told.step) x[i] += x[i - told.step];
    return x;
  }

  async function scene() {
    const { scene, buffers } = JSON.parse(text("scene")), raw = await unzipped("buffers");
    return { scene, buffers: Object.fromEntries(buffers.map((told) => [told.name, restored(raw, told)])) };
  }

  const host = {
    kind: "page",
    live: false,
    scene,
    runtime: async () => (text("wasm") === null ? null : Promise.all([unzipped("mjs"), unzipped("wasm")])),
    net: () => unzipped("net"),
    async ask(question) {
      if (question.ask === "band") return null;
      throw new Error("this page holds no answer to that: it needs a running notebook");
    },
  };
  const here = document.getElementById("ivekit-explorer");
  here.textContent = "";
  Promise.resolve(mount(here, host)).catch((error) => {
    here.textContent = `This page could not be opened: ${error.message}`;
  });
}
