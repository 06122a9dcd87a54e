"""The guard, for readers."""

from ..guard import available, fits, reachable, reading

__all__ = ["available", "fits", "reachable", "reading"]
