"""What `sekisho sql` prints is what stands in the tables."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from rich.cells import cell_len

from sekisho.app.commands.sql_output import as_csv, as_json, as_spreadsheet, as_table


class _Rows:
    def __init__(self, *rows: tuple[Any, ...], columns: tuple[str, ...] = ("text", "n")) -> None:
        self.columns = list(columns)
        self.numeric = [name == "n" for name in columns]
        self._rows = rows

    def rows(self) -> tuple[tuple[Any, ...], ...]:
        return self._rows


@pytest.mark.parametrize("text", ["一行目\n二行目", "a\rb", "a\r\nb", '"x", y', "", "\n"])
def test_a_csv_reader_gets_texts_back_as_they_were(text: str) -> None:
    written = "\n".join(as_csv(_Rows((text, 1), ("next", 2))))
    assert list(csv.reader(io.StringIO(written, newline=""))) == [["text", "n"], [text, "1"], ["next", "2"]]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_a_spreadsheet_takes_no_text_of_a_caller_for_a_formula(sign: str) -> None:
    formula = f'{sign}HYPERLINK("https://example.com";A1)'
    written = "\n".join(as_spreadsheet(_Rows((formula, -1), (f"a;{formula}", None), (f"'{formula}", 2))))
    assert list(csv.reader(io.StringIO(written.removeprefix("\ufeff"), newline=""))) == [
        ["text", "n"],
        [f"'{formula}", "-1"],
        [f"a;{formula}", ""],
        [f"'{formula}", "2"],
    ]
    # no other separator of a spreadsheet may end a text
    assert f'"a;{formula}'.replace('"https', '""https').replace('com"', 'com""') in written


def test_a_spreadsheet_reads_japanese_and_a_program_gets_nothing_before_it() -> None:
    assert "\n".join(as_spreadsheet(_Rows(("関所", 1)))).encode().startswith(b"\xef\xbb\xbf")
    assert "\n".join(as_csv(_Rows(("=1+1", 1)))) == "text,n\n=1+1,1"


def test_a_table_shows_a_text_of_any_length_whole() -> None:
    lines = list(as_table(_Rows(("あ" * 60_000 + "。", 1)), colour=False))
    assert lines[1] == "あ" * 60_000 + "。  1"


def test_a_table_shows_a_text_with_tabs_whole() -> None:
    assert list(as_table(_Rows(("if x:\n\treturn\ty", 1)), colour=False)) == [
        f"{'text':<17}  n",
        f"{'if x:':<17}  1",
        "        return  y",
    ]


def test_a_table_never_gives_a_terminal_what_callers_wrote_as_a_command() -> None:
    [_, line] = as_table(_Rows(("\x1b[2J\x07\rgone\x9b", 1)), colour=True)
    assert line == "\\x1b[2J\\x07\\x0dgone\\x9b  1"


def test_json_never_gives_a_terminal_what_callers_wrote_as_a_command() -> None:
    text = "\x1b[2J\x7f\x9b2J"
    written = "\n".join(as_json(_Rows((text, 1), ({text: [text]}, 2))))
    assert written.replace("\n", "").isprintable()
    assert [row["text"] for row in json.loads(written)] == [text, {text: [text]}]


def test_the_columns_of_a_table_line_up_in_any_script() -> None:
    rows = _Rows(("全角テスト", 1), ("ｶﾅ", None), (None, 333), ("e\u0301", 22))
    lines = list(as_table(rows, colour=False))
    assert lines == [
        "text           n",
        "全角テスト     1",
        "ｶﾅ          NULL",
        "NULL         333",
        "e\u0301             22",
    ]
    assert {cell_len(line) for line in lines} == {16}


def test_a_table_without_rows_is_its_head() -> None:
    assert list(as_table(_Rows(), colour=False)) == ["text  n"]


def test_a_terminal_gets_the_head_bold_and_null_dim() -> None:
    assert list(as_table(_Rows((None, 1)), colour=True)) == [
        "\x1b[1mtext\x1b[0m  \x1b[1mn\x1b[0m",
        "\x1b[2mNULL\x1b[0m  1",
    ]
