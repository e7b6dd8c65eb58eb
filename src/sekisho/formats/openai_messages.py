"""Messages and tools between OpenAI's JSON and the house's nouns. Must lose nothing: what it does not know rides along.

A member is lifted into a typed field only where it has the type the API reference gives; null and empty identifiers
stay in the remainder, so that writing gives the same JSON again. Source: OpenAI API reference, chat completions.
"""

from __future__ import annotations

from typing import Any, cast

from sekisho.domain.chat import (
    ContentPart,
    ImagePart,
    Message,
    OtherPart,
    OtherTool,
    TextPart,
    Tool,
    ToolCall,
)

Json = dict[str, Any]


class ShapeError(ValueError):
    """JSON that is not of the documented shape. `path` as in `messages[0].content`; `reason` is English."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def as_object(value: Any, path: str) -> Json:
    """A copy that may be emptied. Raises ShapeError."""
    if not isinstance(value, dict):
        raise ShapeError(path, "it must be an object")
    return dict(cast("Json", value))


def as_list(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise ShapeError(path, "it must be an array")
    return cast("list[Any]", value)


def read_message(value: Any, path: str) -> Message:
    """Raises ShapeError."""
    rest = as_object(value, path)
    role = rest.pop("role", None)
    if not isinstance(role, str) or not role:
        raise ShapeError(f"{path}.role", "it must be a non-empty string")
    content: Any = None
    if rest.get("content") is not None:
        content = _read_content(rest.pop("content"), f"{path}.content")
    calls: tuple[ToolCall, ...] = ()
    if rest.get("tool_calls"):
        found = as_list(rest.pop("tool_calls"), f"{path}.tool_calls")
        calls = tuple(read_tool_call(call, f"{path}.tool_calls[{n}]") for n, call in enumerate(found))
    return Message(
        role=role,
        content=content,
        name=_lift(rest, "name"),
        tool_calls=calls,
        tool_call_id=_lift(rest, "tool_call_id"),
        refusal=_lift(rest, "refusal"),
        extra=rest,
    )


def write_message(message: Message) -> Json:
    out: Json = {"role": message.role}
    if message.content is not None:
        content = message.content
        out["content"] = content if isinstance(content, str) else [_write_part(part) for part in content]
    if message.name is not None:
        out["name"] = message.name
    if message.tool_calls:
        out["tool_calls"] = [write_tool_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        out["tool_call_id"] = message.tool_call_id
    if message.refusal is not None:
        out["refusal"] = message.refusal
    return out | message.extra


def read_tool_call(value: Any, path: str) -> ToolCall:
    """Raises ShapeError."""
    rest = as_object(value, path)
    kind = rest.get("type") or "function"
    if kind not in _ARGUMENTS or not isinstance(rest.get(kind), dict):
        if kind == "function":
            raise ShapeError(f"{path}.function", "it must be an object")
        return ToolCall(id="", name="", arguments="", kind=str(kind), extra=rest)
    rest.pop("type", None)
    inner = as_object(rest.pop(kind), path)
    argument = _ARGUMENTS[kind]
    arguments = inner.pop(argument, "")
    if not isinstance(arguments, str):
        raise ShapeError(f"{path}.{kind}.{argument}", "it must be a string")
    return ToolCall(
        id=_lift_id(rest, "id"),
        name=_lift_id(inner, "name"),
        arguments=arguments,
        kind=kind,
        extra=rest,
        inner=inner,
    )


def write_tool_call(call: ToolCall) -> Json:
    argument = _ARGUMENTS.get(call.kind)
    if argument is None:
        return dict(call.extra)
    inner: Json = {"name": call.name} if call.name else {}
    inner[argument] = call.arguments
    out: Json = {"id": call.id} if call.id else {}
    out["type"] = call.kind
    out[call.kind] = inner | call.inner
    return out | call.extra


def read_tool(value: Any, path: str) -> Tool | OtherTool:
    """Raises ShapeError."""
    rest = as_object(value, path)
    kind = rest.get("type") or "function"
    if kind != "function":
        return OtherTool(kind=str(kind), fields=rest)
    rest.pop("type", None)
    inner = as_object(rest.pop("function", None), f"{path}.function")
    name = inner.pop("name", None)
    if not isinstance(name, str) or not name:
        raise ShapeError(f"{path}.function.name", "it must be a non-empty string")
    return Tool(
        name=name,
        description=_lift(inner, "description"),
        parameters=inner.pop("parameters") if isinstance(inner.get("parameters"), dict) else None,
        strict=inner.pop("strict") if isinstance(inner.get("strict"), bool) else None,
        extra=rest,
        inner=inner,
    )


def write_tool(tool: Tool | OtherTool) -> Json:
    if isinstance(tool, OtherTool):
        return dict(tool.fields)
    inner: Json = {"name": tool.name}
    if tool.description is not None:
        inner["description"] = tool.description
    if tool.parameters is not None:
        inner["parameters"] = tool.parameters
    if tool.strict is not None:
        inner["strict"] = tool.strict
    return {"type": "function", "function": inner | tool.inner} | tool.extra


#: where each kind of tool call keeps what the model wrote
_ARGUMENTS = {"function": "arguments", "custom": "input"}


def _lift(rest: Json, name: str) -> str | None:
    """A text member taken out of the remainder; anything that is not text stays there."""
    return rest.pop(name) if isinstance(rest.get(name), str) else None


def _lift_id(rest: Json, name: str) -> str:
    value = rest.get(name)
    return rest.pop(name) if isinstance(value, str) and value else ""


def _read_content(value: Any, path: str) -> str | tuple[ContentPart, ...]:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ShapeError(path, "it must be a string or an array of content parts")
    return tuple(_read_part(part, f"{path}[{n}]") for n, part in enumerate(cast("list[Any]", value)))


def _read_part(value: Any, path: str) -> ContentPart:
    rest = as_object(value, path)
    kind = rest.get("type")
    if kind == "text" and isinstance(rest.get("text"), str):
        del rest["type"]
        return TextPart(text=rest.pop("text"), extra=rest)
    if kind == "image_url" and isinstance(rest.get("image_url"), dict):
        inner = as_object(rest["image_url"], path)
        if isinstance(inner.get("url"), str):
            del rest["type"], rest["image_url"]
            return ImagePart(url=inner.pop("url"), detail=_lift(inner, "detail"), extra=rest, inner=inner)
    if not isinstance(kind, str):
        raise ShapeError(f"{path}.type", "it must be a non-empty string")
    return OtherPart(kind=kind, fields=rest)


def _write_part(part: ContentPart) -> Json:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text} | part.extra
        case ImagePart():
            image: Json = {"url": part.url}
            if part.detail is not None:
                image["detail"] = part.detail
            return {"type": "image_url", "image_url": image | part.inner} | part.extra
        case OtherPart():
            return dict(part.fields)
