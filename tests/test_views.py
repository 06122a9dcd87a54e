"""Views: slicing, masks, metadata, disk, loading; and that every wrong input is told what is wrong with it."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ivekit import Plan, Sensors, Views, plans

N = 7


def trials() -> Views:
    """Seven rows: a table, a film with holes, labels of another dtype; the row's number is in every one of them."""
    row = torch.arange(float(N))
    film = row[:, None, None].expand(N, 2, 3).clone()
    holes = torch.ones(N, 2, 3, dtype=torch.bool)
    holes[1, 0], holes[4] = False, False
    metadata = pd.DataFrame({"subject": ["s1"] * 3 + ["s2"] * 4, "trial": range(N)}, index=[f"t{i}" for i in range(N)])
    return Views(
        {"table": row[:, None], "film": film, "label": torch.arange(N)},
        {"film": holes, "table": row != 2},
        metadata,
        {"film": {"fps": 30.0}},
    )


def same(a: Views, b: Views) -> None:
    """Two Views hold the same: tensors, masks, metadata, about."""
    assert list(a) == list(b) and len(a) == len(b)
    for name in a:
        assert a[name].dtype == b[name].dtype
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=0, equal_nan=True)
        assert torch.equal(a.present[name], b.present[name])
    assert (a.metadata is None) == (b.metadata is None)
    if a.metadata is not None:
        pd.testing.assert_frame_equal(a.metadata.reset_index(drop=True), b.metadata.reset_index(drop=True))


# rows ----------------------------------------------------------------------------------------------------------

WAYS = {
    "slice": (slice(2, 5), [2, 3, 4]),
    "every other": (slice(None, None, 2), [0, 2, 4, 6]),
    "from the end": (slice(-2, None), [5, 6]),
    "a row": (3, [3]),
    "a negative row": (-1, [6]),
    "numpy's whole number": (np.int64(2), [2]),
    "list": ([4, 0, 4], [4, 0, 4]),
    "negative in a list": ([-1, 0], [6, 0]),
    "range": (range(1, 4), [1, 2, 3]),
    "tensor": (torch.tensor([5, 1]), [5, 1]),
    "small integers": (torch.tensor([5, 1], dtype=torch.int16), [5, 1]),
    "array": (np.array([6, 2]), [6, 2]),
    "mask": (torch.tensor([True, False, True, False, False, False, True]), [0, 2, 6]),
    "mask as an array": (np.arange(N) > 4, [5, 6]),
    "mask as a list": ([False] * 6 + [True], [6]),
    "mask as a series": (pd.Series(np.arange(N) < 2, index=[f"x{i}" for i in range(N)]), [0, 1]),
    "nothing": ([], []),
    "empty slice": (slice(3, 3), []),
    "mask of nothing": (torch.zeros(N, dtype=torch.bool), []),
}


@pytest.mark.parametrize(("key", "rows"), WAYS.values(), ids=WAYS)
def test_rows_are_taken_from_every_view_mask_and_the_metadata(key, rows):
    v, part = trials(), trials()[key]
    assert len(part) == len(rows) and part.about == v.about
    for name in v:
        assert torch.equal(part[name], v[name][rows]) and torch.equal(part.present[name], v.present[name][rows])
        assert part[name].dtype == v[name].dtype
    assert part.metadata["trial"].tolist() == rows and list(part.metadata.index) == [f"t{i}" for i in rows]


@given(st.data())
def test_taking_rows_twice_is_taking_them_once(data):
    v, keys = trials(), []
    rows = np.arange(N)
    for _ in range(data.draw(st.integers(1, 3))):
        n = len(rows)
        bound = st.none() | st.integers(-n - 2, n + 2)
        key = data.draw(
            st.builds(slice, bound, bound, st.integers(1, 3))
            | st.lists(st.booleans(), min_size=n, max_size=n).map(lambda mask: np.array(mask, bool))
            | (st.lists(st.integers(-n, n - 1), max_size=5).map(lambda some: np.array(some, int)) if n else st.just([]))
        )
        rows, v = rows[key if not isinstance(key, list) else slice(0)], v[key]
        keys.append(key)
    assert v["label"].tolist() == rows.tolist() == v.metadata["trial"].tolist(), keys
    assert v["table"][:, 0].tolist() == rows.tolist() and v.present["table"].tolist() == (rows != 2).tolist()


def test_slices_are_views_of_the_same_memory_until_somebody_indexes():
    v = trials()
    assert v[2:5]["film"].untyped_storage().data_ptr() == v["film"].untyped_storage().data_ptr()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (7, "row 7 asked for, there are 7"),
        (-8, "row -8 asked for, there are 7"),
        ([0, 99], "row 99 asked for, there are 7"),
        (torch.ones(3, dtype=torch.bool), r"a mask of \(3,\) does not fit 7 rows"),
        ([1.0, 2.0], "whole numbers or a mask, got torch.float64"),
        (np.zeros((2, 2), int), r"whole numbers or a mask, got torch.int64 of shape \(2, 2\)"),
        (["table", "film"], r"got \['table', 'film'\]; a view is asked for by one name"),
    ],
)
def test_rows_that_are_none_are_refused(key, said):
    with pytest.raises(IndexError, match=said):
        trials()[key]


def test_an_unknown_view_is_refused_with_those_that_are_there():
    v = trials()
    for ask in (lambda: v["meg"], lambda: v.without("meg"), lambda: v.masked(meg=torch.ones(N, dtype=torch.bool))):
        with pytest.raises(KeyError, match=r"no view 'meg'; there are \['table', 'film', 'label'\]"):
            ask()
    assert "meg" not in v and "film" in v and list(v) == ["table", "film", "label"]


# what is made of wrong parts -----------------------------------------------------------------------------------

WRONG = {
    "no views": (dict(tensors={}), "at least one view, got none"),
    "unequal rows": (
        dict(tensors={"a": torch.ones(3), "b": torch.ones(4, 2)}),
        r"same number of rows, got \{'a': 3, 'b': 4\}",
    ),
    "no rows at all": (dict(tensors={"a": torch.tensor(1.0)}), r"got \{'a': None\}"),
    "mask of another view": (
        dict(tensors={"a": torch.ones(3)}, present={"b": torch.ones(3, dtype=torch.bool)}),
        r"present names \['b'\], but the views are \['a'\]",
    ),
    "about another view": (
        dict(tensors={"a": torch.ones(3)}, about={"b": {}}),
        r"about names \['b'\], but the views are \['a'\]",
    ),
    "mask of numbers": (
        dict(tensors={"a": torch.ones(3)}, present={"a": torch.ones(3)}),
        r"present\['a'\] must be bool, \(3,\) or \(3,\); got torch.float32 \(3,\)",
    ),
    "mask of another shape": (
        dict(tensors={"a": torch.ones(3, 2)}, present={"a": torch.ones(3, 1, dtype=torch.bool)}),
        r"must be bool, \(3,\) or \(3, 2\); got torch.bool \(3, 1\)",
    ),
    "metadata of other rows": (
        dict(tensors={"a": torch.ones(3)}, metadata=pd.DataFrame({"s": [1, 2]})),
        "metadata has 2 rows, the views 3",
    ),
}


@pytest.mark.parametrize(("parts", "said"), WRONG.values(), ids=WRONG)
def test_parts_that_do_not_fit_are_refused(parts, said):
    with pytest.raises(ValueError, match=said):
        Views(**parts)


def test_arrays_and_lists_are_taken_for_tensors():
    v = Views({"a": np.ones((2, 3), "f4"), "b": [1, 2]}, {"a": np.array([True, False])})
    assert v["a"].dtype == torch.float32 and v["b"].dtype == torch.int64 and v.present["a"].tolist() == [True, False]


# presence ------------------------------------------------------------------------------------------------------


def test_a_row_is_there_where_any_element_of_it_is():
    v = trials()
    assert v.rows_present("film").tolist() == [True] * 4 + [False] + [True] * 2
    assert v.rows_present("table").tolist() == [True] * 2 + [False] + [True] * 4
    assert v.rows_present("label").tolist() == [True] * N


def test_without_hides_a_view_and_changes_neither_it_nor_the_rest():
    v = trials()
    gone = v.without("film", "table")
    assert not gone.present["film"].any() and not gone.present["table"].any() and gone.present["label"].all()
    assert gone["film"] is v["film"] and v.present["film"].any() and len(gone) == N
    assert gone.metadata.equals(v.metadata) and gone.about == v.about


def test_masked_adds_holes_to_those_there_are():
    v = trials()
    rows = torch.arange(N) != 0
    a = v.masked(film=rows, table=rows)
    assert torch.equal(a.present["film"], v.present["film"] & rows[:, None, None])
    assert a.present["table"].tolist() == [False, True, False, True, True, True, True]
    some = torch.rand(N, 1, generator=torch.Generator().manual_seed(0)) > 0.5
    b = v.masked(table=some)  # rows and elements together make elements
    assert torch.equal(b.present["table"], some & (torch.arange(N) != 2)[:, None])
    with pytest.raises(ValueError, match=r"must be bool, \(7,\) or \(7, 2, 3\)"):
        v.masked(film=torch.ones(N, 2, dtype=torch.bool))


def test_replace_keeps_masks_metadata_and_about():
    v = trials()[1:6]
    new = v.replace(film=v["film"] + 1, extra=torch.zeros(5, 2))
    assert torch.equal(new["film"], v["film"] + 1) and torch.equal(new.present["film"], v.present["film"])
    assert new.present["extra"].all() and new.metadata["trial"].tolist() == [1, 2, 3, 4, 5] and new.about == v.about
    assert torch.equal(v["film"], trials()["film"][1:6]) and "extra" not in v


def test_replace_by_another_shape_keeps_the_missing_rows_missing():
    new = trials().replace(film=torch.zeros(N, 9))
    assert new.present["film"].tolist() == [True] * 4 + [False] + [True] * 2
    with pytest.raises(ValueError, match="same number of rows"):
        trials().replace(film=torch.zeros(3, 2, 3))


def test_mask_nan_masks_rows_where_rows_are_gone_and_elements_where_they_are_not():
    nan, inf = torch.nan, torch.inf
    v = Views({"rows": torch.tensor([[1.0, 2.0], [nan, nan], [3.0, 4.0]]),
               "holes": torch.tensor([[1.0, nan], [inf, 2.0], [3.0, -inf]]),
               "one": torch.tensor([nan, 1.0, 2.0]),
               "whole": torch.tensor([0, 1, 2])})  # fmt: skip
    clean = v.mask_nan()
    assert clean.present["rows"].tolist() == [True, False, True]
    assert clean.present["holes"].tolist() == [[True, False], [False, True], [True, False]]
    assert clean.present["one"].tolist() == [False, True, True] and clean.present["whole"].all()
    assert all(clean[name].isfinite().all() for name in clean) and v["rows"].isnan().any()
    assert clean["holes"].tolist() == [[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]
    same(clean.mask_nan().require_finite(), clean)


def test_mask_nan_keeps_what_was_masked_before():
    x = torch.tensor([[torch.nan, 1.0], [2.0, 3.0]])
    v = Views({"a": x}, {"a": torch.tensor([True, False])}).mask_nan()
    assert v.present["a"].tolist() == [[False, True], [False, False]]


def test_an_unmasked_nan_is_refused_and_a_masked_one_is_not():
    x = torch.zeros(5, 2, 3)
    x[3, 0, 1], x[4, 1, 2] = torch.nan, torch.inf
    v = Views({"ok": torch.zeros(5), "meg": x})
    said = r"view 'meg' holds 2 values that are not a finite number, first in row 3.*views.mask_nan\(\)"
    for refuse in (v.require_finite, lambda: v.save("nowhere")):
        with pytest.raises(ValueError, match=said):
            refuse()
    assert not Path("nowhere").exists()
    hidden = v.masked(meg=torch.arange(5) < 3)
    assert hidden.require_finite() is hidden and v.mask_nan().require_finite()
    with pytest.raises(
        ValueError, match="view 'a' holds 1 value that is not a finite number, first in row 0, and nothing masks it"
    ):
        Views({"a": torch.tensor([torch.inf, -torch.inf])}, {"a": torch.tensor([True, False])}).require_finite()


# splitting and joining -----------------------------------------------------------------------------------------


def test_split_by_a_column_and_by_a_view():
    rest, held_out = trials().split(by="subject", held_out=["s1"])
    assert rest["label"].tolist() == [3, 4, 5, 6] and held_out["label"].tolist() == [0, 1, 2]
    assert set(rest.metadata["subject"]) == {"s2"} and set(held_out.metadata["subject"]) == {"s1"}
    assert [len(part) for part in trials().split(by="subject", held_out="s2")] == [3, 4]
    rest, held_out = trials().split(by="label", held_out=[0, 6, 99])
    assert held_out["label"].tolist() == [0, 6] and len(rest) == 5
    assert trials().split(by="table", held_out=[2.0])[1]["label"].tolist() == [2]


@pytest.mark.parametrize(
    ("by", "held_out", "said"),
    [
        ("subject", ["s9"], r"no row has subject in \['s9'\]; the values there are s1, s2"),
        ("subject", ["s1", "s2"], r"every row has subject in \['s1', 's2'\]"),
        ("label", [], r"no row has label in \[\]"),
        ("sex", ["f"], r"no 'sex' to split by: the metadata has \['subject', 'trial'\]"),
        ("film", [0.0], r"no 'film' to split by: .* the views of one number a row are \['table', 'label'\]"),
    ],
)
def test_a_split_with_an_empty_side_or_by_nothing_is_refused(by, held_out, said):
    with pytest.raises(ValueError, match=said):
        trials().split(by=by, held_out=held_out)


def test_stack_makes_a_lacking_view_a_missing_one():
    v = Views.stack([{"a": torch.ones(2)}, {"b": 3.0, "a": torch.zeros(2)}, {"b": 4.0}])
    assert v["a"].tolist() == [[1, 1], [0, 0], [0, 0]] and v["b"].tolist() == [0, 3, 4]
    assert v.present["a"].tolist() == [True, True, False] and v.present["b"].tolist() == [False, True, True]
    with pytest.raises(ValueError, match=r"view 'a' is \(2,\) in row 0, elsewhere \(3,\)"):
        Views.stack([{"a": torch.ones(2)}, {"a": torch.ones(3)}])
    with pytest.raises(ValueError, match="at least one view"):
        Views.stack([])


def test_concat_is_the_inverse_of_slicing():
    v = trials()
    same(Views.concat([v[:2], v[2:2], v[2:]]), v)
    assert Views.concat([v[:2], v[2:]]).about == v.about


def test_concat_joins_masks_of_rows_with_masks_of_elements():
    a, b = (
        Views({"x": torch.ones(2, 3)}, {"x": torch.tensor([True, False])}),
        Views({"x": torch.ones(1, 3)}).masked(x=torch.tensor([[True, False, True]])),
    )
    assert Views.concat([a, b]).present["x"].tolist() == [[True] * 3, [False] * 3, [True, False, True]]


def test_concat_takes_views_in_any_order_and_refuses_other_views():
    a, b = Views({"x": torch.zeros(1), "y": torch.ones(1)}), Views({"y": torch.ones(1), "x": torch.zeros(1)})
    assert Views.concat([a, b])["y"].tolist() == [1, 1]
    for parts in ([a, Views({"x": torch.zeros(1)})], []):
        with pytest.raises(ValueError, match="parts must have the same views"):
            Views.concat(parts)


def test_to_moves_masks_too():
    v = trials().to("meta")
    assert all(v[name].device.type == v.present[name].device.type == "meta" for name in v)
    assert v.metadata["trial"].tolist() == list(range(N))


def test_copies_and_pickles_are_the_same():
    same(copy.deepcopy(trials()[1:4]), trials()[1:4])


# a batch stacked for a plan ------------------------------------------------------------------------------------


def test_a_stacked_batch_is_the_repeated_batch():
    v = trials()
    plan = Plan(("table", "film"), torch.tensor([[1, 1], [1, 0]]) > 0, torch.tensor([[1, 0], [1, 1]]) > 0)
    stacked = plan.views(v)
    real = Views({name: torch.cat([x, x]) for name, x in v.items()}, stacked.present)
    assert len(stacked) == 2 * N and list(stacked) == list(v) and "film" in stacked and "meg" not in stacked
    same(stacked.to("cpu"), real)
    same(stacked[3:9], real[3:9])
    same(stacked.without("film"), real.without("film"))
    same(stacked.replace(table=real["table"] + 1), real.replace(table=real["table"] + 1))
    same(stacked.mask_nan().require_finite(), real)
    assert repr(stacked) == repr(real) and stacked.batch("film") is v["film"]
    has_table = v.rows_present("table")[:, None, None]  # what a subset has nothing of, it is not scored on
    assert torch.equal(stacked.present["film"][N:], v.present["film"] & has_table)
    assert not stacked.present["film"][:N].any()
    with pytest.raises(KeyError, match="no view 'meg'"):
        stacked["meg"]


def test_a_stacked_batch_copies_nothing_until_asked():
    x = torch.zeros(4, 1000)
    stacked = plans.mvae(["a", "b"]).views(Views({"a": x, "b": torch.zeros(4)}))
    assert stacked.batch("a") is x and len(stacked) == 12


# what a reader sees --------------------------------------------------------------------------------------------


def test_repr_says_rows_shapes_what_is_missing_and_the_columns():
    text = repr(trials())
    assert text == "\n".join([
        "Views of 7 rows",
        "  table  (1,)    missing in 1",
        "  film   (2, 3)  missing in 1, 21.4% masked",
        "  label  ()",
        "  metadata: subject, trial",
    ])  # fmt: skip
    assert repr(trials()[:0]).startswith("Views of 0 rows")


def test_repr_says_which_sensors():
    sensors = Sensors(["a", "b"], np.zeros((2, 2)), ["mag", "grad"], 125.0)
    assert "meg  (2, 4)  1 mag and 1 grad at 125 Hz" in repr(
        Views({"meg": torch.zeros(1, 2, 4)}, about={"meg": sensors})
    )


def test_html_escapes_names_and_columns():
    v = Views({"<script>x</script>": torch.ones(2, 3)}, metadata=pd.DataFrame({"<b>": [1, 2]}))
    page = v._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page and "&lt;b&gt;" in page and "(3,)" in page
    assert "metadata: none" in Views({"a": torch.ones(2)})._repr_html_()


# disk ----------------------------------------------------------------------------------------------------------


def test_saved_and_opened_is_the_same(tmp_path):
    v = trials()
    v.save(tmp_path / "run")
    opened = Views.open(tmp_path / "run")
    same(opened, v)
    assert opened.about == v.about
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "about.json", "film.npy", "film.present.npy", "label.npy", "metadata.tsv", "table.npy", "table.present.npy",
    ]  # fmt: skip
    same(opened[2:4], v[2:4])


def test_an_opened_view_is_memory_mapped_and_its_file_is_safe(tmp_path):
    Views({"a": torch.arange(6.0)}).save(tmp_path / "run")
    opened = Views.open(tmp_path / "run")
    with (tmp_path / "run/a.npy").open("r+b") as file:
        file.seek(-4, 2)  # what is changed on disk now is seen later: nothing was read yet
        file.write(np.float32(9.0).tobytes())
    assert opened["a"].tolist() == [0, 1, 2, 3, 4, 9]
    opened["a"][0] = 7.0  # and what is written to the tensor stays in memory
    assert Views.open(tmp_path / "run")["a"].tolist() == [0, 1, 2, 3, 4, 9]


DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.uint8,
    torch.int16,
    torch.int64,
    torch.bool,
    torch.complex64,
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_comes_back(tmp_path, dtype):
    v = Views({"a": torch.tensor([[0, 1], [1, 1], [1, 0]]).to(dtype)})
    v.save(tmp_path / "run")
    same(Views.open(tmp_path / "run"), v)


COLUMNS = {
    "words": ["x", "y", "z"],
    "difficult words": ["", "NaN", 'tab\t"quote"\nline'],
    "numbers as words": ["001", "1e3", "nan"],
    "missing words": ["a", None, "b"],
    "whole numbers": [2**60 + 1, -3, 0],
    "numbers": [0.1 + 0.2, np.nan, np.inf],
    "single precision": np.array([0.1, 0.2, np.nan], "f4"),
    "yes and no": [True, False, True],
    "whole numbers, some missing": pd.array([1, None, 3], dtype="Int64"),
    "yes, no and missing": pd.array([True, None, False], dtype="boolean"),
    "dates": pd.to_datetime(["2020-01-01 00:00:00.0", None, "2021-02-03 10:11:12.5"]),
    "durations": pd.to_timedelta(["1 days", "2 hours", "3 s"]),
    "categories": pd.Categorical(["lo", "hi", None], categories=["lo", "hi", "never"], ordered=True),
    "categories of numbers": pd.Categorical([2, 1, 2]),
    "all missing": [np.nan] * 3,
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_every_kind_of_column_comes_back(tmp_path, column):
    v = Views({"a": torch.zeros(3)}, metadata=pd.DataFrame({"column": column, "other": [1, 2, 3]}))
    v.save(tmp_path / "run")
    same(Views.open(tmp_path / "run"), v)


def test_a_single_column_of_empty_words_and_no_column_at_all(tmp_path):
    v = Views({"a": torch.zeros(2)}, metadata=pd.DataFrame({"c": ["", ""]}))
    v.save(tmp_path / "words")
    same(Views.open(tmp_path / "words"), v)
    Views({"a": torch.zeros(2)}, metadata=pd.DataFrame(index=range(2))).save(tmp_path / "none")
    assert Views.open(tmp_path / "none").metadata is None


def test_no_rows_come_back_as_no_rows(tmp_path):
    trials()[:0].save(tmp_path / "run")
    assert len(Views.open(tmp_path / "run")) == 0


def test_sensors_come_back_with_their_info(tmp_path):
    info = mne.pick_info(
        mne.channels.read_meg_canonical_info("neuromag", verbose="error"), list(range(9)), verbose="error"
    )
    info["bads"] = [info["ch_names"][2]]
    sensors = Sensors.from_info(info, tmin=-0.1)
    plain = Sensors(["x", "y"], np.array([[0.0, np.nan], [0.1, 0.2]]), ["eeg", "misc"], 250.0, 0.5)
    v = Views({"meg": torch.zeros(2, 9, 4), "eeg": torch.zeros(2, 2, 4)}, about={"meg": sensors, "eeg": plain})
    v.save(tmp_path / "run")
    for name, was in (("meg", sensors), ("eeg", plain)):
        now = Views.open(tmp_path / "run").about[name]
        assert (now.names, now.kinds, now.sfreq, now.tmin) == (was.names, was.kinds, was.sfreq, was.tmin)
        np.testing.assert_array_equal(now.pos, was.pos)
    read = Views.open(tmp_path / "run").about["meg"].info
    assert read["bads"] == info["bads"] and read.ch_names == info.ch_names
    np.testing.assert_allclose([c["loc"] for c in read["chs"]], [c["loc"] for c in info["chs"]], rtol=1e-6)
    assert Views.open(tmp_path / "run").about["eeg"].info is None


def test_saving_replaces_a_folder_whole(tmp_path):
    Views({"old": torch.zeros(2)}, {"old": torch.tensor([True, False])}).save(tmp_path / "run")
    Views({"new": torch.ones(3)}).save(tmp_path / "run")
    same(Views.open(tmp_path / "run"), Views({"new": torch.ones(3)}))
    assert [path.name for path in tmp_path.iterdir()] == ["run"] and not (tmp_path / "run/old.npy").exists()


def test_yes_and_no_come_back_as_such_where_some_rows_have_neither(tmp_path):
    """As text, "False" would count as true."""
    frame = pd.DataFrame({"correct": [True, None, False], "n": pd.Series([1, None, 3], dtype=object)})
    Views({"a": torch.zeros(3)}, metadata=frame).save(tmp_path / "rows")
    opened = Views.open(tmp_path / "rows").metadata
    assert opened["correct"].dropna().tolist() == [True, False] and opened["correct"].isna().tolist() == [0, 1, 0]
    assert opened["n"].dropna().tolist() == [1, 3]


def test_rows_of_an_opened_folder_can_be_saved_over_it(tmp_path):
    trials().save(tmp_path / "run")
    Views.open(tmp_path / "run")[:3].save(tmp_path / "run")
    same(Views.open(tmp_path / "run"), trials()[:3])


class Strange:
    """Something that JSON cannot say."""


UNSAVEABLE = {
    "about": (
        Views({"a": torch.ones(2)}, about={"a": {"what": Strange()}}),
        TypeError,
        r"about\['a'\] cannot be stored",
    ),
    "a path": (Views({"../a": torch.ones(2)}), ValueError, r"'\.\./a' cannot be one"),
    "hidden": (Views({".a": torch.ones(2)}), ValueError, r"'\.a' cannot be one"),
    "another's mask": (
        Views({"a": torch.ones(2), "a.present": torch.ones(2)}),
        ValueError,
        r"'a\.present' cannot be one",
    ),
    "no name": (Views({"": torch.ones(2)}), ValueError, "'' cannot be one"),
}


@pytest.mark.parametrize(("bad", "error", "said"), UNSAVEABLE.values(), ids=UNSAVEABLE)
def test_saving_that_fails_leaves_what_was_there(tmp_path, bad, error, said):
    with pytest.raises(error, match=said):
        bad.save(tmp_path / "new/run")
    assert list(tmp_path.rglob("*")) == [tmp_path / "new"]
    trials().save(tmp_path / "run")
    with pytest.raises(error, match=said):
        bad.save(tmp_path / "run")
    same(Views.open(tmp_path / "run"), trials())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "run"]


def test_a_rename_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    trials().save(tmp_path / "run")
    monkeypatch.setattr("ivekit.atomic._exchanged", lambda *_: False)  # as on file systems that cannot

    def no_space(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.replace", no_space)
    with pytest.raises(OSError, match="No space"):
        Views({"a": torch.ones(2)}).save(tmp_path / "run")
    same(Views.open(tmp_path / "run"), trials())
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


class Trap:
    """Unpickling it would end this test."""

    def __reduce__(self):
        return pytest.fail, ("a file was unpickled",)


def damage(folder: Path, how: str) -> None:
    film, about = folder / "film.npy", folder / "about.json"
    if how == "objects":
        np.save(film, np.array([Trap()], object), allow_pickle=True)
    elif how == "objects in a mask":
        np.save(folder / "film.present.npy", np.array([Trap()], object), allow_pickle=True)
    elif how == "pickle":
        film.write_bytes(pickle.dumps(Trap()))
    elif how == "cut":
        film.write_bytes(film.read_bytes()[:-8])
    elif how == "empty":
        film.write_bytes(b"")
    elif how == "gone":
        film.unlink()
    elif how == "fewer rows":
        np.save(film, np.load(film)[:3])
    elif how == "about cut":
        about.write_text(about.read_text()[:-5])
    elif how == "about gone":
        about.unlink()
    else:
        about.write_text(json.dumps({"another program": {"name": 1}, "list": [1]}[how]))


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ("objects", ValueError, "film.npy cannot be read.*Python objects"),
        ("objects in a mask", ValueError, "film.present.npy cannot be read.*Python objects"),
        ("pickle", ValueError, "film.npy cannot be read.*magic string"),
        ("cut", ValueError, "film.npy cannot be read"),
        ("empty", ValueError, "film.npy is empty"),
        ("gone", FileNotFoundError, "lacks film.npy, which its about.json names"),
        ("fewer rows", ValueError, r"same number of rows, got \{'table': 7, 'film': 3, 'label': 7, 'metadata': 7\}"),
        ("about cut", ValueError, "about.json cannot be read"),
        ("about gone", FileNotFoundError, "is not a saved Views folder: it has no about.json"),
        ("another program", ValueError, "its about.json is another program's"),
        ("list", ValueError, "its about.json is another program's"),
    ],
)
def test_a_damaged_or_foreign_folder_is_refused(tmp_path, how, error, said):
    trials().save(tmp_path / "run")
    damage(tmp_path / "run", how)
    with pytest.raises(error, match=said):
        Views.open(tmp_path / "run")


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is not a saved Views folder"):
        Views.open(tmp_path / "nothing")


# loading -------------------------------------------------------------------------------------------------------


def rows_of(loader) -> list[list[int]]:
    return [batch["label"].tolist() for batch in loader]


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loader_covers_every_row_once(batch_size, shuffle):
    loader = trials().loader(batch_size, shuffle=shuffle)
    batches = rows_of(loader)
    assert sorted(sum(batches, [])) == list(range(N)) and len(loader) == len(batches)
    assert all(len(batch) == min(batch_size, N) for batch in batches[:-1])
    for batch in loader:
        assert batch["label"].tolist() == batch.metadata["trial"].tolist() == batch["table"][:, 0].tolist()
        assert torch.equal(batch.present["film"], trials().present["film"][batch["label"]]) and batch.about


def test_the_order_is_that_of_the_seed_and_the_epoch():
    def order(seed: int, epoch: int) -> list[list[int]]:
        loader = trials().loader(3, shuffle=True, seed=seed)
        loader.epoch = epoch
        assert rows_of(loader) == rows_of(loader)
        return rows_of(loader)

    assert order(0, 0) == order(0, 0)
    assert len({str(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) > 6
    assert rows_of(trials().loader(3)) == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("world", [2, 3])
def test_the_shares_of_all_processes_are_the_batch(world):
    loaders = [trials().loader(4, shuffle=True, seed=5) for _ in range(world)]
    for rank, loader in enumerate(loaders):
        loader.rank, loader.world = rank, world
    whole = rows_of(trials().loader(4, shuffle=True, seed=5))
    shares = [rows_of(loader) for loader in loaders]
    for i, batch in enumerate(whole):
        assert sorted(sum((share[i] for share in shares), [])) == sorted(batch)
        sizes = [len(share[i]) for share in shares]
        assert max(sizes) - min(sizes) <= 1


def test_alone_a_sharded_loader_is_a_whole_one():
    assert rows_of(trials().loader(3, sharded=True)) == rows_of(trials().loader(3))


def test_workers_read_the_same_batches(tmp_path):
    trials().save(tmp_path / "run")
    data = Views.open(tmp_path / "run")
    alone, together = (list(data.loader(3, shuffle=True, seed=1, workers=n)) for n in (0, 2))
    assert len(alone) == len(together) == 3
    for a, b in zip(alone, together):
        same(a, b)


def test_a_batch_size_that_is_none_is_refused():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        trials().loader(0)
