"""What the books read out of answers: usage by one convention, errors and content as servers really write them."""

from __future__ import annotations

import json

import pytest

from sekisho.domain.usage import Usage
from sekisho.formats.openai import decode_answer, decode_chunk, decode_error
from sekisho.formats.openai_answers import read_usage


@pytest.mark.parametrize(
    ("wire", "usage"),
    [
        (b'{"prompt_tokens":5,"completion_tokens":7}', Usage(input_tokens=5, output_tokens=7)),
        (b'{"prompt_tokens":5.0,"completion_tokens":7.0}', Usage(input_tokens=5, output_tokens=7)),
        (b'{"prompt_tokens":5,"total_tokens":5}', Usage(input_tokens=5)),
        (
            b'{"prompt_tokens":9,"completion_tokens":1,"prompt_cache_hit_tokens":4}',
            Usage(input_tokens=9, output_tokens=1, cache_read_input_tokens=4),
        ),
        (
            b'{"prompt_tokens":19,"completion_tokens":13,"total_tokens":32,"cached_tokens":12}',
            Usage(input_tokens=19, output_tokens=13, cache_read_input_tokens=12),
        ),
        (
            (
                b'{"prompt_tokens":9,"completion_tokens":8,'
                b'"prompt_tokens_details":{"cached_tokens":30},"completion_tokens_details":{"reasoning_tokens":6}}'
            ),
            Usage(input_tokens=9, output_tokens=8, cache_read_input_tokens=9, reasoning_output_tokens=6),
        ),
        # xAI: reasoning stands beside completion_tokens, as the total tells
        (
            (
                b'{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,'
                b'"completion_tokens_details":{"reasoning_tokens":94}}'
            ),
            Usage(input_tokens=32, output_tokens=103, reasoning_output_tokens=94),
        ),
        (
            (
                b'{"prompt_tokens":32,"completion_tokens":9,"total_tokens":47,'
                b'"prompt_tokens_details":{"cached_tokens":6},"completion_tokens_details":{"reasoning_tokens":6}}'
            ),
            Usage(input_tokens=32, output_tokens=15, cache_read_input_tokens=6, reasoning_output_tokens=6),
        ),
        # Google's OpenAI door: thoughts stand in the total and nowhere else
        (
            b'{"completion_tokens":1,"prompt_tokens":9,"total_tokens":103}',
            Usage(input_tokens=9, output_tokens=94, reasoning_output_tokens=93),
        ),
        (
            (
                b'{"completion_tokens":0,"prompt_tokens":21,"total_tokens":81,'
                b'"completion_tokens_details":{"reasoning_tokens":60}}'
            ),
            Usage(input_tokens=21, output_tokens=60, reasoning_output_tokens=60),
        ),
        # what else a total may hold is input: sound at Mistral, cached tokens that stand beside
        (
            b'{"prompt_tokens":4,"completion_tokens":635,"total_tokens":3264,"prompt_audio_seconds":203}',
            Usage(input_tokens=4, output_tokens=635),
        ),
        (
            b'{"prompt_tokens":4,"completion_tokens":6,"total_tokens":60,"prompt_tokens_details":{"cached_tokens":50}}',
            Usage(input_tokens=4, output_tokens=6, cache_read_input_tokens=4),
        ),
        (b'{"prompt_tokens":4,"completion_tokens":6,"total_tokens":0}', Usage(input_tokens=4, output_tokens=6)),
        (b'{"prompt_tokens":4,"completion_tokens":6,"total_tokens":1e30}', Usage(input_tokens=4, output_tokens=6)),
        (b"{}", None),
        (b'{"prompt_tokens":null,"completion_tokens":null}', None),
        (b'{"prompt_tokens":-1,"completion_tokens":3}', None),
        (b'{"prompt_tokens":1e300,"completion_tokens":3}', None),
    ],
)
def test_usage_is_counted_by_one_convention(wire: bytes, usage: Usage | None) -> None:
    facts = decode_answer(b'{"usage":%b}' % wire)
    assert facts.usage is not None
    assert facts.usage.normalised() == usage
    assert read_usage(json.loads(wire))[0] == usage, "and where an answer has been decoded already"


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        (b'{"role":"assistant","content":""}', ""),
        (b'{"content":null,"tool_calls":null}', ""),
        (b'{"content":"ab"}', "ab"),
        (b'{"content":"ab","tool_calls":null}', "ab"),
        (b'{"content":"ab","tool_calls":[]}', "ab"),
        (b'{"reasoning_content":"ab","reasoning":"ab"}', "ab"),
        (b'{"content":"a","reasoning":"b","refusal":"c"}', "abc"),
        (b'{"refusal":"no"}', "no"),
        (b'{"tool_calls":[]}', ""),
        (b'{"tool_calls":[{"index":0}]}', " "),  # content, and no token yet
        (b'{"content":"a","tool_calls":[{"index":0}]}', "a"),
        (b'{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}', "f"),
        (b'{"tool_calls":[{"index":0,"function":{"arguments":"{x"}},{"index":1,"function":{"name":"g"}}]}', "{xg"),
        (b'{"tool_calls":[{"index":0,"custom":{"name":"f","input":"ab"}}]}', "fab"),
        (
            b'{"tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]}',
            '[{"function":{"name":"f","arguments":{"x":1}}}]',
        ),
        (b'{"tool_calls":"odd"}', '"odd"'),
        (b'{"function_call":{"name":"f","arguments":"ab"}}', "fab"),
        (b'{"function_call":{"name":null,"arguments":""}}', " "),
        (b'{"content":[{"type":"text"}]}', '{"type":"text"}'),
        (b'{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}', "ab"),
        (b'{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}', "hm"),
        (b'{"content":[{"type":"image_url","image_url":{}}]}', '{"type":"image_url","image_url":{}}'),
        (b'{"content":[]}', ""),
    ],
)
def test_the_text_of_a_delta_is_what_the_model_wrote(delta: bytes, text: str) -> None:
    chunk = decode_chunk(b'{"choices":[{"delta":%b}]}' % delta)
    assert chunk.choices is not None
    found = chunk.choices[0].delta
    assert found is not None
    assert found.text() == text


def test_an_error_of_any_type_is_kept_as_bytes_and_an_absent_one_is_none() -> None:
    assert bytes(decode_chunk(b'{"error":{"code":1}}').error or b"") == b'{"code":1}'
    assert bytes(decode_answer(b'{"error":"text"}').error or b"") == b'"text"'
    assert bytes(decode_answer(b'{"error":null}').error or b"") == b"null"
    assert decode_answer(b"{}").error is None


@pytest.mark.parametrize("body", [b'{"error":"x","code":"y"}', b'{"error":{"code":429}}', b'{"detail":[{"loc":[]}]}'])
def test_error_bodies_of_known_servers_can_be_read(body: bytes) -> None:
    assert decode_error(body) is not None
