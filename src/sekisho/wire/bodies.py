"""What all JSON bodies of model routes have in common. Must not decode more than the small members it looks at.

HOT: one pass over the body; the members stay views into it (`msgspec.Raw`).
"""

from __future__ import annotations

import re
from typing import Annotated, NoReturn

import msgspec

from sekisho.domain.errors import Refusal
from sekisho.formats.json import (
    LARGE_BYTES,
    MOST_MEMBERS,
    UNREADABLE,
    Fields,
    TooManyMembers,
    decode_fields,
    decode_foreign_fields,
)

MAX_MODEL_CHARS = 256
#: the most often sent members; only other names are looked at one by one
_KNOWN = frozenset(
    (
        "model", "messages", "stream", "stream_options", "temperature", "top_p", "n", "stop", "max_tokens",
        "max_completion_tokens", "presence_penalty", "frequency_penalty", "seed", "user", "safety_identifier",
        "tools", "tool_choice", "parallel_tool_calls", "response_format", "logprobs", "top_logprobs", "metadata",
        "store", "reasoning_effort", "service_tier", "input", "dimensions", "encoding_format", "logit_bias",
    )
)  # fmt: skip
#: Members by which a body could send the call, or our credentials, somewhere else. Gateways have leaked provider
#: keys through them (CVE-2024-6587). Compared without case, `-` and `_`.
_FORBIDDEN = frozenset(
    (
        "apibase", "apikey", "apitype", "apiversion", "auth", "authorization", "authtoken", "awsaccesskeyid",
        "awsbedrockruntimeendpoint", "awsprofilename", "awsregionname", "awsrolename", "awssecretaccesskey",
        "awssessionname", "awssessiontoken", "awsstsendpoint", "awswebidentitytoken", "azureadtoken",
        "azuredeployment", "azureendpoint", "basemodelurl", "baseurl", "clientsecret", "credentials",
        "customllmprovider", "defaultheaders", "defaultquery", "endpointurl", "extraheaders", "extraquery", "headers",
        "hostname", "httpproxy", "httpsproxy", "organization", "organizationid", "proxies", "proxy", "proxyurl",
        "serverurl", "vertexcredentials", "vertexlocation", "vertexproject", "websocketbaseurl",
    )
)  # fmt: skip
_DEEPEST_EXTRA_BODY, _MOST_EXTRA_BODIES = 4, 16
_decode_model = msgspec.json.Decoder(str).decode
#: answers to one question: OpenAI gives 128, vLLM 16,384
MOST_CHOICES = 16_384
_decode_choices = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=1, le=MOST_CHOICES)]).decode
#: names that were read before, by their JSON text
_models: dict[bytes, str] = {}
_MOST_MODELS = 1_000
_WHITE = frozenset(b" \t\r\n")
_HIGH_HALF = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}")
_AT_BYTE = re.compile(r"\(byte (\d+)\)")


def read_object(body: bytes) -> Fields:
    """The top-level members; the last of a repeated name counts. Raises Refusal 400 invalid_json or forbidden_field."""
    try:
        fields = (decode_fields if len(body) <= LARGE_BYTES else decode_foreign_fields)(body)
    except UNREADABLE as error:
        _refuse_json(body, error)
    # msgspec skips over text without looking at its bytes; ASCII is told from UTF-8 at 16 GB/s
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            _refuse_json(body, error)
    if not _KNOWN.issuperset(fields):
        _refuse_forbidden(fields)
    return fields


def has_forbidden(fields: Fields) -> bool:
    """Whether a refused body has, or may have, a member that can hold a credential, whatever it was refused for."""
    try:
        _refuse_forbidden(fields)
    except Refusal:
        return True
    return False


def read_model(fields: Fields) -> str:
    """Raises Refusal 400 invalid_value."""
    raw = fields.get("model")
    if raw is None:
        raise Refusal(400, "invalid_value", param="model", reason="it is missing")
    text = bytes(raw)
    known = _models.get(text)
    if known is not None:
        return known
    try:
        model = _decode_model(raw)
    except UNREADABLE:
        raise Refusal(400, "invalid_value", param="model", reason="it must be a string") from None
    # it stands in headers of the answer and in log lines
    if not model or len(model) > MAX_MODEL_CHARS or not model.isprintable():
        raise Refusal(
            400,
            "invalid_value",
            param="model",
            reason="it must have 1 to {most} printable characters",
            most=MAX_MODEL_CHARS,
        )
    if len(_models) < _MOST_MODELS:
        _models[text] = model
    return model


def read_flag(raw: msgspec.Raw, param: str) -> bool:
    """true, false or null. Raises Refusal 400 invalid_value."""
    text = bytes(raw)
    if text == b"true":
        return True
    if text == b"false" or text == b"null":
        return False
    raise Refusal(400, "invalid_value", param=param, reason="it must be true or false")


def check_choices(raw: msgspec.Raw, param: str) -> None:
    """A whole number of answers that somebody may want, or null: what is reserved for one is reserved for each.

    Raises Refusal 400 invalid_value.
    """
    try:
        _decode_choices(raw)
    except UNREADABLE:
        if bytes(raw) == b"null":
            return
        reason = "it must be a whole number from 1 to {most}"
        raise Refusal(400, "invalid_value", param=param, reason=reason, most=MOST_CHOICES) from None


def first_element(raw: msgspec.Raw) -> int:
    """The byte that the first element of a JSON array begins with; 0 where there is none, or no array."""
    view = memoryview(raw)
    if view[0] != 0x5B:
        return 0
    first = view[1]
    if first in _WHITE:
        first = (bytes(view[1:64]).lstrip() or bytes(view[1:]).lstrip())[0]
    return 0 if first == 0x5D else first


def _refuse_json(body: bytes, error: Exception) -> NoReturn:
    if isinstance(error, UnicodeDecodeError):
        raise Refusal(400, "invalid_json", reason="it is not valid UTF-8") from None
    if isinstance(error, TooManyMembers):
        raise Refusal(400, "invalid_json", reason="it has more than {most} members", most=MOST_MEMBERS) from None
    if isinstance(error, RecursionError):
        raise Refusal(400, "invalid_json", reason="it is nested too deeply") from None
    if not body.strip():
        raise Refusal(400, "invalid_json", reason="it is empty") from None
    if isinstance(error, msgspec.ValidationError):
        raise Refusal(400, "invalid_json", reason="it must be a JSON object") from None
    if _half_a_character(body, str(error)):
        reason = "a character stands there by half, as \\ud83d without its other half"
        raise Refusal(400, "invalid_json", reason=reason) from None
    at = _AT_BYTE.search(str(error))
    if at is None:
        raise Refusal(400, "invalid_json", reason="it ends too early") from None
    raise Refusal(400, "invalid_json", reason="there is a mistake at byte {byte}", byte=at[1]) from None


def _half_a_character(body: bytes, said: str) -> bool:
    """Text that was cut inside an emoji. Near the end of a body msgspec takes the missing half for a missing end."""
    if "surrogate pair" in said or "end of hex escape" in said:
        return True
    return "truncated" in said and body.rstrip()[-1:] == b"}" and _HIGH_HALF.search(body[-16:]) is not None


def _refuse_forbidden(fields: Fields) -> None:
    """`extra_body` is a habit of client libraries; some servers spread it over the body, so its names count too.

    Every `extra_body` is read once for each that it stands in, so there is an end to how deep they may stand.
    """
    looked_at = [("", fields)]
    for path, inside in looked_at:
        for name in inside:
            if name in _KNOWN:
                continue
            plain = _plain(name)
            if plain in _FORBIDDEN:
                raise Refusal(400, "forbidden_field", param=path + name)
            if plain != "extrabody":
                continue
            if path.count(".") >= _DEEPEST_EXTRA_BODY or len(looked_at) > _MOST_EXTRA_BODIES:
                raise Refusal(400, "invalid_json", reason="it is nested too deeply")
            try:
                looked_at.append((f"{path}{name}.", decode_foreign_fields(inside[name])))
            except TooManyMembers as error:
                _refuse_json(b"", error)
            except msgspec.ValidationError:
                pass  # not an object: nothing to spread


def _plain(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "")
