"""The guard, for readers."""

from ..guard import available, fits, reading

__all__ = ["available", "fits", "reading"]
