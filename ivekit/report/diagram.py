"""The diagram of a model: views to encoders to latents to decoders to likelihoods, drawn in the ink of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .architecture import Architecture, Lane
from .figures import short
from .page import Markup, tag

WIDE = 760
TOP = 24.0  # below the headings
LINE, PAD, GAP, LEAST = (
    15.0,
    9.0,
    16.0,
    44.0,
)  # heights: of a line of text, above and below the text, between lanes, of a box
SIZES = {"name": (12.5, 8.3), "small": (11.5, 6.6)}  # of letters, and how wide one is, in a wide font
ROUND, APART = 7.0, 8.0  # of the corners of a line, and from the middle of a lane that holds two
# left edge and width of the columns
VIEWS, ENCODERS, MIDDLE, DECODERS, TOLD = (1, 104), (123, 142), (313, 138), (499, 142), (660, 99)
BUS_IN, BUS_OUT = 289, 475


@dataclass(frozen=True)
class Box:
    """A box with names in it, and smaller lines under them.

    >>> Box((1, 104), 20.0, 40.0, ("meg",), ("102 × 60",)).right
    105
    """

    column: tuple[int, int]
    middle: float
    height: float
    names: tuple[str, ...]
    lines: tuple[str, ...] = ()
    look: str = "part"

    @property
    def left(self) -> int:
        """Its left edge."""
        return self.column[0]

    @property
    def right(self) -> int:
        """Its right edge."""
        return sum(self.column)

    def draw(self) -> Markup:
        """Its outline and its words."""
        left, width = self.column
        top = self.middle - self.height / 2
        outline = tag(
            "rect", x=left, y=f"{top:g}", width=width, height=f"{self.height:g}", rx=4, class_=f"box {self.look}"
        )
        said = [(name, "name") for name in self.names] + [(line, "small") for line in self.lines]
        first = self.middle - LINE * (len(said) - 1) / 2 + 4
        words = [
            tag(
                "text",
                short(text, 21),
                x=f"{left + width / 2:g}",
                y=f"{first + LINE * i:g}",
                class_=look,
                **_fit(text, look, width),
            )
            for i, (text, look) in enumerate(said)
        ]
        return tag("g", outline, words)


def _fit(text: str, look: str, width: int) -> dict[str, str]:
    """A smaller size for words that are too long for a box: of a letter's usual width, for want of the font itself."""
    size, letter = SIZES[look]
    room, wide = width - 8, letter * min(len(text), 21)
    return {"style": f"font-size: {size * room / wide:.1f}px"} if wide > room else {}


def diagram(model: Architecture) -> Markup:
    """The picture of a model.

    >>> lane = Lane("meg", ("SensorBasis",), ("1 token of 64",), "102 × 60", "Whiten", "6 latents", "read")
    >>> told = Lane("meg", ("SensorField",), (), "102 × 60", "Gaussian", "", "told")
    >>> picture = diagram(Architecture((lane,), (told,), ("ProductOfExperts",), ("6 latents",), True, 9))
    >>> picture[:18], picture.count("<rect"), "SensorField" in picture
    ('<svg role="img" vi', 6, True)
    """
    at = _places(model)
    inside = [
        tag("title", described(model)),
        _headings(model),
        *_ways(model, at),
        *(b.draw() for b in _boxes(model, at)),
    ]
    size = dict(viewBox=f"0 0 {WIDE} {at.bottom + 2:g}", width=WIDE, height=f"{at.bottom + 2:g}")
    return tag("svg", inside, role="img", **size, class_="diagram")


def described(model: Architecture) -> str:
    """The diagram in words, for those who hear it.

    >>> lane = Lane("meg", ("SensorBasis",), (), "102 × 60", "", "", "read")
    >>> described(Architecture((lane,), (), ("mean of tokens",), (), False, 9))
    'meg is read by SensorBasis; mean of tokens joins them'
    """
    given = [
        f"{lane.view} {'conditions through' if lane.kind == 'condition' else 'is read by'} {', '.join(lane.parts)}"
        for lane in model.read
    ]
    own = [f"{lane.view} has {lane.own} of its own" for lane in model.read if lane.own]
    joined = (
        f"{', '.join(model.middle)} {'makes ' + model.lines[0] + ' that they share' if model.shared else 'joins them'}"
    )
    told = [f"{lane.view} is told by {', '.join(lane.parts)} as {lane.said}" for lane in model.told]
    return "; ".join([*given, joined, *own, *told])


def _high(lane: Lane) -> float:
    """How high the boxes of a lane are, which hold one line a name and one for whatever else is said."""
    return max(LEAST, 2 * PAD + LINE * max(len(lane.parts) + len(lane.lines), len(_beside(lane))))


def _beside(lane: Lane) -> tuple[str, ...]:
    """What the box of a view says: its name, its shape, and how it is transformed or which distributions it has."""
    return (lane.view, *filter(None, [lane.shape, *lane.said.split(", ")]))


@dataclass(frozen=True)
class _Places:
    """The middles of the lanes on both sides, of the box between them, and the height of all."""

    read: dict[str, float]
    told: dict[str, float]
    middle: float
    high: float
    bottom: float


def _places(model: Architecture) -> _Places:
    """Where everything is: what is private has its view's lane to itself, so that what is shared goes above."""
    high = 2 * PAD + LINE * (len(model.middle) + len(model.lines) + model.shared)
    heights = [{lane.view: _high(lane) for lane in side} for side in (model.read, model.told)]
    if any(lane.own for lane in model.read):
        both = {view: max(of.get(view, LEAST) for of in heights) for of in heights for view in of}
        lanes, bottom = _stacked(both, TOP + high + GAP)
        return _Places(lanes, lanes, TOP + high / 2, high, bottom)
    sides = [_stacked(of, TOP) for of in heights]
    bottom = max(TOP + high, *(end for _, end in sides))
    read, told = ({view: y + (bottom - end) / 2 for view, y in lanes.items()} for lanes, end in sides)
    return _Places(read, told, (TOP + bottom) / 2, high, bottom)


def _stacked(heights: Mapping[str, float], top: float) -> tuple[dict[str, float], float]:
    """The middles of lanes from a top edge down, and the lower edge of the last."""
    middles = {}
    for view, high in heights.items():
        middles[view] = top + high / 2
        top += high + GAP
    return middles, top - GAP


def _boxes(model: Architecture, at: _Places) -> Iterator[Box]:
    role = ["shared by all"] if model.shared else []
    yield Box(MIDDLE, at.middle, at.high, model.middle, (*model.lines, *role), "shared")
    for lane in model.read:
        y, high = at.read[lane.view], _high(lane)
        yield Box(VIEWS, y, high, (lane.view,), _beside(lane)[1:], "view")
        yield Box(ENCODERS, y, high, lane.parts, lane.lines)
        if lane.own:
            yield Box(MIDDLE, y + APART, LEAST, (lane.own,), (f"of {short(lane.view, 14)} alone",), "private")
    for lane in model.told:
        y, high = at.told[lane.view], _high(lane)
        yield Box(DECODERS, y, high, lane.parts, lane.lines)
        yield Box(TOLD, y, high, (lane.view,), _beside(lane)[1:], "view")


def _ways(model: Architecture, at: _Places) -> Iterator[Markup]:
    """The lines between the boxes: where a view has latents of its own, those of the shared ones stay above theirs."""
    own = {lane.view for lane in model.read if lane.own}
    for lane in model.read:
        y = at.read[lane.view]
        yield _way((VIEWS, y), (ENCODERS, y), "plain")
        if lane.kind == "condition":
            for end in at.told.values():
                yield _way((ENCODERS, y), (DECODERS, end + APART), "condition", BUS_OUT + 8)
            continue
        if lane.own:
            yield _way((ENCODERS, y + APART), (MIDDLE, y + APART), "private")
            if lane.view in at.told:
                yield _way((MIDDLE, y + APART), (DECODERS, at.told[lane.view] + APART), "private")
        yield _way((ENCODERS, y - APART * bool(lane.own)), (MIDDLE, at.middle), "shared", BUS_IN)
    for lane in model.told:
        y = at.told[lane.view]
        yield _way((MIDDLE, at.middle), (DECODERS, y - APART * (lane.view in own)), "shared", BUS_OUT)
        yield _way((DECODERS, y), (TOLD, y), "plain")


def _way(start: tuple[tuple[int, int], float], end: tuple[tuple[int, int], float], look: str, bus: int = 0) -> Markup:
    """A line from a column's right edge to another's left one, up or down along a bus, with an arrow's head."""
    (left, width), y = start
    x, (to, _), there = left + width, *end
    tip, turn = to - 2, min(ROUND, abs(there - y) / 2)
    path = f"M{x} {y:g}H{tip - 3}"
    if turn > 0.5:
        down = turn if there > y else -turn
        path = f"M{x} {y:g}H{bus - turn:g}Q{bus} {y:g} {bus} {y + down:g}V{there - down:g}"
        path += f"Q{bus} {there:g} {bus + turn:g} {there:g}H{tip - 3}"
    head = tag(
        "path", d=f"M{tip - 6} {there - 3.5:g}L{tip} {there:g}L{tip - 6} {there + 3.5:g}Z", class_=f"head {look}"
    )
    return Markup(tag("path", d=path, class_=f"way {look}") + head)


def _headings(model: Architecture) -> Markup:
    middle = "latents" if model.shared else "fusion"
    words = (("views", VIEWS), ("encoders", ENCODERS), (middle, MIDDLE), ("decoders", DECODERS), ("likelihoods", TOLD))
    return Markup("".join(tag("text", w, x=f"{x + width / 2:g}", y=12, class_="head-word") for w, (x, width) in words))
