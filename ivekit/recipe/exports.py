"""A run for other programs: tables, arrays, MNE's files and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from .. import explain
from ..distributions import Autoregressive
from ..io import to_epochs, to_evoked, to_frame, write_results
from ..signal import Sensors
from ..store import whole
from ..training import latents
from ..training.evaluation import still
from ..views import Views
from ..watch import read_csv
from .rows import parts
from .run import SHOWN, reconstructions

EXPLAINED = 64  # test rows that attributions are averaged over


def export(folder: str | Path, out: str | Path, model: nn.Module, data: Views) -> list[Path]:
    """Writes what a run found to a folder, whole or not at all; returns its files.

    - latents.parquet: every row's metadata, its split among them, and its latents.
    - scores.parquet, losses.parquet: those of the run's folder.
    - arrays.npz, of the test rows: ``told/VIEW``, the mean of the model's likelihood in the data's units (of classes,
      their probabilities), and ``row``, their numbers in latents.parquet; ``attribution/VIEW`` (k, ...), how much each
      element adds to each latent, its size averaged over the first test rows (integrated gradients), in the latents'
      own units, and ``latent``, which these are. `ivekit.io.read_results` reads tables and arrays.
    - of MEG and EEG, for MNE: VIEW_epo.fif, the test rows; VIEW-told_epo.fif, as the model tells them;
      VIEW-attribution-ave.fif, an Evoked a latent.
    - figures of what the model tells beside what was recorded, PNG.

    Raises
    ------
    FileExistsError : when `out` is there and holds anything.
    """
    folder, out = Path(folder), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} holds something already: name another folder")
    test = parts(data)["test"]
    told, why = _told(model, test), _attributions(model, test[:EXPLAINED])
    arrays: dict[str, Any] = {f"told/{name}": x for name, x in told.items()}
    arrays["row"] = np.flatnonzero(data.metadata["split"] == "test")  # type: ignore[index]
    if why is not None:
        arrays |= {f"attribution/{name}": x for name, x in why.items()}
        arrays["latent"] = np.array([f"{block} {i}" for block, i in why.latents])
    with whole(out) as new:
        write_results(new, _tables(folder, model, data), arrays)
        _write_mne(new, test, told, why)
        for name, figure in reconstructions(model, test[:SHOWN]).items():
            figure.savefig(new / f"{name.replace(' ', '-')}.png", dpi=200)
    return sorted(out.iterdir())


def _tables(folder: Path, model: nn.Module, data: Views) -> dict[str, pd.DataFrame]:
    codes = latents(model, data) if hasattr(model, "encode") else {}
    tables = {"latents": to_frame(codes, data.metadata)}
    if (folder / "scores.json").exists():
        tables["scores"] = _scores(json.loads((folder / "scores.json").read_text(encoding="utf-8")))
    if (folder / "losses.csv").exists():
        tables["losses"] = read_csv(folder / "losses.csv")
    return tables


def _scores(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> pd.DataFrame:
    """A row a score, with the ends of the model's interval in columns of their own."""
    rows = []
    for view, metrics in scores.items():
        for metric, said in metrics.items():
            low, high = said.get("interval") or (np.nan, np.nan)
            rest = {who: score for who, score in said.items() if who != "interval"}
            rows.append({"view": view, "metric": metric, **rest, "low": low, "high": high})
    return pd.DataFrame(rows)


def _told(model: nn.Module, rows: Views) -> dict[str, Tensor]:
    """The mean of each likelihood, in the data's units; of text, what the model would write."""
    found: dict[str, list[Tensor]] = {}
    with still(model) as device:
        for batch in rows.loader(SHOWN):
            for name, p in model(batch.to(device)).p.items():
                found.setdefault(name, []).append((p.mode if isinstance(p, Autoregressive) else p.mean).cpu())
    return {name: torch.cat(batches) for name, batches in found.items()}


def _attributions(model: nn.Module, rows: Views) -> explain.Attribution | None:
    """How much each element adds to each latent, without its sign, on average over rows."""
    if not hasattr(model, "encode"):
        return None
    found = explain.attribute_latents(model, rows)
    means = {name: x.abs().mean(0).cpu() for name, x in found.items()}
    return explain.Attribution(means, found.method, found.baseline, None, found.latents)


def _write_mne(folder: Path, rows: Views, told: Mapping[str, Tensor], why: explain.Attribution | None) -> None:
    import mne

    for name in rows:
        about = rows.about.get(name)
        if not isinstance(about, Sensors) or not {"mag", "grad", "eeg"} & set(about.kinds):
            continue
        if bool(rows.rows_present(name).any()):
            to_epochs(rows, name).save(folder / f"{name}_epo.fif", verbose="error")
        if name in told:
            to_epochs(rows, name, told[name]).save(folder / f"{name}-told_epo.fif", verbose="error")
        if why is not None and name in why:
            fields = [to_evoked(rows, name, x) for x in why[name]]
            for field, (block, i) in zip(fields, why.latents):
                field.comment = f"{block} {i}"
            mne.write_evokeds(folder / f"{name}-attribution-ave.fif", fields, verbose="error")
