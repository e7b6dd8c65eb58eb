"""Who mistypes a command is told in their language. Every sentence is asked from typer itself, so that another version
of it which says them otherwise is noticed."""

from __future__ import annotations

import pytest

from sekisho.app import cli

CASES = [
    ("keys create", "Missing option '--name'.", "オプション '--name' が必要です。"),
    (
        "tables export",
        "Missing option '--table'. Choose from:",
        "オプション '--table' が必要です。使えるもの: usage, inference_log",
    ),
    ("keys create", "Usage: sekisho keys create", "使い方: sekisho keys create"),
    ("keys revoke", "Missing argument 'ID'.", "引数 'ID' が必要です。"),
    ("keys create --name", "Option '--name' requires an argument.", "オプション '--name' には値が必要です。"),
    ("demo --traffic=1", "Option '--traffic' does not take a value.", "オプション '--traffic' に値は付けられません。"),
    ("keys list --colour", "No such option: --colour", "オプション --colour はありません。"),
    ("keys create --nam x", "(Possible options: --name, --team)", "近いもの: --name, --team"),
    ("keys lost", "No such command 'lost'.", "コマンド 'lost' はありません。"),
    ("keyz", "No such command 'keyz'. Did you mean 'keys'?", "'keys' の間違いではありませんか。"),
    ("sql a b", "Got unexpected extra argument(s) (b)", "余分な引数があります: b"),
    (
        "keys list --format xml",
        "Invalid value for '--format': 'xml' is not one of 'table', 'json'.",
        "'--format' の値が正しくありません: 'xml' は使えません。使えるもの: 'table', 'json'",
    ),
    (
        "serve --port 99999",
        "less than or equal to 65535",
        "'--port' の値が正しくありません: 65535 以下にしてください。",
    ),
    ("serve --workers 0", "greater than or equal to 1", "'--workers' の値が正しくありません: 1 以上にしてください。"),
    ("serve --port x", "valid integer", "'--port' の値が正しくありません: 整数にしてください。"),
    ("limits set --wait-s x", "valid number", "'--wait-s' の値が正しくありません: 数にしてください。"),
]


@pytest.mark.parametrize(("words", "english", "japanese"), CASES)
def test_a_mistake_of_usage_is_told_in_the_language_of_the_terminal(
    words: str, english: str, japanese: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for language, said in (("en_US.UTF-8", english), ("ja_JP.UTF-8", japanese)):
        monkeypatch.setenv("LC_ALL", language)
        with pytest.raises(SystemExit) as caught:
            cli.main(words.split())
        out, err = capsys.readouterr()
        assert (caught.value.code, out) == (2, "")
        assert said in err
        assert "Value error" not in err


def test_a_group_without_a_command_shows_its_help_and_no_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    with pytest.raises(SystemExit) as caught:
        cli.main(["keys"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("使い方: sekisho keys [オプション] コマンド")
