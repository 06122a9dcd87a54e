"""Live latents: what a model tells, redrawn while sliders turn; in a notebook, or in one page without Python.

``explore(model, views)`` is the explorer; ``explore.attention``, ``explore.attribution`` and
``explore.disentanglement`` are small panels of their own, made of the same parts.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .explorer import Explorer
from .explorer import explore as _explore

__all__ = ["Explorer", "explore"]

_PANELS = ("attention", "attribution", "disentanglement")


class _Explore:
    """`explorer.explore`, with the panels as its attributes."""

    __doc__ = str(_explore.__doc__).split(">>>")[0]  # the example is run where it stands
    __name__ = "explore"
    __wrapped__ = staticmethod(_explore)
    __call__ = staticmethod(_explore)

    def __getattr__(self, name: str) -> Any:
        if name in _PANELS:
            return getattr(import_module(f"{__name__}.panels"), name)
        raise AttributeError(f"explore has no {name!r}; there are {', '.join(_PANELS)}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *_PANELS]

    def __repr__(self) -> str:
        return f"<explore; panels: {', '.join(_PANELS)}>"


explore = _Explore()
