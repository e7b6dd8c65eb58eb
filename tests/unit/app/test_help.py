"""`--help` in both languages: nothing is missing in one of them, both name the same things, and the Japanese one stands
on a terminal as the English one does."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sekisho.app import cli
from sekisho.app.declare import Both, Command, Group
from sekisho.app.japanese_help import cells, texts_of, wrapped

#: what is the same in any language: options, code, paths, addresses, names with a mark inside, numbers, `'*'`
NAMES = re.compile(r"--[a-z-]+|x-[a-z-]+|`[^`]+`|https?://[\w.:]+\w|[\w-]+(?:[._/?=&]+[\w*-]+)+|'[^' ]+'|\d+", re.ASCII)
#: where English has an article
ONE = re.compile("1 [つ行人]")
#: words of typer that must not be left
ENGLISH = re.compile(r"Usage|Options|Arguments|Commands|Example|default:|required|<(?:int|str|float|path|bool)|x<=")


def everything() -> Iterator[tuple[tuple[str, ...], Any]]:
    whole: Any = typer.main.get_command(cli.build([]))
    yield (), whole
    for name, command in whole.commands.items():
        yield (name,), command
        for inner, below in getattr(command, "commands", {}).items():
            yield (name, inner), below


COMMANDS = list(everything())
IDS = [" ".join(words) or "sekisho" for words, _ in COMMANDS]
each_command = pytest.mark.parametrize(("words", "command"), COMMANDS, ids=IDS)


def shown(words: tuple[str, ...], locale: str, columns: int = 80) -> str:
    environ = {"COLUMNS": str(columns), "LC_ALL": locale}
    done = CliRunner().invoke(cli.build(words), [*words, "--help"], prog_name="sekisho", env=environ)
    assert done.exit_code == 0, done.output
    return done.output


def is_japanese(text: str) -> bool:
    return any(unicodedata.name(char, "").startswith(("HIRAGANA", "KATAKANA", "CJK")) for char in text)


@each_command
def test_no_text_of_the_help_lacks_a_language(words: tuple[str, ...], command: Any) -> None:
    declared = isinstance(command, Command | Group)
    assert declared, "declare it with sekisho.app.declare"
    assert is_japanese(command.told.text.ja)
    assert command.told.text.strip()
    assert not is_japanese(command.told.text)
    japanese = texts_of(command)
    params: list[Any] = command.params
    for param in params:
        assert param.help, param.name
        assert not is_japanese(param.help)
        assert is_japanese(japanese.get(param.name, "")), f"{param.name}: give it Both(…, …)"


@each_command
def test_both_languages_name_the_same_options_exit_codes_and_numbers(words: tuple[str, ...], command: Any) -> None:
    japanese = texts_of(command)
    pairs = [(str(command.told.text), command.told.text.ja)]
    pairs += [(str(param.help), japanese[param.name]) for param in command.params]
    for english, other in pairs:
        assert set(NAMES.findall(english)) == set(NAMES.findall(ONE.sub("", other))), (english, other)
        codes = re.findall(r"(?i)exit code", english)
        assert len(codes) == other.count("終了コード"), other
    options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    assert set(re.findall(r"--[a-z-]+", command.told.text.ja)) <= options


@each_command
def test_the_japanese_help_shows_what_the_english_one_does(words: tuple[str, ...], command: Any) -> None:
    english, japanese = shown(words, "en_US.UTF-8"), shown(words, "ja_JP.UTF-8")
    assert not is_japanese(english)
    assert not ENGLISH.search(japanese), japanese
    assert f"使い方: sekisho {' '.join(words)}".rstrip() in japanese
    assert f"例: {command.told.example}" in " ".join(japanese.split())
    for param in command.params:
        assert all(name in japanese for name in (*param.opts, *param.secondary_opts) if name.startswith("-"))
    assert "この説明を表示して終了" in japanese


@each_command
@pytest.mark.parametrize("columns", [80, 200, 60])
def test_the_japanese_help_fits_the_terminal_and_its_columns_line_up(
    words: tuple[str, ...], command: Any, columns: int
) -> None:
    lines = shown(words, "ja_JP.UTF-8", columns).splitlines()
    assert max(map(cells, lines)) <= min(columns, 80)
    assert not [line for line in lines if line.strip()[:1] in tuple("、。）」ー")]
    assert not [line for line in lines if line.endswith(("（", "「"))]
    starts = {cells(found[1]) for line in lines if (found := re.match(r"(  --help\s+)\S", line))}
    sections = "\n".join(lines).split("\nオプション:\n")[1].split("\n\n")[0].splitlines()
    for line in sections:
        # a name and two spaces, or the blank in front of a line that goes on
        found = re.match(r"(  -.*?\s{2,}|\s{3,})\S", line)
        assert found is None or {cells(found[1])} == starts or line.startswith("  --"), line


def test_what_an_option_takes_lines_up_by_cells() -> None:
    output = shown(("serve",), "ja_JP.UTF-8")
    texts = ("設定ファイル", "待ち受けるアドレス", "ポート（", "ワーカーの数", "この説明を表示して終了")
    [block] = [block for block in output.split("\n\n") if block.startswith("オプション:")]
    lines = [next(line for line in block.splitlines() if text in line) for text in texts]
    assert len({cells(line[: line.index(text)]) for line, text in zip(lines, texts, strict=True)}) == 1


def test_a_full_width_character_is_two_cells_wide_and_a_half_width_one_is_one() -> None:
    assert [cells(text) for text in ("a", "あ", "漢", "、", "\uff71", "（", "か\u3099")] == [1, 2, 2, 2, 1, 2, 2]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("応答を記録します。", ["応答を記録", "します。"]),
        ("値は 5 秒です。", ["値は 5 秒", "です。"]),
        ("（既定は abc）です", ["（既定は", "abc）です"]),
        ("プロバイダー名", ["プロバイダー", "名"]),
        ("これは `a b c` です。", ["これは", "`a b c`", "です。"]),
    ],
)
def test_lines_break_where_a_reader_expects_it(text: str, lines: list[str]) -> None:
    assert list(wrapped(text, 10)) == lines


@given(st.text("aあ漢ア、。（）` 1-[]", max_size=60), st.integers(4, 30))
def test_breaking_lines_loses_nothing_but_spaces(text: str, width: int) -> None:
    assert "".join("".join(wrapped(text, width)).split()) == "".join(text.split())


def test_a_text_is_english_for_typer_with_the_japanese_beside_it() -> None:
    assert (Both("yes", "はい"), Both("yes", "はい").ja) == ("yes", "はい")


@pytest.mark.parametrize("words", [["--help"], ["serve", "--help"], ["keys"], ["tables", "info", "--help"]])
def test_the_help_follows_the_rule_for_the_language_of_commands(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)

    def said(*more: str) -> str:
        with pytest.raises(SystemExit):
            cli.main([*words, *more])
        return "".join(capsys.readouterr())

    assert said().startswith("Usage: sekisho")
    (tmp_path / "sekisho.yaml").write_text("language: ja\nproviders: [", encoding="utf-8")
    assert said().startswith("使い方: sekisho")
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    assert said().startswith("Usage: sekisho")
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    assert said().startswith("使い方: sekisho")


def test_a_command_that_runs_does_not_import_what_sets_the_help() -> None:
    code = (
        "import sys; from sekisho.app.cli import build; import typer.main; typer.main.get_command(build(['serve']));"
        "print([name for name in ('sekisho.app.japanese_help', 'sekisho.app.settings') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
