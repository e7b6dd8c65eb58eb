"""`sekisho init` writes a file that passes check-config once the variables it names are set."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sekisho.app.cli import main
from sekisho.app.commands.init import TEMPLATES
from sekisho.app.settings import Language, load, parse

VARIABLES = {"OPENAI_API_KEY": "sk-provider", "SEKISHO_KEY": "0123456789abcdef0123456789abcdef"}
LANGUAGES: tuple[Language, ...] = ("en", "ja")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")


def _init(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        main(["init", *words])
    out, err = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, out + err


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_written_can_be_used(
    language: Language, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out = _init(capsys, "--language", language)
    for name, value in VARIABLES.items():
        assert name in out
        monkeypatch.setenv(name, value)

    assert code == 0
    assert "sekisho serve" in out
    with pytest.raises(SystemExit, match="0"):
        main(["check-config", "sekisho.yaml"])
    settings = load(environ=VARIABLES)
    assert settings.warnings == ()
    assert settings.language == language


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_switched_off_can_be_switched_on(language: Language) -> None:
    switched_on = re.sub(r"^(\s*)#(?! \S)", r"\1", TEMPLATES[language], flags=re.MULTILINE)

    settings = parse(switched_on, environ={**VARIABLES, "SEKISHO_ADMIN_KEY": "an-administrators-key"}, language="en")

    assert settings.warnings == ()
    assert len(settings.providers) == 2
    assert settings.endpoints["chat"].fallbacks
    assert settings.prices


def test_both_languages_set_the_same() -> None:
    english, japanese = (parse(TEMPLATES[language], environ=VARIABLES) for language in LANGUAGES)

    assert (english.timezone, english.language) == ("UTC", "en")
    assert (japanese.timezone, japanese.language) == ("Asia/Tokyo", "ja")
    assert repr(english.endpoints) == repr(japanese.endpoints)
    assert repr(english.keys) == repr(japanese.keys)


def test_the_language_follows_the_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")

    code, out = _init(capsys, "--path", "設定.yaml")

    assert code == 0
    assert "sekisho serve --config 設定.yaml" in out.replace("'", "")
    assert (tmp_path / "設定.yaml").read_text("utf-8") == TEMPLATES["ja"]


def test_a_file_is_overwritten_only_by_force(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "sekisho.yaml").write_text("mine")

    code, out = _init(capsys)

    assert code == 1
    assert "--force" in out
    assert (tmp_path / "sekisho.yaml").read_text() == "mine"
    assert _init(capsys, "--force")[0] == 0
    assert (tmp_path / "sekisho.yaml").read_text("utf-8") == TEMPLATES["en"]


def test_a_folder_that_is_not_there_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert _init(capsys, "--path", "nowhere/sekisho.yaml")[0] == 2
