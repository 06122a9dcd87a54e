"""What every simulator returns: the data and the truth that made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from ..views import Views


@dataclass(frozen=True, repr=False, eq=False)
class World:
    """Simulated data together with the truth that made them.

    Parameters
    ----------
    views : the data.
    factors : the true factors, one column a factor, one row a row of the views.
    owners : factor -> the names of the views that it drives.
    topographies : factor -> its field at the sensors, in the MEG's units per unit of the factor at the course's peak.
    time_courses : factor -> its course, 1 at the peak. Both only for factors that have them.
    clean : view -> what its rows would be without noise and without holes, where the simulator knows it.
    pixels : factor -> the pixels of a film, of a row's shape, that it moves, where the simulator knows them.
    places : factor -> where its source is, (x, y, z) in metres and head coordinates, in a head that lies as usual.

    Raises
    ------
    ValueError : when the factors have other rows than the views, or other names than the owners.

    >>> import torch
    >>> views = Views({"heart": torch.zeros(3, 50), "skin": torch.zeros(3, 20)})
    >>> World(views, pd.DataFrame({"arousal": [0.1, -0.4, 0.8]}), {"arousal": frozenset({"heart", "skin"})})
    World of 3 rows: heart (50), skin (20)
      arousal  heart skin
    """

    views: Views
    factors: pd.DataFrame
    owners: Mapping[str, frozenset[str]]
    topographies: Mapping[str, Float[np.ndarray, " c"]] = field(default_factory=dict)
    time_courses: Mapping[str, Float[np.ndarray, " t"]] = field(default_factory=dict)
    clean: Mapping[str, Float[np.ndarray, "b ..."]] = field(default_factory=dict)
    pixels: Mapping[str, Bool[np.ndarray, "..."]] = field(default_factory=dict)
    places: Mapping[str, Float[np.ndarray, "3"]] = field(default_factory=dict)

    def __post_init__(self):
        if len(self.factors) != len(self.views):
            raise ValueError(f"{len(self.factors)} rows of factors for {len(self.views)} rows of views")
        if set(self.owners) != set(self.factors.columns):
            raise ValueError(f"owners are given for {list(self.owners)}, the factors are {list(self.factors.columns)}")
        for factor, names in self.owners.items():
            if unknown := set(names) - set(self.views):
                raise ValueError(f"{factor} drives {sorted(unknown)}, the views are {list(self.views)}")

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} ({', '.join(map(str, self.views[name].shape[1:]))})" for name in self.views)
        width = max(map(len, self.owners)) + 2
        drives = [
            f"  {factor:{width}}{' '.join(name for name in self.views if name in names)}"
            for factor, names in self.owners.items()
        ]
        return "\n".join([f"World of {len(self.views)} rows: {shapes}", *drives])
