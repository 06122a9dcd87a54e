"""What a person does to an explorer, and what is to be seen of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .chromium import PATIENCE

SHOTS = Path(__file__).parent / "screenshots"
PIXELS = """(nodes) => Object.fromEntries(nodes.map((node) => [`${node.dataset.view}/${node.dataset.part}`, (() => {
  const { data } = node.getContext("2d").getImageData(0, 0, node.width, node.height);
  let hash = 5381;
  for (let i = 0; i < data.length; i++) hash = ((hash * 33) ^ data[i]) >>> 0;
  return `${node.width}x${node.height}:${hash}`;
})()]))"""
UNFOLD = "(node) => { for (let up = node; up; up = up.parentElement) if (up.tagName === 'DETAILS') up.open = true; }"
WAIT = """async (node, { of, seconds }) => {
  const end = performance.now() + 1000 * seconds;
  while (!(node.ivekit && +node.dataset.painted > 0 && (!of || node.dataset.decoder === of))) {
    if (performance.now() > end) throw new Error(`still ${JSON.stringify(node.dataset)} after ${seconds} s`);
    await new Promise((soon) => setTimeout(soon, 50));
  }
}"""


class Explorer:
    """An explorer on a page, by its sliders, its pictures and its numbers."""

    def __init__(self, page: Any, which: int = 0):
        self.page, self.root = page, page.locator("[data-testid=explorer]").nth(which)
        self.root.wait_for()
        self.decodes_in("")

    def slider(self, latent: str) -> Any:
        """The slider of a latent, unfolded and in sight."""
        found = self.root.locator(f'input[data-latent="{latent}"]')
        found.evaluate(UNFOLD)
        found.scroll_into_view_if_needed()
        return found

    def latents(self) -> list[str]:
        """The latents in the order of the page."""
        return self.root.locator("input[data-latent]").evaluate_all("(nodes) => nodes.map((n) => n.dataset.latent)")

    def settled(self) -> None:
        """Waits until what is drawn is what the sliders say."""
        self.root.evaluate("async (node) => { await node.ivekit.settled(); }")

    def decodes_in(self, where: str) -> None:
        """Waits until something is drawn and the decoder is in the browser, or wherever it should be."""
        self.root.evaluate(WAIT, {"of": where, "seconds": PATIENCE / 1000})
        self.settled()

    def painted(self) -> int:
        """How many times it was redrawn."""
        return int(self.root.get_attribute("data-painted"))

    def z(self) -> np.ndarray:
        """The code, blocks side by side."""
        return np.array(self.root.evaluate("(node) => Array.from(node.ivekit.z())"), np.float64)

    def outputs(self) -> dict[str, np.ndarray]:
        """What is decoded, by view, flat."""
        told = self.root.evaluate(
            "(node) => Object.entries(node.ivekit.outputs()).map(([name, x]) => [name, Array.from(x)])"
        )
        return {name: np.array(x, np.float64) for name, x in told}

    def pixels(self) -> dict[str, str]:
        """A fingerprint of every canvas, as "view/part"."""
        return self.root.locator("canvas[data-view]").evaluate_all(PIXELS)

    def picture(self, view: str, part: str) -> np.ndarray:
        """The pixels of a canvas, (h, w, 4) from 0 to 255."""
        node = self.root.locator(f'canvas[data-view="{view}"][data-part="{part}"]').first
        w, h, flat = node.evaluate(
            """(node) => [node.width, node.height,
            Array.from(node.getContext("2d").getImageData(0, 0, node.width, node.height).data)]"""
        )
        return np.array(flat, np.uint8).reshape(h, w, 4)

    def drag(self, latent: str, to: float, steps: int = 8) -> None:
        """Drags a slider's thumb with the mouse to a part of its way, 0 at the left end and 1 at the right one."""
        slider = self.slider(latent)
        box = slider.bounding_box()
        y = box["y"] + box["height"] / 2
        self.page.mouse.move(self._thumb(slider, box), y)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + to * box["width"], y, steps=steps)
        self.page.mouse.up()
        self.settled()

    def _thumb(self, slider: Any, box: Mapping[str, float]) -> float:
        part = slider.evaluate("(node) => (node.value - node.min) / (node.max - node.min)")
        return box["x"] + 8 + part * (box["width"] - 16)  # half of a thumb is out of its reach at either end

    def press(self, latent: str, key: str, times: int = 1) -> None:
        """Presses a key on a slider."""
        self.slider(latent).focus()
        for _ in range(times):
            self.page.keyboard.press(key)
        self.settled()

    def click(self, action: str) -> None:
        """Clicks a button by what it does."""
        self.root.locator(f'[data-action="{action}"]').first.click()
        self.settled()

    def shot(self, name: str) -> None:
        """Keeps a screenshot for whoever wants to look."""
        SHOTS.mkdir(exist_ok=True)
        self.root.scroll_into_view_if_needed()
        self.root.screenshot(path=SHOTS / f"{name}.png")


NAMELESS = """(nodes) => nodes.filter((n) => n.checkVisibility?.() ?? true).filter((n) => {
  const labels = [...(n.labels ?? [])].some((label) => label.textContent.trim());
  const own = ["aria-label", "aria-labelledby", "title"].some((name) => n.getAttribute(name));
  return !(own || labels || (n.tagName === "BUTTON" && n.textContent.trim()) || n.closest("[aria-hidden=true]"));
}).map((n) => n.outerHTML.slice(0, 120))"""
FOCUSED = """(root) => {
  const n = document.activeElement;
  if (!n.closest(root)) return null;
  return n.dataset.action ?? n.dataset.latent ?? n.getAttribute("aria-label") ?? n.textContent.trim();
}"""


def unlabelled(page: Any, root: str) -> list[str]:
    """Controls in a part of a page that have no name for those who do not see them."""
    controls = ":is(input, select, button, [role=slider], [tabindex='0'], canvas)"
    return page.locator(f"{root} {controls}").evaluate_all(NAMELESS)


def tab_order(page: Any, root: str, most: int = 80) -> list[str]:
    """What the tab key reaches within a part of a page, from its first control on, in words."""
    controls = ":is(input, select, button, summary, [tabindex='0']):not([disabled]):not([tabindex='-1']):visible"
    page.locator(f"{root} {controls}").first.focus()
    seen: list[str] = []
    while len(seen) < most and (name := page.evaluate(FOCUSED, root)) is not None:
        seen.append(name)
        page.keyboard.press("Tab")
    return seen
