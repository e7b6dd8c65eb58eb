"""Embedding bodies of clients: taken without decoding the input, refused where it cannot be one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sekisho.domain.errors import Refusal
from sekisho.wire import openai_embeddings


def parse(**body: Any):
    return openai_embeddings.parse(json.dumps({"model": "embed"} | body).encode())


@pytest.mark.parametrize("value", ["関所", ["a", "b"], [1, 2, 3], [[1, 2], [3]], [""]])
@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_inputs_and_formats_of_the_reference_are_taken(value: Any, encoding: dict[str, str]) -> None:
    request = parse(input=value, **encoding)
    assert (request.model, request.protocol) == ("embed", "openai_embeddings")
    assert json.loads(bytes(request.fields["input"])) == value


@pytest.mark.parametrize("value", ["", [], None, 7, {}, [{}], [None], [True], [-1]])
def test_an_input_of_another_kind_is_refused(value: Any) -> None:
    with pytest.raises(Refusal) as caught:
        parse(input=value)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "invalid_value", "input")


def test_a_missing_input_is_refused() -> None:
    with pytest.raises(Refusal) as caught:
        parse()
    assert caught.value.param == "input"


@pytest.mark.parametrize("encoding", ["Float", "int8", 1, []])
def test_an_unknown_format_is_refused(encoding: Any) -> None:
    with pytest.raises(Refusal) as caught:
        parse(input="a", encoding_format=encoding)
    assert caught.value.param == "encoding_format"


def test_fields_that_lead_elsewhere_are_refused_here_too() -> None:
    with pytest.raises(Refusal) as caught:
        parse(input="a", api_base="http://example.com")
    assert caught.value.code == "forbidden_field"
