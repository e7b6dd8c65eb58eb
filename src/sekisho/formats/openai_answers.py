"""A whole answer between OpenAI's JSON and the house's nouns. Must lose nothing: what it does not know rides along.

Source: OpenAI API reference, the chat completion object; reasoning under the names of DeepSeek, vLLM and Ollama.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from sekisho.domain.chat import ChatResponse, Choice
from sekisho.domain.usage import Usage
from sekisho.formats.json import UNREADABLE
from sekisho.formats.odd_counts import read_counts
from sekisho.formats.openai import WireUsage
from sekisho.formats.openai_messages import Json, ShapeError, as_list, as_object, read_message, write_message

#: DeepSeek's name and vLLM's older one; the name of Ollama, OpenRouter and newer vLLM. Some servers send both.
REASONING = ("reasoning_content", "reasoning")
_decode = msgspec.json.Decoder().decode


def read_response(body: bytes) -> ChatResponse:
    """Raises ShapeError, also for a body that is not JSON."""
    try:
        rest = as_object(_decode(body), "$")
    except UNREADABLE as error:
        raise ShapeError("$", str(error)) from None
    found = as_list(rest.pop("choices", None), "choices")
    rest.pop("object", None)
    usage, as_sent = read_usage(rest.get("usage"))
    if usage is not None:
        del rest["usage"]
    return ChatResponse(
        id=text_of(rest.pop("id", None)),
        model=text_of(rest.pop("model", None)),
        created=number_of(rest.pop("created", None)),
        choices=tuple(_read_choice(choice, n) for n, choice in enumerate(found)),
        usage=usage,
        usage_as_sent=as_sent,
        extra=rest,
    )


def write_response(answer: ChatResponse) -> Json:
    out: Json = {
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [_write_choice(choice) for choice in answer.choices],
    }
    if answer.usage is not None:
        out["usage"] = answer.usage_as_sent or write_usage(answer.usage)
    return out | answer.extra


def read_usage(value: Any) -> tuple[Usage | None, Json]:
    """Our counts and the object they came from; (None, {}) where there is nothing to count."""
    if not isinstance(value, dict):
        return None, {}
    sent = cast("Json", value)
    try:
        usage = msgspec.convert(sent, WireUsage).normalised()
    except msgspec.ValidationError:
        usage = read_counts(sent).normalised()
    return (None, {}) if usage is None else (usage, sent)


def write_usage(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_output_tokens},
    }


def take_reasoning(rest: Json) -> str | None:
    """The reasoning text out of a message or a delta, under whichever name; a second name is dropped with it."""
    found: str | None = None
    for name in REASONING:
        value = rest.get(name)
        if isinstance(value, str):
            del rest[name]
            found = found or value
    return found


def split_content(parts: list[Any]) -> tuple[str, str] | None:
    """(text, reasoning) of content that is a list of texts and thoughts; None where there is anything else in it.

    Mistral's reasoning models answer so: {"type": "thinking", "thinking": [{"type": "text", "text": "…"}]}.
    https://docs.mistral.ai/capabilities/reasoning/
    """
    text, reasoning = "", ""
    for part in parts:
        match part:
            case {"type": "text", "text": str(piece)}:
                text += piece
            case {"type": "thinking", "thinking": thoughts} if isinstance(thoughts, list):
                inner = split_content(cast("list[Any]", thoughts))
                if inner is None:
                    return None
                reasoning += inner[0]
            case _:
                return None
    return text, reasoning


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def number_of(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _read_choice(value: Any, n: int) -> Choice:
    path = f"choices[{n}]"
    rest = as_object(value, path)
    wire = {"role": "assistant"} | as_object(rest.pop("message", None), f"{path}.message")
    reasoning = take_reasoning(wire)
    content = wire.get("content")
    if isinstance(content, list) and (split := split_content(cast("list[Any]", content))) is not None:
        wire["content"], thoughts = split
        reasoning = reasoning or thoughts or None
    index = rest.pop("index", n)
    finish = rest.pop("finish_reason", None)
    return Choice(
        index=index if isinstance(index, int) else n,
        message=read_message(wire, f"{path}.message"),
        reasoning=reasoning,
        finish_reason=finish if isinstance(finish, str) and finish else None,
        logprobs=None if rest.get("logprobs") is None else rest.pop("logprobs"),
        extra=rest,
    )


def _write_choice(choice: Choice) -> Json:
    message = write_message(choice.message)
    if choice.reasoning is not None:
        message[REASONING[0]] = choice.reasoning
    # a client of OpenAI's types reads `content` without looking whether it is there
    message.setdefault("content", None)
    out: Json = {"index": choice.index, "message": message}
    if choice.logprobs is not None:
        out["logprobs"] = choice.logprobs
    return out | {"finish_reason": choice.finish_reason} | choice.extra
