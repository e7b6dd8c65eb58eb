"""One rule for the language of commands: an explicit locale of the terminal, else `language` of the configuration, else
English. Every command is asked, so that a new one cannot have a rule of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sekisho.app import cli

CONFIG = "language: {language}\nproviders: {{p: {{type: openai, base_url: 'https://llm.example.com/v1'}}}}\n"
JAPANESE = re.compile("[ぁ-んァ-ン]")

#: what each command says without a gateway, a database or a port
SAYINGS = [
    "keys revoke nobody",
    "keys nothing",
    "teams --gateway ftp://nowhere --key k",
    "users --gateway ftp://nowhere --key k",
    "budgets list --gateway ftp://nowhere",
    "limits show --key ''",
    "stop --gateway ftp://nowhere --key k --all",
    "sql 'DROP TABLE usage'",
    "sql 'SELECT 1 FROM nowhere'",
    "reconcile --gateway ftp://nowhere",
    "tables info",
    "tables compact",
    "tables export --table usage --from x --to y --out z.csv",
    "check-config sekisho.yaml",
    "init",
    "serve --workers 4",
    "serve --port x",
    "demo --port x",
    "mock --port x",
]

Said = Callable[[str], str]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Everything a command prints, in a folder of its own and on a terminal that was told nothing."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("LC_", "LANG", "SEKISHO_"))]:
        monkeypatch.delenv(name)

    def one(line: str) -> str:
        with pytest.raises(SystemExit):
            cli.main([word.strip("'") for word in re.findall(r"'[^']*'|\S+", line)])
        out, err = capsys.readouterr()
        return out + err

    return one


def write(language: str, name: str = "sekisho.yaml") -> None:
    Path(name).write_text(CONFIG.format(language=language), encoding="utf-8")


@pytest.mark.parametrize("line", SAYINGS)
def test_every_command_speaks_as_the_terminal_else_as_the_configuration_else_english(
    line: str, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("ja")
    for name, value in (("LANG", "C.UTF-8"), ("LC_MESSAGES", "POSIX"), ("LC_ALL", "")):
        monkeypatch.setenv(name, value)
        assert JAPANESE.search(said(line)), value
    monkeypatch.setenv("LC_ALL", "en_GB.UTF-8")
    assert not JAPANESE.search(said(line))
    write("en")
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    assert JAPANESE.search(said(line))
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    assert not JAPANESE.search(said(line))


@pytest.mark.parametrize("line", ["keys revoke nobody", "sql 'DROP TABLE x'", "tables compact", "tables nothing"])
@pytest.mark.parametrize("form", ["--config other.yaml", "--config=other.yaml"])
def test_the_configuration_that_is_named_counts_and_not_the_one_that_lies_here(
    line: str, form: str, said: Said
) -> None:
    write("en")
    write("ja", "other.yaml")
    assert JAPANESE.search(said(f"{line} {form}"))
    write("ja")
    write("en", "other.yaml")
    assert not JAPANESE.search(said(f"{line} {form}"))


@pytest.mark.parametrize("make", [lambda: None, lambda: Path("sekisho.yaml").mkdir()])
def test_without_a_configuration_that_can_be_read_it_is_english(make: Callable[[], None], said: Said) -> None:
    make()
    assert "No such command" in said("keyz")


def test_a_pipe_is_left_for_the_command(said: Said, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "No such option" in said("keys list --config pipe --colour")
