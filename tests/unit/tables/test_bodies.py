"""Previews of bodies, whatever stands beside what they show."""

import msgspec
import pytest

from sekisho.tables.bodies import PREVIEW_CHARACTERS, input_preview, output_preview

ODD = {"role": "tool", "content": {"of": "no documented shape"}}
USER = {"role": "user", "content": "領収書はどこ?"}


def request(*messages: object) -> bytes:
    return msgspec.json.encode({"model": "m", "messages": messages})


def answer(content: object, *others: object) -> bytes:
    return msgspec.json.encode({"choices": [{"message": {"role": "assistant", "content": content}}, *others]})


@pytest.mark.parametrize("others", [(), (ODD,), ({"role": "assistant", "content": None, "tool_calls": [{}]},)])
def test_the_last_user_message_is_shown_whatever_the_others_are(others: tuple[object, ...]) -> None:
    assert input_preview(request({"role": "user", "content": "old"}, USER, *others)) == "領収書はどこ?"
    assert input_preview(request(*others, USER)) == "領収書はどこ?"


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("", ""),
        ("あ" * 300, "あ" * PREVIEW_CHARACTERS),
        ([{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {"url": "data:"}}, "two"], "one\ntwo"),
        ([{"type": "image_url"}], None),
        (None, None),
        ({"text": "odd"}, None),
        (3, None),
        ([1, 2], None),
    ],
)
def test_a_content_is_shown_by_its_shape_beside_others_of_any_shape(content: object, shown: str | None) -> None:
    asked = {"role": "user", "content": content}
    assert input_preview(request(asked)) == input_preview(request(ODD, asked)) == shown
    assert output_preview(answer(content)) == output_preview(answer(content, {"message": ODD})) == shown


def test_inputs_of_other_routes_are_shown() -> None:
    assert input_preview(b'{"input":"one"}') == "one"
    assert input_preview(b'{"input":["one","two"]}') == "one\ntwo"
    assert input_preview(b'{"input":[[1,2],[3]]}') is None
    assert input_preview('{"message":"質問"}'.encode()) == "質問"
    assert input_preview(b'{"input":{"odd":1},"message":"asked"}') == "asked"
    assert input_preview(b'{"messages":[{"role":"tool","content":{"odd":1}}],"message":"asked"}') == "asked"


@pytest.mark.parametrize(
    "body",
    [b"", b"[", b"[]", b'{"messages":3}', b"[" * 5_000, b'{"messages":[{"role":"user","content":"\\ud800"}]}', b"\xff"],
)
def test_what_cannot_be_read_has_no_preview(body: bytes) -> None:
    assert input_preview(body) is None
    assert output_preview(body.replace(b"messages", b"choices")) is None
