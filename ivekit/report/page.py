"""One HTML page that needs nothing but itself: tags, tables, and figures as inline SVG in the page's own ink."""

from __future__ import annotations

import html
import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from .. import store, viz

# A colour no figure uses: where it is drawn, the page's text colour stands afterwards, dark or light as the reader's.
INK = "#010203"
ON_PAGE: dict[Any, Any] = viz.STYLE | {
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # words stay words: they can be searched, copied and read aloud
    "savefig.dpi": 200,
}


DIGITS = re.compile(r"(\.\d\d)\d+")  # a hundredth of a point is finer than any screen


class Markup(str):
    """Text that is HTML already, and is not escaped again."""


def escaped(inside: Any) -> Markup:
    """What anything looks like on the page; only `Markup` is taken as HTML.

    >>> escaped("<script>"), escaped(Markup("<b>yes</b>")), escaped(["a", 1])
    ('&lt;script&gt;', '<b>yes</b>', 'a1')
    """
    if isinstance(inside, Markup):
        return inside
    if isinstance(inside, list | tuple):
        return Markup("".join(escaped(part) for part in inside))
    return Markup(html.escape("" if inside is None else str(inside)))


def tag(name: str, *inside: Any, **attributes: Any) -> Markup:
    """An HTML element; what is inside and its attributes are escaped (``class_`` is the attribute class).

    >>> tag("p", "5 < 6, ", tag("em", "always"), class_="note")
    '<p class="note">5 &lt; 6, <em>always</em></p>'
    """
    said = "".join(f' {key.rstrip("_")}="{html.escape(str(value))}"' for key, value in attributes.items())
    return Markup(f"<{name}{said}>{escaped(inside)}</{name}>")


def coded(text: str) -> Markup:
    """Words, of which those between backticks are names in the code.

    >>> coded("see `Card` <now>")
    'see <code>Card</code> &lt;now&gt;'
    """
    return escaped([tag("code", part) if i % 2 else part for i, part in enumerate(text.split("`"))])


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], text_columns: int = 1) -> Markup:
    """A table, whose first columns are text and the others numbers.

    >>> '<tr><td>meg</td><td class="number">12</td></tr>' in table(["view", "rows"], [["meg", 12]])
    True
    """

    def cells(kind: str, row: Sequence[Any]) -> list[Markup]:
        return [tag(kind, x) if i < text_columns else tag(kind, x, class_="number") for i, x in enumerate(row)]

    body = tag("tbody", [tag("tr", cells("td", row)) for row in rows])
    return tag("div", tag("table", tag("thead", tag("tr", cells("th", head))), body), class_="wide")


class Pictures:
    """Draws figures for one page: SVG in the page's ink, numbered, with a caption."""

    def __init__(self):
        self.count = 0

    def __call__(self, size: tuple[float | int, float | int], draw: Callable[[Figure], Any], caption: Any) -> Markup:
        """A figure of `size` millimetres that `draw` fills, above its caption.

        >>> pictures = Pictures()
        >>> html = pictures((50, 30), lambda figure: figure.subplots().plot([1, 2]), "A line.")
        >>> html[:33], html[-58:]
        ('<figure><div class="drawing"><svg', '<figcaption><b>Figure 1. </b>A line.</figcaption></figure>')
        """
        return self.given(self.svg(size, draw, f"Figure {self.count + 1}"), caption)

    def given(self, drawing: Markup, caption: Any) -> Markup:
        """A figure that is drawn already, with the next number and its caption."""
        self.count += 1
        words = tag("figcaption", tag("b", f"Figure {self.count}. "), caption)
        return tag("figure", tag("div", drawing, class_="drawing"), words)

    def svg(self, size: tuple[float | int, float | int], draw: Callable[[Figure], Any], label: str) -> Markup:
        """The picture alone; the same arrays give the same bytes."""
        look: dict[Any, Any] = {**ON_PAGE, "svg.hashsalt": label}
        with matplotlib.rc_context(look):
            figure = Figure(figsize=(size[0] / 25.4, size[1] / 25.4), layout="constrained")
            draw(figure)
            file = io.StringIO()
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        return Markup(_inline(file.getvalue(), label))


def _inline(svg: str, label: str) -> str:
    """An SVG file as a part of an HTML page: its namespaces are known there, and names of groups would collide."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\s(xmlns(:xlink)?|version)="[^"]*"', "", body)
    body = re.sub(r'\sid="[\w.]+_\d+"', "", body)
    body = re.sub(r'\s(d|points|x|y)="[^"]*"', lambda m: DIGITS.sub(r"\1", m[0]), body)
    # a tenth larger than in print: eight points are small on a screen
    body = re.sub(r'(width|height)="([\d.]+)pt"', lambda m: f'{m[1]}="{1.08 * float(m[2]):.1f}pt"', body, count=2)
    return (
        body.strip()
        .replace(INK, "currentColor")
        .replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)
    )


def whole(title: str, body: Sequence[Any]) -> str:
    """The page: title, style and body."""
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    head = [
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        tag("title", title),
        tag("style", Markup(style)),
    ]
    return "<!DOCTYPE html>\n" + tag("html", tag("head", head), tag("body", tag("main", list(body))), lang="en") + "\n"


def put(path: str | os.PathLike, text: str) -> Path:
    """Write a file whole or not at all: whoever looks finds the old page or the new one.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     put(Path(folder, "page.html"), "hello").read_text()
    'hello'
    """
    with store.whole(path) as new:
        new.write_text(text, encoding="utf-8")
    return Path(path)
