"""What is larger than memory stays on disk: rows are read when they are asked for, and nothing else changes."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from einops import rearrange
from torch import Tensor

from ivekit import Views, guard, ondisk
from ivekit.masks import masked_share
from ivekit.ondisk import OnDisk, blocks
from ivekit.recipe.rows import few


@pytest.fixture
def on_disk(tmp_path, monkeypatch):
    """A tensor (50, 3, 4) on disk, and the same in memory."""
    monkeypatch.setattr(ondisk, "LARGE", 500)
    x = torch.randn(50, 3, 4, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "x.npy", x.numpy())
    return ondisk.opened(np.load(tmp_path / "x.npy", mmap_mode="c")), x


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """60 saved rows of three subjects, a film that is on disk when it is opened and whose pixels are masked in part."""
    monkeypatch.setattr(ondisk, "LARGE", 2000)
    monkeypatch.setattr(ondisk, "BLOCK", 700)
    noise = torch.Generator().manual_seed(0)
    film = torch.randn(60, 2, 5, 5, generator=noise)
    there = torch.rand(60, 2, 5, 5, generator=noise) > 0.1
    there[7] = False
    frame = pd.DataFrame({"subject": ["s1", "s2", "s3"] * 20})
    views = Views({"film": film, "rt": torch.rand(60, 1, generator=noise)}, {"film": there}, frame)
    views.save(tmp_path / "rows")
    return tmp_path / "rows", views


INDICES = [
    3, -1, slice(5, 45), slice(None, None, 3), slice(4, 2), [1, 1, 0], range(4), torch.tensor([49, 0, -2]),
    torch.arange(50) % 3 == 0, np.arange(50) % 7 == 0, (slice(None), 1), (3, ..., 2), None, ..., True, [],
    np.int64(7), torch.tensor(-3), np.array([2, 1], np.int32),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_any_index_gives_what_it_gives_in_memory(on_disk, index):
    disk, memory = on_disk
    assert torch.equal(disk[index] + 0, memory[index])
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    assert type(disk[order]) is OnDisk and torch.equal(disk[order][index] + 0, memory[order][index])


@pytest.mark.parametrize("index", [np.int64(7), torch.tensor(-3)], ids=repr)
def test_one_row_is_read_by_itself_however_its_number_is_written(on_disk, index, monkeypatch):
    monkeypatch.setattr(OnDisk, "whole", lambda self: pytest.fail("it was read whole"))
    assert torch.equal(on_disk[0][::2][index], on_disk[1][::2][int(index)])


def test_few_rows_are_read_and_many_stay_on_disk(on_disk):
    disk, _ = on_disk  # a row is 48 bytes, 10 of them are not more than 500
    assert type(disk) is OnDisk and type(disk[:10]) is Tensor and type(disk[:11]) is OnDisk
    assert type(disk[40:][:10]) is Tensor and disk[::2].shape == (25, 3, 4) and len(disk[::2]) == 25
    assert repr(disk) == "OnDisk((50, 3, 4), torch.float32)"


@pytest.mark.parametrize(
    "does",
    [
        lambda x: x.numpy(),
        lambda x: np.asarray(x),
        lambda x: x.tolist(),
        lambda x: x.double(),
        lambda x: x * 2 - x,
        lambda x: -x @ x.mT,
        lambda x: x.sum((0, 2)),
        lambda x: torch.cat([x, x]) + 0,
        lambda x: torch.cat([x, x + 1]),
        lambda x: torch.cat([x, x], 1),
        lambda x: torch.stack([x, x + 1], 1),
        lambda x: torch.zeros_like(x),
        lambda x: rearrange(x, "b c t -> c (b t)"),
        lambda x: x[x > 0],
        lambda x: torch.nn.functional.conv1d(x, torch.ones(2, 3, 1)),
        lambda x: torch.stack(tensors=[x]),
        lambda x: torch.add(input=x, other=1),
        lambda x: copy.deepcopy(x) + 0,
        lambda x: pickle.loads(pickle.dumps(x)) + 0,
        lambda x: list(x)[4],
        lambda x: x.clone().mul_(2),
        lambda x: (x.nbytes, x.shape, x.ndim, x.device, x.numel(), x.is_floating_point(), x.dtype),
    ],
)
def test_whatever_is_done_to_it_gives_what_it_gives_in_memory(on_disk, does):
    disk, memory = on_disk
    for x, y in ((disk, memory), (disk[::2], memory[::2])):
        found, expected = does(x), does(y)
        assert type(found) is type(expected)
        assert found == expected if isinstance(found, tuple) else np.array_equal(found, expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.add_(1),
        lambda x: x.zero_(),
        lambda x: x.__setitem__(0, 1.0),
        lambda x: x.__iadd__(1),
        lambda x: torch._foreach_add_([torch.zeros(50, 3, 4), x], 1),
        lambda x: setattr(x, "data", torch.zeros(50, 3, 4)),
        lambda x: torch.add(torch.zeros(50, 3, 4), 1, out=x),
    ],
)
def test_it_cannot_be_changed(on_disk, change):
    with pytest.raises(ValueError, match="cannot be changed, but its clone"):
        change(on_disk[0])


def test_rows_of_one_file_are_put_together_without_reading_them(folder, monkeypatch):
    path, views = folder
    opened = Views.open(path)
    rest, held_out = opened.split(by="subject", held_out="s2")
    monkeypatch.setattr(OnDisk, "whole", lambda self: pytest.fail("it was read whole"))
    again = Views.concat([rest, held_out])
    order = np.r_[np.flatnonzero(np.arange(60) % 3 != 1), np.arange(1, 60, 3)]
    assert type(again["film"]) is OnDisk and torch.equal(again["film"][::7], views["film"][order][::7])
    assert type(opened.mask_nan()["film"]) is OnDisk, "nothing to mask: nothing is read whole"


def test_rows_are_counted_from_the_end_and_no_others_are_taken(on_disk):
    disk, memory = on_disk
    assert torch.equal(OnDisk(disk.array, torch.tensor([-1, 3])) + 0, memory[[-1, 3]])
    with pytest.raises(IndexError, match="rows -51 to 0 of .*x.npy, which has 50"):
        OnDisk(disk.array, torch.tensor([0, -51]))


def test_rows_that_were_saved_over_are_an_error_and_no_other_rows(folder):
    path, views = folder
    opened = Views.open(path)
    some = opened[torch.arange(59, -1, -1)]
    pickled = pickle.dumps(some["film"])
    some.save(path)
    assert torch.equal(Views.open(path)["film"] + 0, views["film"].flip(0))
    for old in (opened["film"], some["film"], pickle.loads(pickled), opened["film"][20:50]):
        for read in (lambda x: x[1], lambda x: x[2:4], lambda x: x + 0):
            with pytest.raises(ValueError, match=r"film.npy is not the file any more that was opened"):
                read(old)


def test_a_deep_copy_is_of_the_same_file_and_reads_nothing(folder, monkeypatch):
    monkeypatch.setattr(OnDisk, "_read", lambda *_: pytest.fail("it was read"))
    monkeypatch.setattr(OnDisk, "whole", lambda *_: pytest.fail("it was read whole"))
    film = Views.open(folder[0])["film"]
    for one in (film, film[::2]):
        both = copy.deepcopy({"a": one, "b": [one]})
        assert both["a"] is both["b"][0] is not one and type(both["a"]) is OnDisk
    monkeypatch.undo()
    assert torch.equal(both["a"] + 0, folder[1]["film"][::2])
    with pytest.raises(ValueError, match="cannot be changed"):
        both["a"].zero_()


def test_a_selection_is_read_whole_only_where_it_fits_in_memory(on_disk, monkeypatch):
    disk, memory = on_disk
    monkeypatch.setattr(guard, "available", lambda: 1000)
    with pytest.raises(ValueError, match="x.npy would take .* it must be read in parts"):
        disk[::2].sum()  # 1200 bytes
    assert torch.equal(disk[:20] + 0, memory[:20]) and torch.equal(disk.sum(0), memory.sum(0))  # a map takes none


def test_what_is_made_of_it_is_nobody_elses(on_disk):
    disk, memory = on_disk
    for x, y in ((disk, memory), (disk[::2], memory[::2])):
        x[:, 0].zero_()
        np.asarray(x)[:] = 7
        x.detach().add_(1)
        assert torch.equal(x + 0, y) and torch.equal(x[3], y[3])


def test_a_file_that_is_cut_later_is_an_error_and_no_crash(on_disk):
    disk, memory = on_disk
    path = Path(disk.array.filename)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 60)
    assert torch.equal(disk[:5], memory[:5])
    with pytest.raises(ValueError, match="x.npy was cut short: it ends within row 48 of 50"):
        disk[[48, 49]]


def test_blocks_are_all_rows_once(monkeypatch):
    monkeypatch.setattr(ondisk, "BLOCK", 60)
    x = torch.arange(50.0).reshape(10, 5)
    parts = [x[rows] for rows in blocks(x)]
    assert [len(part) for part in parts] == [3, 3, 3, 1] and torch.equal(torch.cat(parts), x)
    assert [len(x[:0][rows]) for rows in blocks(x[:0])] == [0]
    monkeypatch.setattr(ondisk, "BLOCK", 1)  # a row is larger than a block
    assert [len(x[rows]) for rows in blocks(x)] == [1] * 10


def test_views_that_are_opened_are_those_that_were_saved(folder):
    path, views = folder
    opened = Views.open(path)
    assert type(opened["film"]) is OnDisk and type(opened["rt"]) is Tensor
    assert repr(opened) == repr(views) and masked_share(opened.present["film"]) == masked_share(views.present["film"])
    assert torch.equal(opened.rows_present("film"), views.rows_present("film"))
    train, test = opened.split("subject", "s2")
    kept, _ = views.split("subject", "s2")
    assert type(train["film"]) is OnDisk and len(test) == 20
    for got, expected in zip(train.loader(8, shuffle=True, seed=3), kept.loader(8, shuffle=True, seed=3)):
        assert type(got["film"]) is Tensor and torch.equal(got["film"], expected["film"])
        assert torch.equal(got.present["film"], expected.present["film"])
        assert got.metadata.equals(expected.metadata)


def test_rows_that_are_on_the_device_already_stay_on_disk(folder):
    path, views = folder
    some = Views.open(path)[torch.arange(50)].to("cpu")
    assert type(some["film"]) is OnDisk and type(some.present["film"]) is OnDisk
    assert torch.equal(some["film"] + 0, views["film"][:50])
    assert some.to("meta")["film"].device.type == "meta"


def test_a_selection_is_saved_block_by_block(folder, tmp_path, monkeypatch):
    path, views = folder
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(2))[:50]
    monkeypatch.setattr(OnDisk, "whole", lambda self: pytest.fail("it was read whole"))
    Views.open(path)[rows].save(tmp_path / "some")
    monkeypatch.undo()
    again = Views.open(tmp_path / "some")
    assert torch.equal(again["film"], views["film"][rows])
    assert torch.equal(again.present["film"], views.present["film"][rows])


def test_a_number_that_is_not_finite_is_found_block_by_block(folder, monkeypatch):
    path, views = folder
    monkeypatch.setattr(OnDisk, "whole", lambda self: pytest.fail("it was read whole"))
    assert len(Views.open(path).require_finite()) == 60
    array = np.load(path / "film.npy", mmap_mode="r+")
    array[7, 0, 0, 0] = np.nan  # row 7 is masked
    assert len(Views.open(path).require_finite()) == 60
    where = views.present["film"][50].nonzero()[:2]
    for place in where.tolist():
        array[50, *place] = np.inf
    with pytest.raises(ValueError, match="'film' holds 2 values that are not a finite number, first in row 50"):
        Views.open(path).require_finite()


def test_of_rows_larger_than_memory_some_are_drawn_for_scores(folder, caplog):
    path, views = folder
    assert few(views, 100) is views and len(few(Views.open(path), 10**6)) == 60
    with caplog.at_level("WARNING", "ivekit"):
        some = few(Views.open(path), 2040)  # a row is 204 bytes
    assert len(some) == 10 and "10 of 60 rows, drawn at random" in caplog.text
    assert torch.equal(some["film"], few(Views.open(path), 2040)["film"]) and type(some["film"]) is Tensor
    places = [int((views["rt"] == rt).all(1).nonzero()) for rt in some["rt"]]
    assert places == sorted(places) and places != list(range(10))
