"""An explorer as one HTML page that needs no Python, no server and no network.

Whole, it carries ONNX Runtime web and the decoder, so that any number of latents can be turned at once; light, or
where a decoder cannot be translated, traversals that were decoded beforehand, one latent at a time. Measured for the
default model: a decoder written by hand in JavaScript would make a page of 1.3 MB but serve one architecture; the
runtime makes it 9 MB and serves all; a grid is under 3 MB. So the runtime is the rule and the grid the light form.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from ..store import whole
from .answers import RUNTIME, STATIC
from .grid import grid
from .scene import Scene

# nothing may be fetched; scripts are those in the page, the runtime among them, which is imported from a blob
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'wasm-unsafe-eval' blob:; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src data: blob:; base-uri 'none'; form-action 'none'"
)
PAGE_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 84rem; padding: 1rem; font: 14px/1.45 system-ui, sans-serif; }
details { margin-top: 1rem; } noscript img { max-width: 100%; }
table { border-collapse: collapse; } th, td { text-align: left; vertical-align: top; padding: .15rem .8rem .15rem 0; }
pre { white-space: pre-wrap; font-size: .8rem; }
"""


def write(
    path: str | os.PathLike, scene: Scene, script: str, style: str, net: bytes | None, why: str, picture: bytes = b""
) -> Path:
    """Writes the page whole or not at all: whoever looks finds the old one or the new one.

    net : the decoder as ONNX; without it the page holds traversals, and `why`, in words.
    """
    with whole(path) as new:
        new.write_text(text(scene, script, style, net, why, picture), encoding="utf-8")
    return Path(path)


def text(scene: Scene, script: str, style: str, net: bytes | None, why: str, picture: bytes = b"") -> str:
    """The page."""
    said, buffers = dict(scene.said), dict(scene.buffers)
    if net is None:
        found, more = grid(scene)
        said["grid"], buffers = found, buffers | more
        said["net"] = {"how": "grid", "inputs": scene.decode.inputs, "outputs": scene.decode.names, "why": why}
        said["warnings"] = [*said["warnings"], f"{found['said']}{f' ({why})' if why else ''}."]
    else:
        said["net"] = said["net"] | {"how": "onnx"}
    told, raw = pack(buffers)
    title = str(said["title"] or "Latent explorer")
    parts = {"buffers": zipped(raw)}
    if net is not None:
        parts |= {"net": zipped(net)}
        parts |= {name: _base64((STATIC / file).read_bytes()) for name, file in zip(("mjs", "wasm"), RUNTIME)}
    baked = "\n".join(f'<script type="text/plain" id="ivekit-{name}">{x}</script>' for name, x in parts.items())
    module = script + "\n" + (STATIC / "page.js").read_text(encoding="utf-8")
    if "</script" in module.lower():
        raise ValueError("the explorer's script ends its own element: it holds </script")
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>{html.escape(title)}</title><style>{PAGE_STYLE}{style}</style></head><body>
<main><div id="ivekit-explorer">Opening …</div>
<noscript><p>The sliders need JavaScript; this is where they start.</p>{_picture(picture)}</noscript>
{_provenance(scene, net is not None)}</main>
<script type="application/json" id="ivekit-scene">{_json({"scene": said, "buffers": told})}</script>
{baked}
<script type="module">
{module}
</script></body></html>
"""


def pack(buffers: dict[str, ndarray]) -> tuple[list[dict[str, Any]], bytes]:
    """Arrays one after another, as small as they can be told: a list of what each is, and the bytes.

    A field map's matrix is kept in steps of a 32767th of its largest number, traversals by the difference from step to
    step; both are undone when the page opens.

    >>> told, raw = pack({"codes": np.zeros((2, 3), np.float32), "grid:a": np.array([[[5], [7], [8]]], np.uint8)})
    >>> told[1]["name"], told[1]["stored"], list(raw[-3:])
    ('grid:a', 'u1', [5, 2, 1])
    """
    told, parts, at = [], [], 0
    for name, x in buffers.items():
        one: dict[str, Any] = {"name": name, "dtype": x.dtype.str[1:], "shape": list(x.shape)}
        if name.startswith("topo:"):
            one["scale"] = float(np.abs(x).max()) / 32767
            x = np.round(x / one["scale"]).astype(np.int16)
        if name.startswith("grid:"):
            one |= {"step": int(np.prod(x.shape[2:])), "lap": int(np.prod(x.shape[1:]))}
            x = np.concatenate([x[:, :1], x[:, 1:] - x[:, :-1]], 1)  # whole numbers of a byte come round
        raw = np.ascontiguousarray(x).tobytes()
        told.append(one | {"stored": x.dtype.str[1:], "at": at, "bytes": len(raw)})
        parts.append(raw)
        at += len(raw)
    return told, b"".join(parts)


def zipped(raw: bytes) -> str:
    """Bytes as text for a page; the same bytes give the same text.

    >>> base64.b64decode(zipped(b"abc"))[:2].hex()
    '1f8b'
    """
    return _base64(gzip.compress(raw, 9, mtime=0))


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _json(x: Any) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(x, allow_nan=False, ensure_ascii=True).replace("<", "\\u003c")


def _picture(png: bytes) -> str:
    return f'<img alt="the explorer at its start" src="data:image/png;base64,{_base64(png)}">' if png else ""


def _provenance(scene: Scene, runs: bool) -> str:
    """Where it comes from, the verdicts, and the licence of what runs in the page."""
    rows = [f"<tr><th>{html.escape(key)}</th><td>{html.escape(value)}</td></tr>" for key, value in scene.said["about"]]
    checked = [(one["name"], one["verdict"]["text"]) for one in scene.said["latents"] if one["verdict"]]
    verdicts = [f"<tr><th>{html.escape(name)}</th><td>{html.escape(said)}</td></tr>" for name, said in checked]
    found = f"<table>{''.join(verdicts)}</table>" if verdicts else "<p>No latent was checked.</p>"
    notice = html.escape((STATIC / "NOTICE").read_text(encoding="utf-8")) if runs else ""
    licence = f"<details><summary>Licence of the runtime in this page</summary><pre>{notice}</pre></details>"
    return (
        f"<details open><summary>Where this comes from</summary><table>{''.join(rows)}</table></details>"
        f"<details><summary>Verdicts of the checks</summary>{found}</details>{licence if runs else ''}"
    )
