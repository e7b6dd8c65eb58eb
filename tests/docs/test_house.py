"""The house rules that a reader relies on: a card on every door, files and functions that fit on a screen or two.

The lists of exceptions may only shrink: a shorter file or function comes off or gets its new number, and no longer one
gets in without a reason that a reviewer believes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

SOURCE = ROOT / "src" / "sekisho"
MOST_FILE_LINES, MOST_FUNCTION_LINES = 400, 40
WORDS = ("In:", "Out:", "May import:", "Tests:")
#: the house itself has no door
ROOMS = sorted(file for file in SOURCE.rglob("__init__.py") if file.parent != SOURCE)

#: file under src/sekisho -> its lines
LONG_FILES: dict[str, int] = {}

#: file and function -> its lines
LONG_FUNCTIONS: dict[str, int] = {}


@pytest.mark.parametrize("file", ROOMS, ids=lambda file: file.parent.relative_to(SOURCE).as_posix())
def test_every_room_has_its_card(file: Path) -> None:
    card = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    lines = card.splitlines()
    for word in WORDS:
        assert any(line.startswith(word) for line in lines), f"the card has no line `{word}`"


def test_no_file_is_longer_than_it_was() -> None:
    found = {name: lines for name, lines in _files() if lines > MOST_FILE_LINES}
    assert _grown(found, LONG_FILES) == {}
    assert _shrunk(found, LONG_FILES) == {}


def test_no_function_is_longer_than_it_was() -> None:
    found = {name: lines for name, lines in _functions() if lines > MOST_FUNCTION_LINES}
    assert _grown(found, LONG_FUNCTIONS) == {}
    assert _shrunk(found, LONG_FUNCTIONS) == {}


def _grown(found: dict[str, int], known: dict[str, int]) -> dict[str, int]:
    """Too long and not known to be, or longer than known: split it."""
    return {name: lines for name, lines in found.items() if lines > known.get(name, 0)}


def _shrunk(found: dict[str, int], known: dict[str, int]) -> dict[str, int]:
    """Shorter than known: write the new number into the list, or take the entry out."""
    return {name: found.get(name, 0) for name, lines in known.items() if found.get(name, 0) < lines}


def _files() -> Iterator[tuple[str, int]]:
    for file in sorted(SOURCE.rglob("*.py")):
        yield file.relative_to(SOURCE).as_posix(), len(file.read_text("utf-8").splitlines())


def _functions() -> Iterator[tuple[str, int]]:
    for file in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        yield from _inside(tree, file.relative_to(SOURCE).as_posix() + ":")


def _inside(node: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
    """Functions with the names of what they stand in; a function counts those inside it as its own lines."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _inside(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            assert child.end_lineno is not None
            yield f"{prefix}{child.name}", child.end_lineno - child.lineno + 1
            yield from _inside(child, f"{prefix}{child.name}.")
        else:
            yield from _inside(child, prefix)
