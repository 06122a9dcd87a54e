"""Figures as files that a journal takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text

from ..atomic import whole

KINDS = (".pdf", ".svg", ".png")
SMALLEST = 6  # pt


def save(figure: Any, path: str | Path, width: float | int | None = None) -> Path:
    """Store a figure as PDF, SVG or PNG: text as text, pictures at 300 dpi, the same bytes each time.

    figure : a figure, or axes of one. width : mm that the journal prints (85 a column, 170 a page); the figure must
    have been drawn for it, since scaling would scale the letters, too. Without, the figure's own.

    Raises
    ------
    ValueError : when the kind of file is unknown, the figure is of another width, or a text is below 6 pt.
    OSError : when it cannot be written; what was there before stays.

    >>> import tempfile
    >>> from ivekit.viz.style import canvas
    >>> with canvas(None, 40) as ax:
    ...     _ = ax.plot([0, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(ax, f"{folder}/line.pdf", width=85)
    ...     path.name, path.read_bytes()[:4]
    ('line.pdf', b'%PDF')
    """
    path, figure = Path(path).expanduser(), figure if isinstance(figure, Figure) else figure.figure
    if path.suffix not in KINDS:
        raise ValueError(f"a figure is stored as {', '.join(KINDS)}, not {path.name!r}")
    own = 25.4 * figure.get_figwidth()
    if width is not None and abs(own - width) > 1:
        raise ValueError(f"the figure is {own:.0f} mm wide, the journal prints {width:g} mm: draw it at that width")
    figure.canvas.draw()  # tick labels exist from here on
    if small := [t.get_text() for t in figure.findobj(Text) if t.get_visible() and _small(t)]:
        raise ValueError(f"texts below {SMALLEST} pt: {small[:5]}")
    stamp: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}[path.suffix]
    with plt.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "ivekit"}):
        with whole(path) as new:
            figure.savefig(new, dpi=300, metadata=stamp)
    return path


def _small(text: Text) -> bool:
    return bool(text.get_text().strip()) and float(text.get_fontsize()) < SMALLEST
