"""Whole requests: messages, tools, pictures, other protocols, and bodies that make no sense."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.tokens.counted import error, mean, of_kind
from tests.unit.tokens.texts import ENGLISH, JAPANESE

from sekisho.tokens.images import (
    DEFAULT_RULE,
    UNKNOWN_SIZE,
    AreaRule,
    PatchRule,
    SquareRule,
    TileRule,
    rule_for,
    size_of,
)
from sekisho.tokens.request import estimate_body, estimate_embeddings, estimate_request
from sekisho.tokens.text import estimate

#: a busy machine is not a failure
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def tokens(body: dict[str, Any], model: str = "gpt-4o", **style: Any) -> int:
    return estimate_body(json.dumps(body, **style).encode(), model).tokens


def chat(*texts: str) -> dict[str, Any]:
    return {"model": "chat", "messages": [{"role": "user", "content": text} for text in texts]}


def data_url(width: int, height: int) -> str:
    """A PNG of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(b"\x00" * (width + 1) * height, 9)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


@pytest.mark.parametrize("kind", ["japanese", "english", "code", "json"])
def test_a_request_is_its_texts_and_their_frames(kind: str) -> None:
    pieces = of_kind(kind)
    # OpenAI's frames: 3 tokens a message and one for its role, 3 before the answer
    errors = [error(tokens(chat(piece.text)), piece.tokens["o200k"] + 7) for piece in pieces]
    assert mean(errors) <= 0.06


def test_many_short_messages_are_mostly_frames() -> None:
    # "ok" is one token: 30 messages of 1 + 4, and 3
    assert tokens(chat(*["ok"] * 30)) == pytest.approx(30 * 5 + 3, rel=0.25)


@pytest.mark.parametrize("style", [{}, {"ensure_ascii": False}, {"indent": 2}, {"separators": (",", ":")}])
def test_how_the_json_is_written_does_not_matter(style: dict[str, Any]) -> None:
    body = chat(*JAPANESE[:3], ENGLISH[0])
    assert tokens(body, **style) == tokens(body)


def test_fields_of_a_request_are_enough() -> None:
    body = json.dumps({**chat("hello"), "temperature": 0.5}).encode()
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    assert estimate_request(fields, "gpt-4o") == estimate_body(body, "gpt-4o")


def test_tools_count_as_tools() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string", "description": "Name of a city"}}}
    tool = {"type": "function", "function": {"name": "weather", "description": "Weather now", "parameters": schema}}
    parts = estimate_body(json.dumps({**chat("hi"), "tools": [tool] * 3}).encode(), "gpt-4o")
    assert 90 < parts.tools < 220
    assert estimate_body(json.dumps({**chat("hi"), "tools": None}).encode(), "gpt-4o").tools == 0


def test_calls_of_tools_and_their_results_are_text() -> None:
    arguments = json.dumps({"city": "札幌", "days": 3}, ensure_ascii=False)
    messages = [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "weather", "arguments": arguments}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": JAPANESE[0]},
    ]
    found = tokens({"model": "m", "messages": messages})
    assert found == pytest.approx(estimate(arguments) + estimate(JAPANESE[0]) + 12, rel=0.1)


def test_a_picture_is_counted_by_its_size_and_not_by_its_bytes() -> None:
    url = data_url(1024, 1024)
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    found = estimate_body(
        json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}).encode(), "gpt-4o"
    )
    assert found.images == 765
    assert found.tokens < 785


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "DATA"}}],
        [{"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}],
        [
            {
                "type": "tool_result",
                "tool_use_id": "t",
                "content": [{"type": "image", "source": {"media_type": "image/png", "data": "DATA"}}],
            }
        ],
    ],
)
def test_pictures_of_anthropic(content: list[Any]) -> None:
    data = data_url(1000, 750).partition(",")[2]
    body = json.dumps({"model": "m", "system": "Be brief.", "messages": [{"role": "user", "content": content}]})
    found = estimate_body(body.replace("DATA", data).encode(), "claude-sonnet-4-5")
    # 1000 x 750 / 750; the address is taken for 1024 x 1024
    assert found.images in (1000, 1399)
    assert found.tokens - found.images < 20


def test_other_protocols_are_walked() -> None:
    text = ENGLISH[0]
    wanted = pytest.approx(estimate(text) + 8, rel=0.15)
    assert tokens({"input": text}) == wanted
    assert tokens({"input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}]}) == wanted
    assert tokens({"contents": [{"role": "user", "parts": [{"text": text}]}]}) == wanted
    assert (
        tokens({"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}], "max_tokens": 5}) == wanted
    )
    picture = {"inlineData": {"mimeType": "image/png", "data": data_url(300, 200).partition(",")[2]}}
    found = estimate_body(json.dumps({"contents": [{"parts": [picture, {"text": text}]}]}).encode(), "gemini-2.5-flash")
    assert found.images == 258
    sound = {"type": "input_audio", "input_audio": {"data": "A" * 40_960, "format": "wav", "mime_type": "audio/wav"}}
    assert 300 < tokens({"messages": [{"role": "user", "content": [sound]}]}) < 500


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (ENGLISH[0], estimate(ENGLISH[0])),
        (ENGLISH[:3], sum(map(estimate, ENGLISH[:3]))),
        ([1, 2, 3], 3),
        ([[1, 2], [3, 4, 5]], 5),
        ([], 0),
        (None, 0),
        ({"text": "x"}, 0),
    ],
)
def test_embeddings_have_no_frames(given: Any, count: int) -> None:
    fields = {"input": msgspec.Raw(json.dumps(given).encode()), "model": msgspec.Raw(b'"m"')}
    assert estimate_embeddings(fields).tokens == pytest.approx(count, rel=0.05)
    assert estimate_embeddings({}).tokens == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1]", b'"x"', b"\xff\xfe", b'{"messages": 5}', b'{"messages": [[[]]]}', b'{"messages": null}', b"{}"],
)
def test_a_body_that_makes_no_sense_still_has_an_estimate(body: bytes) -> None:
    assert estimate_body(body, "m").tokens >= 0


def test_a_deep_body_is_no_trap() -> None:
    assert estimate_body(b'{"messages": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "m").tokens >= 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@STEADY
@given(st.dictionaries(st.sampled_from(["messages", "input", "tools", "system", "contents", "x"]), json_values))
def test_no_body_breaks_it(body: dict[str, Any]) -> None:
    assert estimate_body(json.dumps(body).encode(), "gpt-4o").tokens >= 0


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        ("gpt-4o-2024-11-20", TileRule(85, 170)),
        ("gpt-4o-mini", TileRule(2833, 5667)),
        ("openai/gpt-5-mini", PatchRule(1.62)),
        ("gpt-5", TileRule(70, 140)),
        ("claude-haiku-4-5", AreaRule()),
        ("gemini-2.5-pro", SquareRule()),
        ("llava", DEFAULT_RULE),
    ],
)
def test_the_rule_goes_by_the_name(model: str, rule: object) -> None:
    assert rule_for(model) == rule


@pytest.mark.parametrize(
    ("rule", "size", "detail", "count"),
    [
        # the examples of https://platform.openai.com/docs/guides/images-vision#calculating-costs
        (TileRule(85, 170), (1024, 1024), "high", 765),
        (TileRule(85, 170), (2048, 4096), "high", 1105),
        (TileRule(85, 170), (4096, 8192), "low", 85),
        (TileRule(85, 170), (512, 512), None, 255),
        (PatchRule(1.0), (1024, 1024), None, 1024),
        (PatchRule(1.0), (1800, 2400), None, 1452),
        (PatchRule(1.62), (1024, 1024), None, 1659),
        # those of https://docs.claude.com/en/docs/build-with-claude/vision#calculate-image-costs
        (AreaRule(), (200, 200), None, 54),
        (AreaRule(), (1000, 1000), None, 1334),
        (AreaRule(), (1092, 1092), None, 1590),
        (AreaRule(), (8000, 8000), None, 1600),
        # https://ai.google.dev/gemini-api/docs/tokens#multimodal-tokens
        (SquareRule(), (384, 384), None, 258),
        (SquareRule(), (960, 540), None, 6 * 258),
        (SquareRule(), (1, 1), None, 258),
    ],
)
def test_a_picture_costs_what_the_provider_documents(
    rule: TileRule | PatchRule | AreaRule | SquareRule, size: tuple[int, int], detail: str | None, count: int
) -> None:
    assert rule.tokens(*size, detail) == count


def _webp(kind: bytes, rest: bytes) -> bytes:
    return b"RIFF\x00\x00\x00\x00WEBP" + kind + rest + bytes(30)


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (b"GIF89a" + struct.pack("<HH", 320, 200) + b"\x00", (320, 200)),
        (
            b"\xff\xd8\xff\xe0\x00\x10"
            + bytes(14)
            + b"\xff\xff\xc2\x00\x11\x08"
            + struct.pack(">HH", 480, 640)
            + bytes(9),
            (640, 480),
        ),
        (_webp(b"VP8X", bytes(8) + (799).to_bytes(3, "little") + (599).to_bytes(3, "little")), (800, 600)),
        (_webp(b"VP8 ", bytes(10) + struct.pack("<HH", 176, 144)), (176, 144)),
        (_webp(b"VP8L", bytes(4) + b"\x2f" + ((99) | (49 << 14)).to_bytes(4, "little")), (100, 50)),
        (b"%PDF-1.7 and so on, for more than a few bytes", UNKNOWN_SIZE),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), UNKNOWN_SIZE),
        (b"\xff\xd8\xff\xe0\xff\xff", UNKNOWN_SIZE),
        (b"", UNKNOWN_SIZE),
    ],
)
def test_the_size_stands_in_the_header(head: bytes, size: tuple[int, int]) -> None:
    assert size_of("data:image/x;base64," + base64.b64encode(head).decode()) == size
    assert size_of(base64.b64encode(head).decode()) == size


@pytest.mark.parametrize("url", ["https://example.com/a.png", "data:image/png;base64,***", "file-1234", "", "data:"])
def test_what_cannot_be_read_has_a_size_all_the_same(url: str) -> None:
    assert size_of(url) == UNKNOWN_SIZE


@STEADY
@given(st.binary(max_size=120))
def test_no_header_breaks_it(head: bytes) -> None:
    for start in (b"", b"\xff\xd8", b"GIF89a", b"RIFF\x00\x00\x00\x00WEBPVP8 ", b"\x89PNG\r\n\x1a\n"):
        assert min(size_of(base64.b64encode(start + head).decode())) > 0
