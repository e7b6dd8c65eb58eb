"""OpenAI's embeddings: vectors of unit length in which texts that share letters lie close together. Pure.

Each feature (three letters in a row, or one token) adds 1 or -1 to one place that a checksum picks (feature hashing:
Weinberger et al. 2009), so a search or a semantic cache finds on the mock what a person would expect.
"""

from __future__ import annotations

import base64
import hashlib
import math
import struct
import zlib

import msgspec

from sekisho.mock.answers import check_size, count
from sekisho.mock.openai_chat import Director
from sekisho.mock.openai_errors import BadRequest, envelope, scripted
from sekisho.mock.openai_requests import EmbeddingsBody, read
from sekisho.mock.replies import Reply, Request, error_reply, json_reply, plain_reply
from sekisho.mock.script import Script, ScriptError

_DIMENSIONS = 256
_BYTES_PER_TOKEN = 4
#: as JSON
_BYTES_PER_NUMBER = 24


def embeddings(request: Request, direct: Director) -> Reply:
    """The answer to POST /embeddings. Of the script what befalls an answer matters, not what it says."""
    headers = {"x-request-id": f"req_{hashlib.blake2b(request.body, digest_size=12).hexdigest()}"}
    try:
        body = read(request.body, EmbeddingsBody)
        script = direct(body.model)
        inputs = _inputs(body)
        check_size(len(inputs) * (body.dimensions or _DIMENSIONS) * _BYTES_PER_NUMBER)
        if body.encoding_format not in (None, "float", "base64"):
            raise BadRequest("encoding_format must be 'float' or 'base64'.", "encoding_format", "invalid_value")
    except ScriptError as error:
        return json_reply(envelope(400, str(error), "model", "invalid_value"), 400, headers)
    except BadRequest as error:
        return json_reply(envelope(400, str(error), error.param, error.code), 400, headers)
    if script.status is not None:
        return error_reply(script, script.status, scripted(script.status, script.code, script.param), headers)
    if script.ok_error:
        return plain_reply(script, scripted(500, script.code, script.param), headers)
    return plain_reply(script, _render(script, body, inputs), headers)


def vector(features: list[bytes], dimensions: int) -> list[float]:
    """A vector of unit length, exact in 32 bits, so that float and base64 answers are the same numbers."""
    sums = [0.0] * dimensions
    for feature in features:
        checksum = zlib.crc32(feature)
        sums[checksum // 2 % dimensions] += 1.0 if checksum % 2 else -1.0
    length = math.sqrt(sum(each * each for each in sums))
    if not length:
        sums[0] = length = 1.0
    layout = f"<{dimensions}f"
    return list(struct.unpack(layout, struct.pack(layout, *(each / length for each in sums))))


def _render(script: Script, body: EmbeddingsBody, inputs: list[str | list[int]]) -> bytes:
    data: list[object] = []
    dimensions = body.dimensions or _DIMENSIONS
    for index, each in enumerate(inputs):
        numbers: list[float] | str = vector(_features(each), dimensions)
        if body.encoding_format == "base64":
            numbers = base64.b64encode(struct.pack(f"<{dimensions}f", *numbers)).decode()
        data.append({"object": "embedding", "index": index, "embedding": numbers})
    whole: dict[str, object] = {"object": "list", "data": data, "model": body.model}
    if not script.no_usage:
        read_tokens = count(script, sum(_size(each) for each in inputs)).input
        whole["usage"] = {"prompt_tokens": read_tokens, "total_tokens": read_tokens}
    return msgspec.json.encode(whole)


def _inputs(body: EmbeddingsBody) -> list[str | list[int]]:
    """One text or token list a vector. Raises BadRequest for what is empty or mixed."""
    given = body.input
    inputs: list[str | list[int]]
    if isinstance(given, str):
        inputs = [given]
    else:
        texts = [each for each in given if isinstance(each, str)]
        tokens = [each for each in given if isinstance(each, int)]
        lists = [each for each in given if isinstance(each, list)]
        if len(given) not in (len(texts), len(tokens), len(lists)):
            raise BadRequest("input must be text, texts, tokens or lists of tokens, not a mixture.", "input")
        inputs = [tokens] if tokens else [*texts, *lists]
    if not inputs or not all(inputs):
        raise BadRequest("input cannot be empty.", "input")
    return inputs


def _features(each: str | list[int]) -> list[bytes]:
    if not isinstance(each, str):
        return [b"%d" % token for token in each]
    text = f" {each.lower()} "
    return [text[at : at + 3].encode("utf-8", "replace") for at in range(len(text) - 2)]


def _size(each: str | list[int]) -> int:
    """Bytes of text; a token counts as many as a token has."""
    return len(each.encode("utf-8", "replace")) if isinstance(each, str) else len(each) * _BYTES_PER_TOKEN
