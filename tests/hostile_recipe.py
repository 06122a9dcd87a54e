"""Every name is one that would do something: </script><script>window.pwned=1</script> {{7*7}}

A recipe for the tests of pages.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import nn

import ivekit as ive
from ivekit import Sensors, Views
from ivekit.nn import Categorical, Gaussian, MLPDecoder, MLPEncoder, ProductOfExperts

# What each would do if it were taken for markup: set `pwned`, or end the element that it stands in.
NAME = "\"'><img src=x onerror=pwned=1>{{7*7}}${pwned=1}&lt;\u202e<!--"  # can be the name of a file and of a module
WORDS = "</script></style></title><script>window.pwned=1</script><svg onload='pwned=1'>" + NAME


def data(words: str = "", n: int = 60):
    """Sensors, a table and classes.

    words : <script>window.pwned=1</script>
    """
    z = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    places = 0.08 * np.stack([np.cos(angle), np.sin(angle)], 1)
    sensors = Sensors([f"{WORDS}{i}" for i in range(8)], places, ["mag"] * 8, 50.0, units=[WORDS] * 8)
    meg = z[:, :1, None] * torch.linspace(-1, 1, 8)[:, None] * torch.ones(5)
    frame = pd.DataFrame({"subject": [f"{WORDS}{i % 3}" for i in range(n)], WORDS: z[:, 0].numpy(), NAME: [WORDS] * n})
    columns = [f"{WORDS}{i}" for i in range(2)]
    return Views(
        {f"{NAME}meg": meg, f"{NAME}table": z, f"{NAME}class": (z[:, 1] > 0).long()},
        metadata=frame,
        about={
            f"{NAME}meg": sensors,
            f"{NAME}table": {"columns": columns, "units": [WORDS] * 2, WORDS: WORDS},
            f"{NAME}class": {"classes": [f"{WORDS}no", f"{WORDS}yes"], "column": WORDS},
        },
    )


class Classes(nn.Module):
    """Labels as one-hot numbers, encoded."""

    def __init__(self):
        super().__init__()
        self.net = MLPEncoder(2, 8)

    def forward(self, x):
        return self.net(nn.functional.one_hot(x, 2).float())


def model(data):
    """A small model of such rows, with a private block."""
    meg, table, label = data
    flat = nn.Sequential(nn.Flatten(), MLPEncoder(40, 8))
    return ive.MultimodalVAE(
        encoders={meg: flat, table: MLPEncoder(2, 8), label: Classes()},
        posterior=ProductOfExperts([meg, table, label], 8, 2),
        private={meg: ProductOfExperts([meg], 8, 1)},
        decoders={
            meg: Gaussian(MLPDecoder(3, (8, 5))),
            table: Gaussian(MLPDecoder(2, 2)),
            label: Categorical(MLPDecoder(2, 2)),
        },
    )


def objective():
    """The evidence bound."""
    return ive.Objective(nll=ive.NLL(), kl=ive.KL())


def of_sensors():
    """A small model of one view, whose name does nothing: its decoder can be translated."""
    encoder = nn.Sequential(nn.Flatten(), MLPEncoder(40, 8))
    decoder = Gaussian(MLPDecoder(2, (8, 5)))
    return ive.MultimodalVAE({"meg": encoder}, ProductOfExperts(["meg"], 8, 2), {"meg": decoder})
