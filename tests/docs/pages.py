"""The Markdown of this repository, as far as tests look at it: fenced blocks, tables, headings, links.

The first word after a fence is the language, the others say what is to be done with the block:
`make` (targets of the Makefile), `run` (executed), `start` (runs in the background from here on), `config` (a whole
configuration, checked and written to sekisho.yaml), `file=NAME` (written), `output` (what the last `run` printed).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted(
    [
        *DOCS.rglob("*.md"),
        *(ROOT / name for name in ("README.md", "README.ja.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
        ROOT / "bench" / "README.md",
    ]
)

_FENCE = re.compile(r"^```(.*)$")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`[^`]*`")


class Block(NamedTuple):
    """A fenced block. `line` counts from 1 and is that of its first fence; `heading` is the last one above it."""

    page: Path
    line: int
    language: str
    marks: tuple[str, ...]
    text: str
    heading: str

    @property
    def place(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found: list[Block] = []
    opened: tuple[int, list[str]] | None = None
    body: list[str] = []
    heading = ""
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None:
            if fence:
                opened, body = (number, fence[1].split()), []
            elif line.startswith("#"):
                heading = line.lstrip("# ")
        elif fence:
            start, (language, *marks) = opened[0], opened[1] or ["text"]
            found.append(Block(page, start, language, tuple(marks), "\n".join(body), heading))
            opened = None
        else:
            body.append(line)
    assert opened is None, f"{name_of(page)}:{opened[0]}: the block is not closed"
    return found


def prose(page: Path) -> list[str]:
    """The lines outside of blocks."""
    lines: list[str] = []
    inside = False
    for line in page.read_text("utf-8").splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            lines.append(line)
    return lines


def headings(page: Path) -> list[str]:
    return [line.lstrip("#").strip() for line in prose(page) if line.startswith("#")]


def anchors(page: Path) -> set[str]:
    """What `#...` can point at, by GitHub's rule."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(page)}


def links(page: Path) -> list[str]:
    """Targets of links, those in code left out."""
    return [target for line in prose(page) for target in _LINK.findall(_CODE.sub("", line))]


def rows(page: Path, *, under: str | None = None) -> list[list[str]]:
    """The cells of all tables of a page, or of one section; heads and rules are left out."""
    found: list[list[str]] = []
    heading = ""
    before = ""
    for line in prose(page):
        if line.startswith("#"):
            heading = line.lstrip("# ")
        is_head = not before.startswith("|")
        if line.startswith("|") and not is_head and not set(line) <= set("|-: ") and under in (None, heading):
            found.append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip("|"))])
        before = line
    return found


def names_in_code(cell: str) -> list[str]:
    """The words in back-ticks."""
    return re.findall(r"`([^`]+)`", cell)
