"""A golden file: one case on one screen, four parts. Two are given (what client and upstream send), two are ours.

# https://where-this-shape-is-documented
# provider: openai
# target: gpt-4o-mini
# rebuild: same            or `events`: the rebuilt answer may be written otherwise, but means the same
-- client request --       a request line and a JSON body
-- upstream request --     the same, its path relative to the provider's base URL
-- upstream response --    a status, headers, an empty line, and a JSON body or `data:` lines, one an event
-- client response --      the same
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

HERE = Path(__file__).parent
PARTS = ("client request", "upstream request", "upstream response", "client response")


@dataclass
class Response:
    status: int
    headers: dict[str, str] = field(default_factory=dict[str, str])
    #: parsed JSON, or text where the body is none
    body: Any = None
    #: payloads of a stream
    events: list[str] | None = None

    def body_bytes(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()

    def stream_bytes(self) -> bytes:
        return b"".join(b"data: " + event.encode() + b"\n\n" for event in self.events or ())


@dataclass
class Golden:
    path: Path
    urls: list[str]
    provider: str
    target: str
    rebuild: str
    client_path: str
    client_request: Any
    upstream_path: str
    upstream_request: Any
    upstream_response: Response
    client_response: Response | None


def golden_paths() -> list[Path]:
    return sorted(HERE.glob("*/*.golden"))


def load(path: Path) -> Golden:
    head, parts = _split(path.read_text(encoding="utf-8"))
    notes = dict(line.split(": ", 1) for line in head if ": " in line and not line.startswith("http"))
    client_path, client_request = _request(parts["client request"])
    upstream_path, upstream_request = _request(parts.get("upstream request", ""))
    answer = parts.get("client response", "")
    return Golden(
        path=path,
        urls=[line for line in head if line.startswith("http")],
        provider=notes["provider"],
        target=notes["target"],
        rebuild=notes.get("rebuild", "same"),
        client_path=client_path,
        client_request=client_request,
        upstream_path=upstream_path,
        upstream_request=upstream_request,
        upstream_response=_response(parts["upstream response"]),
        client_response=_response(answer) if answer.strip() else None,
    )


def rewrite(golden: Golden, upstream_path: str, upstream_request: Any, client_response: Response) -> None:
    """The file again, with the two parts that we make."""
    text = golden.path.read_text(encoding="utf-8")
    head, parts = _split(text)
    parts["upstream request"] = f"POST {upstream_path}\n{_pretty(upstream_request)}\n"
    parts["client response"] = _written(client_response)
    lines = "".join(f"# {line}\n" for line in head)
    body = "".join(f"-- {name} --\n{parts[name].strip(chr(10))}\n" for name in PARTS)
    golden.path.write_text(lines + body, encoding="utf-8")


def _split(text: str) -> tuple[list[str], dict[str, str]]:
    head: list[str] = []
    parts: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if line.startswith("-- ") and line.rstrip().endswith(" --"):
            name = line.strip().strip("-").strip()
            assert name in PARTS, name
            parts[name] = ""
        elif name:
            parts[name] += line
        elif line.startswith("#"):
            head.append(line[1:].strip())
    return head, parts


def _request(text: str) -> tuple[str, Any]:
    if not text.strip():
        return "", None
    line, _, body = text.partition("\n")
    return line.removeprefix("POST ").strip(), json.loads(body)


def _response(text: str) -> Response:
    head, _, body = text.strip("\n").partition("\n\n")
    status, *lines = head.splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    if body.startswith("data: "):
        events = [line.removeprefix("data: ") for line in body.splitlines() if line]
        return Response(int(status), headers, events=events)
    try:
        return Response(int(status), headers, json.loads(body))
    except ValueError:
        return Response(int(status), headers, body)


def _written(response: Response) -> str:
    lines = "".join(f"{name}: {value}\n" for name, value in response.headers.items())
    body = _pretty(response.body) if response.events is None else "\n".join(f"data: {e}" for e in response.events)
    return f"{response.status}\n{lines}\n{body}\n"


def _pretty(value: Any) -> str:
    """JSON with short objects on one line, so that a case fits on a screen."""
    return _lay(value, 0)


def _lay(value: Any, depth: int) -> str:
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + 2 * depth <= 116 or not isinstance(value, dict | list) or not value:
        return flat
    inside = "  " * (depth + 1)
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        rows = [f"{json.dumps(name, ensure_ascii=False)}: {_lay(member, depth + 1)}" for name, member in members]
        return "{\n" + ",\n".join(inside + row for row in rows) + "\n" + "  " * depth + "}"
    elements = cast("list[Any]", value)
    return "[\n" + ",\n".join(inside + _lay(element, depth + 1) for element in elements) + "\n" + "  " * depth + "]"
