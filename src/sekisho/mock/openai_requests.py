"""OpenAI's request bodies, as strict as OpenAI where a gateway could break them. Pure."""

from __future__ import annotations

import zlib
from typing import Annotated, TypeVar, cast

import msgspec

from sekisho.mock.answers import Question, ToolSpec
from sekisho.mock.openai_errors import BadRequest
from sekisho.mock.samples import Schema

_Body = TypeVar("_Body")


class Part(msgspec.Struct):
    """Of a message; images, files and audio have no text."""

    type: str = "text"
    text: str | None = None


class Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        """All text of the message."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text or "" for part in self.content or [])


class Function(msgspec.Struct):
    name: str
    parameters: Schema | None = None


class Tool(msgspec.Struct):
    type: str = "function"
    function: Function | None = None


class JsonSchema(msgspec.Struct):
    name: str
    schema: Schema | None = None


class ResponseFormat(msgspec.Struct):
    type: str
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatBody(msgspec.Struct):
    """POST /chat/completions; fields the mock does not know are ignored."""

    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | Schema | None = None
    response_format: ResponseFormat | None = None

    def question(self) -> Question:
        """What is asked, in the words of all wire formats."""
        users = [message.text for message in self.messages if message.role == "user"]
        texts = [message.text.encode("utf-8", "replace") for message in self.messages]
        return Question(
            # of the texts alone: as a stream, or written anew by a gateway, it is the same input
            seed=zlib.crc32(b"\0".join(texts)),
            text_bytes=sum(map(len, texts)),
            last_user_text=users[-1] if users else "",
            tools=self._tools(),
            after_tool=self.messages[-1].role == "tool",
            schema=self._schema(),
            choices=self.n or 1,
            # in a stream each chunk tells the name, and a name may hold a long answer
            chunk_bytes=300 + len(self.model) if self.stream else 16,
            logprobs=bool(self.logprobs),
        )

    def _tools(self) -> list[ToolSpec]:
        """The tools on offer, or the one that `tool_choice` names."""
        named: object = None
        if isinstance(self.tool_choice, dict):
            function = self.tool_choice.get("function")
            named = cast(Schema, function).get("name") if isinstance(function, dict) else None
        offered = [tool.function for tool in self.tools or [] if tool.function]
        return [
            ToolSpec(name=function.name, parameters=function.parameters or {})
            for function in offered
            if named in (None, function.name)
        ]

    def _schema(self) -> Schema | None:
        wanted = self.response_format
        if wanted is None or wanted.type not in ("json_schema", "json_object"):
            return None
        return (wanted.json_schema and wanted.json_schema.schema) or {}


class EmbeddingsBody(msgspec.Struct):
    """POST /embeddings; the input is text, texts, tokens or lists of tokens."""

    model: str
    input: str | list[str | int | list[int]]
    encoding_format: str | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=4096)] | None = None


def read(body: bytes, kind: type[_Body]) -> _Body:
    """The body as its type. Raises BadRequest with the field as OpenAI names it."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        param = place.removeprefix(".").rstrip("`") or None
        if param is None and "required field" in reason:
            param = reason.split("`")[1]
        raise BadRequest(reason, param, "invalid_value") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not JSON: {error}", None, "invalid_json") from None
