"""Docstrings that are written to be read in a terminal become reStructuredText.

Where they differ from it: a name and its meaning stand on a line, `name : meaning`, with later lines indented, which
is a list here; and `|x|` and `a * b` mean what they say.
"""

from __future__ import annotations

import re
from itertools import groupby

ENTRY = re.compile(r"^([\w.*`|]+(?:, [\w.*`|]+)*(?: \([^)]*\))?) : (.*)")
WITHIN = re.compile(r"(?<=[.;]) (?=[a-z_]+(?:, [a-z_]+)* : )")  # a name's meaning may follow another's on its line
CODE = re.compile(r"(``.+?``|`[^`]+`|(?<!\w)\*{1,2}[^\s*][^*]*[^\s*]\*{1,2}(?!\w))")  # and what is emphasised
MEANT = re.compile(r"([|*]|(?<=\w)_(?!\w))")


def as_rst(lines: list[str]) -> list[str]:
    """The lines of a docstring as lines of reStructuredText.

    >>> as_rst(["|x| of `a|b`.", "", "values : what is drawn,", "    in fT", "limit : the darkest", "", ">>> 2 * 3"])
    ['\\\\|x\\\\| of `a|b`.', '', '* `values`: what is drawn, in fT', '* `limit`: the darkest', '', '>>> 2 * 3']
    """
    blocks = [(there, list(block)) for there, block in groupby(lines, lambda line: bool(line.strip()))]
    return [line for there, block in blocks for line in (block_as_rst(block) if there else block)]


def block_as_rst(block: list[str]) -> list[str]:
    """One paragraph: an example as it is, a section with its name in bold, a list of names where there is one."""
    if block[0].lstrip().startswith(">>>"):
        return block
    if len(block) > 1 and set(block[1].strip()) == {"-"}:
        return [f"**{block[0].strip()}**", "", *items(block[2:])]
    indent = len(block[0]) - len(block[0].lstrip())
    inner = [line[indent:] for line in block]
    if any(line.startswith(" ") for line in inner) or any(map(ENTRY.match, inner)):
        return [" " * indent + item for item in items(inner)]
    return [" " * indent + line for line in plain("\n".join(inner)).split("\n")]


def items(lines: list[str]) -> list[str]:
    """A list of names with their meaning, a line each; lines before the first name are a paragraph of their own."""
    found: list[list[str]] = []
    for line in lines:
        starts = ENTRY.match(line) or not found
        found.append([line.strip()]) if starts else found[-1].append(line.strip())
    single = [item for text in map(" ".join, found) for item in WITHIN.split(text)]
    return [line for item in single for line in written(item)]


def written(item: str) -> list[str]:
    entry = ENTRY.match(item)
    if not entry:
        return [plain(item), ""]
    return [f"* `{entry[1].replace('`', '')}`: {plain(entry[2])}"]


def plain(text: str) -> str:
    """Text whose bars and stars are themselves, unless they are in code or emphasise."""
    parts = [part if k % 2 else MEANT.sub(r"\\\1", part) for k, part in enumerate(CODE.split(text))]
    return re.sub("\0(?=\\w)", r"\\ ", "\0".join(parts)).replace("\0", "")  # `export`ed: code ends at its mark
