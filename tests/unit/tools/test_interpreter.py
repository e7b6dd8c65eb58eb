"""Which Python serves is what the machine has, not what else it did while two were compared."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).parents[3] / "tools" / "interpreter.py"


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, on a machine with one Python at hand and two of the system."""
    spec = importlib.util.spec_from_file_location("interpreter", PATH)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for name in ("at-hand", "system", "local"):
        (tmp_path / name).touch()
    monkeypatch.setattr(tool, "PLACES", (str(tmp_path / "system"), str(tmp_path / "local"), "/nowhere/python3"))
    return tool


Times = Callable[[ModuleType, dict[str, list[int | None]]], None]


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    """What each Python needs, time after time, the last one for ever; None: it cannot be used."""

    def stub(tool: ModuleType, of: dict[str, list[int | None]]) -> None:
        def measured(python: str) -> tuple[tuple[int, int], int] | None:
            left = of[Path(python).name]
            now = left.pop(0) if len(left) > 1 else left[0]
            return None if now is None else ((3, 11), now)

        monkeypatch.setattr(tool, "measured", measured)

    return stub


@pytest.mark.parametrize(
    ("at_hand", "system", "local", "taken"),
    [
        ([100], [72], [90], "system"),
        ([100], [90], [88], "at-hand"),
        ([100], [None], [70], "local"),
        ([None], [100], [90], "local"),
        ([None], [None], [None], "at-hand"),
        # something else ran on the machine while one of them was measured
        ([100], [180, 140, 72], [None], "system"),
        ([170, 160, 100], [95], [None], "at-hand"),
    ],
)
def test_one_that_is_clearly_faster_is_taken(
    interpreter: ModuleType,
    times: Times,
    tmp_path: Path,
    at_hand: list[int | None],
    system: list[int | None],
    local: list[int | None],
    taken: str,
) -> None:
    times(interpreter, {"at-hand": at_hand, "system": system, "local": local})
    assert Path(interpreter.chosen(str(tmp_path / "at-hand"))).name == taken


def test_where_there_is_one_python_nothing_is_measured(
    interpreter: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreter, "PLACES", (str(tmp_path / "at-hand"), "/nowhere/python3"))
    monkeypatch.delattr(interpreter, "measured")
    assert interpreter.chosen(str(tmp_path / "at-hand")) == str(tmp_path / "at-hand")
