"""What is wrong with the words after `sekisho`, in the language of whoever typed them. Must not decide anything: typer
has found the mistake, and what it says in a way unknown here stays as it is."""

from __future__ import annotations

import re
from typing import Any

from sekisho.app.settings.model import Language

#: typer's sentence, and ours in Japanese
_JAPANESE = (
    (r"No such option: (.+) \(Possible options: (.+)\)", "オプション {0} はありません。近いもの: {1}"),
    (r"No such option: (.+)", "オプション {0} はありません。"),
    (r"No such command (.+)\. Did you mean (.+)\?", "コマンド {0} はありません。{1} の間違いではありませんか。"),
    (r"No such command (.+)\.", "コマンド {0} はありません。"),
    (r"Missing option (.+)\. Choose from:(.+)", "オプション {0} が必要です。使えるもの: {1}"),
    (r"Missing argument (.+)\. Choose from:(.+)", "引数 {0} が必要です。使えるもの: {1}"),
    (r"Missing option (.+)\.", "オプション {0} が必要です。"),
    (r"Missing argument (.+)\.", "引数 {0} が必要です。"),
    (r"Missing command\.", "コマンドを指定してください。"),
    (r"Option (.+) requires an argument\.", "オプション {0} には値が必要です。"),
    (r"Option (.+) does not take a value\.", "オプション {0} に値は付けられません。"),
    (r"Got unexpected extra argument(?:\(s\)|s)? \((.+)\)", "余分な引数があります: {0}"),
    (r"Invalid value for (.+?): (.+)", "{0} の値が正しくありません: {1}"),
)
_JAPANESE_VALUES = (
    (r"(.+) is not one of (.+)\.", "{0} は使えません。使えるもの: {1}"),
    (r"Input should be less than or equal to (.+)", "{0} 以下にしてください。"),
    (r"Input should be greater than or equal to (.+)", "{0} 以上にしてください。"),
    (r"Input should be a valid integer.*", "整数にしてください。"),
    (r"Input should be a valid number.*", "数にしてください。"),
    (r"path (.+) is not readable\.", "{0} を読む権限がありません。"),
    (r"path (.+) does not exist\.", "{0} はありません。"),
)


def is_usage_error(error: Exception) -> bool:
    """Whether typer raised it: its own classes for mistakes of usage are private."""
    return callable(getattr(error, "format_message", None)) and hasattr(error, "show")


def said(error: Any, language: Language) -> str | None:
    """The usage, where help is, and the mistake; None where the error is the help itself, and shows itself."""
    text = str(error.format_message()).replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    if context is not None and text == context.get_help():
        return None
    lines: list[str] = []
    if context is not None:
        way = f"{context.command_path} --help"
        lines = [
            context.get_usage(),
            f"'{way}' で使い方を見られます。" if language == "ja" else f"Try '{way}' for help.",
        ]
    mistake = f"エラー: {in_japanese(text)}" if language == "ja" else f"Error: {text}"
    return "\n".join([*lines, *([""] if lines else []), mistake])


def in_japanese(text: str) -> str:
    """The sentence in Japanese, or as it is."""
    for pattern, sentence in _JAPANESE:
        if (found := re.fullmatch(pattern, text, re.DOTALL)) is not None:
            return sentence.format(*(_value(part) for part in found.groups()))
    return text


def _value(text: str) -> str:
    for pattern, sentence in _JAPANESE_VALUES:
        if (found := re.fullmatch(pattern, text, re.DOTALL)) is not None:
            return sentence.format(*found.groups())
    return " ".join(text.split())
