"""The catalogue of messages: whole in both languages, and every refusal in the source finds its words in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import sekisho
from sekisho.wire.messages import MESSAGES, REASONS, blanks, language_of, say

SOURCE = Path(sekisho.__file__).parent


class Raised(NamedTuple):
    """One `Refusal(…)` or `UpstreamError(…)` in the source."""

    where: str
    name: str
    values: frozenset[str]
    has_param: bool
    #: `**values` stands in the call, so nothing is known of its blanks
    open_values: bool


def calls_in_source() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", node


def raised() -> list[Raised]:
    found: list[Raised] = []
    for where, call in calls_in_source():
        assert isinstance(call.func, ast.Name)
        position = {"Refusal": 1, "UpstreamError": 0}.get(call.func.id)
        if position is None:
            continue
        given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg is not None}
        named = given.get("message") or (call.args[position] if len(call.args) > position else None)
        if isinstance(named, ast.Constant) and isinstance(named.value, str):
            open_values = any(keyword.arg is None for keyword in call.keywords)
            found.append(Raised(where, named.value, frozenset(given), "param" in given, open_values))
    return found


RAISED = raised()
#: codes that reach the caller without standing in a `Refusal(…)`: of error frames, and of stores
BY_OTHER_WAYS = ("stream_truncated", "stream_failed", "stream_interrupted", "upstream_timeout", "upstream_error")


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_there_in_both_languages_with_the_same_blanks(name: str) -> None:
    message = MESSAGES[name]
    assert blanks(message.en) == blanks(message.ja)
    assert message.en.endswith(".")
    assert message.ja.endswith("。")
    # what was wrong, and what to do
    assert len(message.en.split(". ")) >= 2 or ";" in message.en
    assert message.ja.count("。") >= 2 or "{reason}" in message.ja


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_is_there_in_both_languages_with_the_same_blanks(reason: str) -> None:
    assert blanks(reason) == blanks(REASONS[reason])
    assert REASONS[reason].endswith("。")
    assert not reason.endswith(".")


@pytest.mark.parametrize("call", RAISED, ids=lambda call: call.where)
def test_every_refusal_in_the_source_has_its_message_and_fills_its_blanks(call: Raised) -> None:
    assert call.name in MESSAGES
    needed = blanks(MESSAGES[call.name].en) - {"param"}
    assert call.open_values or needed <= call.values
    assert "{param}" not in MESSAGES[call.name].en or call.has_param


def test_refusals_were_found_in_the_source() -> None:
    assert {call.name for call in RAISED} >= {"invalid_json", "invalid_value", "forbidden_field"}
    assert set(BY_OTHER_WAYS) <= MESSAGES.keys()


def test_every_reason_in_the_source_is_known_in_japanese() -> None:
    """A reason is a text, or the name `reason` of a text set just before, never put together on the spot."""
    reasons: dict[str, str] = {}
    for where, call in calls_in_source():
        assert isinstance(call.func, ast.Name)
        if call.func.id != "Refusal":
            continue
        for keyword in call.keywords:
            if keyword.arg == "reason":
                assert not isinstance(keyword.value, ast.JoinedStr), f"{where}: give the text blanks, and the values"
                if isinstance(keyword.value, ast.Constant):
                    reasons[str(keyword.value.value)] = where
    for path in sorted(SOURCE.joinpath("wire").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["reason"]:
                value: Any = node.value
                if isinstance(value, ast.Constant):
                    reasons[str(value.value)] = f"{path.name}:{node.lineno}"
    assert {text: where for text, where in reasons.items() if text not in REASONS} == {}


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "ja"),
        (b"", "ja"),
        (b"en", "en"),
        (b"en-US,en;q=0.9,ja;q=0.8", "en"),
        (b"ja,en-US;q=0.9,en;q=0.8", "ja"),
        (b"fr,en;q=0.5", "en"),
        (b"fr-CH, fr;q=0.9, *;q=0.5", "ja"),
        (b"en;q=0", "ja"),
        (b"en;q=0.3, ja;q=0.7", "ja"),
        (b"EN-gb ; Q=0.9", "en"),
        (b"en;q=zero", "ja"),
        (b"\xff\xfe;q=1,en;q=0.1", "en"),
        (b"english", "ja"),
    ],
)
def test_the_language_is_the_one_the_caller_prefers(header: bytes | None, language: str) -> None:
    assert language_of(header, "ja") == language


def test_a_language_we_do_not_speak_leaves_the_default() -> None:
    assert language_of(b"fr", "en") == "en"


def test_a_blank_nobody_filled_is_a_question_mark() -> None:
    assert "?" in say("model_not_found", "en", None, {})
