"""The help of a command in Japanese, in the form of typer's English one. Must not know any command: it sets what they
tell, for a terminal on which most characters are two cells wide."""

from __future__ import annotations

import inspect
import re
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, get_type_hints

from sekisho.app.declare import Both, Explained, Group

#: as in English: at most so many cells, and two of margin
_WIDEST, _NARROWEST, _MARGIN = 80, 50, 2
_INDENT, _GAP, _WIDEST_NAME = 2, 2, 30
_HELP_OPTION = "この説明を表示して終了"
#: typer's words in the usage line
_USAGE = {"[OPTIONS]": "[オプション]", "COMMAND [ARGS]...": "コマンド [引数]..."}
#: typer's words for what an option takes
_KINDS = {"<int range>": "<整数>", "<int>": "<整数>", "<float>": "<数>", "<str>": "<文字列>", "<path>": "<パス>"}
#: typer's words in the brackets behind a text
_NOTES = (
    (r"default: (.+)", "既定値: {0}"),
    (r"(\d+)<=x<=(\d+)", "{0}～{1}"),
    (r"x>=(\d+)", "{0} 以上"),
    (r"x<=(\d+)", "{0} 以下"),
    (r"required", "必須"),
)
_WIDE = "\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6"
#: what must not end a line, and what must not begin one (JIS X 4051)
_OPENING, _CLOSING = (
    "（「『【［〔\\[(",
    "、。，．）」』】］〕！？：；ー々～ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ\\])",
)
#: what stays on one line: the end of a sentence, a number with its unit, a word in Latin, katakana or kanji, else one
_WORD = rf"(?:です|ます|ません|ください)(?=。)|\d[\d,.]* [つァ-ヺ一-鿿]|[^\s{_WIDE}]+|[ァ-ヺー・]+|[一-鿿々]+|\S"
_SMALL_PIECE = re.compile(rf"(\s*)([{_OPENING}]*(?:{_WORD})[{_CLOSING}]*)")
#: where there is room, code and notes too
_PIECE = re.compile(rf"(\s*)(\[[^\]]*\]|[{_OPENING}]*(?:`[^`]*`|{_WORD})[{_CLOSING}]*)")


def cells(text: str) -> int:
    """Columns of a terminal."""
    return sum(
        2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text if not unicodedata.combining(char)
    )


def usage_of(command: Explained, context: Any) -> str:
    """One line, or more where it is long."""
    pieces = " ".join(_USAGE.get(piece, piece) for piece in command.collect_usage_pieces(context))
    return "\n".join(wrapped(f"使い方: {context.command_path} {pieces}", _width()))


def help_of(command: Explained, context: Any) -> str:
    """Usage, text, arguments, options, commands and example."""
    blocks = [usage_of(command, context), "\n\n".join(map(_indented, _paragraphs(command.told.text.ja)))]
    texts = texts_of(command)
    for kind, heading in (("argument", "引数"), ("option", "オプション")):
        params = [one for one in command.get_params(context) if one.param_type_name == kind]
        blocks += _section(heading, [_row(one, texts, context) for one in params])
    if isinstance(command, Group):
        blocks += _section("コマンド", [(name, _first_sentence(one)) for name, one in command.commands.items()])
    blocks.append(_indented(f"例: {command.told.example}"))
    return "\n\n".join(blocks)


def texts_of(command: Explained) -> dict[str | None, str]:
    """Of arguments and options, by name. As they were declared: typer keeps but the English of an option."""
    texts: dict[str | None, str] = {"help": _HELP_OPTION}
    hints = get_type_hints(inspect.unwrap(command.callback), include_extras=True) if command.callback else {}
    for name, hint in hints.items():
        for declared in getattr(hint, "__metadata__", ()):
            if isinstance(told := getattr(declared, "help", None), Both):
                texts[name] = told.ja
    return texts


def wrapped(text: str, width: int) -> Iterator[str]:
    """Lines of at most `width` cells, unless one piece alone is wider."""
    line = ""
    for gap, piece in _pieces(text, width):
        if line and cells(line + gap + piece) > width:
            yield line
            line = piece
        else:
            line += (gap if line else "") + piece
    yield line


def _pieces(text: str, width: int) -> Iterator[tuple[str, str]]:
    """What may begin a line, each with the space in front of it."""
    for gap, piece in _PIECE.findall(text):
        if cells(piece) <= width:
            yield gap, piece
        else:
            yield from _SMALL_PIECE.findall(gap + piece)


def _width() -> int:
    return max(min(shutil.get_terminal_size().columns, _WIDEST) - _MARGIN, _NARROWEST)


def _paragraphs(text: str) -> list[str]:
    return [_joined(one.split("\n")) for one in inspect.cleandoc(text).split("\n\n")]


def _joined(lines: Sequence[str]) -> str:
    """Lines of the source as one: no space between Japanese characters nor behind a mark, one beside other words."""
    text = lines[0]
    for line in lines[1:]:
        together = re.search(rf"[{_OPENING}{_CLOSING}]$", text) or (cells(text[-1]) == cells(line[0]) == 2)
        text += line if together else f" {line}"
    return text


def _indented(text: str) -> str:
    return "\n".join(" " * _INDENT + line for line in wrapped(text, _width() - _INDENT))


def _section(heading: str, rows: list[tuple[str, str]]) -> list[str]:
    """A heading and two columns; nothing where there is no row. A name that is too wide has a line of its own."""
    if not rows:
        return []
    column = min(max(cells(name) for name, _ in rows), _WIDEST_NAME) + _GAP
    lines = [f"{heading}:"]
    for name, text in rows:
        first, *others = wrapped(text, _width() - column - _INDENT)
        room = column - cells(name)
        start = " " * _INDENT + name
        lines += [start + " " * room + first] if room >= _GAP else [start, " " * (column + _INDENT) + first]
        lines += [" " * (column + _INDENT) + line for line in others]
    return ["\n".join(lines)]


def _row(param: Any, texts: dict[str | None, str], context: Any) -> tuple[str, str]:
    """What is typed, and what it is for, as typer has them."""
    names, english = param.get_help_record(context)
    text = texts.get(param.name) or str(param.help)
    for kind, japanese in _KINDS.items():
        names = names.replace(kind, japanese)
    notes = english.removeprefix(param.help).strip().strip("[]").split("; ")
    told = "、".join(map(_note, filter(None, notes)))
    return names, f"{text}  [{told}]" if told else text


def _note(english: str) -> str:
    for pattern, japanese in _NOTES:
        if (found := re.fullmatch(pattern, english)) is not None:
            return japanese.format(*found.groups())
    return english


def _first_sentence(command: Any) -> str:
    sentence, stop, _ = _paragraphs(command.told.text.ja)[0].partition("。")
    return sentence + stop
