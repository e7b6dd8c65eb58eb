"""The console script: light to start, exit codes as promised, no traceback for a bad configuration."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from sekisho import __version__
from sekisho.app import cli
from sekisho.app.settings import parse


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    out, err = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, out, err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(capsys, "--version") == (0, f"sekisho {__version__}\n", "")


def test_every_command_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys, "--help")

    assert code == 0
    assert [name for name in cli.COMMANDS if name not in out] == []


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys, command, "--help")

    assert code == 0
    assert re.search(rf"Example.*\bsekisho {command}\b", out, re.DOTALL)


def test_a_mistyped_command_is_wrong_usage_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = _run(capsys, "chek-config")

    assert code == 2
    assert "check-config" in err


def test_a_bad_configuration_ends_any_command_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(_: object) -> typer.Typer:
        app = typer.Typer()
        app.command()(lambda: parse("providers: 3", "bad.yaml", {}, language="en"))
        return app

    monkeypatch.setattr(cli, "build", build)

    code, out, err = _run(capsys)

    assert (code, out) == (2, "")
    assert err.startswith("bad.yaml:1:12: error: providers: expected a mapping")
    assert "Traceback" not in err


def test_one_command_imports_neither_the_others_nor_what_is_heavy() -> None:
    heavy = ("rich", "pyarrow", "duckdb", "sqlalchemy", "deltalake", "starlette", "uvicorn", "alembic")
    code = (
        "import sys; from sekisho.app.cli import build; build(['check-config']); "
        f"print([m for m in {heavy!r} if m in sys.modules], "
        "sorted(m for m in sys.modules if m.startswith('sekisho.app.commands.')))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[] ['sekisho.app.commands.check_config']"


@pytest.mark.parametrize(
    "extra", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_japanese_on_a_terminal_that_cannot_show_it_does_not_crash(extra: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from sekisho.app.cli import main; main()", "check-config", "--language", "ja"]

    done = subprocess.run(command, capture_output=True, env={**os.environ, **extra}, cwd=tmp_path, check=False)

    assert done.returncode == 2
    assert b"sekisho.yaml: error: " in done.stdout
    assert b"Traceback" not in done.stderr
