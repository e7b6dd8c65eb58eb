"""Secrets come from the environment or from files, and never print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sekisho.app.settings import ConfigError, Problem, Settings

Parse = Callable[..., Settings]
Problems = Callable[..., tuple[Problem, ...]]

_PROVIDERS = 'providers: {local: {type: openai, base_url: "https://llm.example.com/v1"}}\n'


def test_settings_can_be_printed(read: Parse, complete: str, environ: dict[str, str]) -> None:
    settings = read(complete)

    printed = f"{settings!r} {settings} {settings.providers} {settings.keys}"

    assert not [secret for secret in environ.values() if secret in printed]
    assert "Secret(***)" in printed


@pytest.mark.parametrize("content", ["from-a-file-secret", "from-a-file-secret\n", "\ufefffrom-a-file-secret\r\n"])
def test_a_secret_file_loses_its_line_end(read: Parse, tmp_path: Path, content: str) -> None:
    (tmp_path / "key.txt").write_bytes(content.encode())

    settings = read(_PROVIDERS + "keys: [{name: a, key: '${file:key.txt}'}]")

    assert settings.keys[0].key.reveal() == "from-a-file-secret"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "file_empty"),
        (b"\n", "file_empty"),
        (b"\xff\xfe\x00", "file_unreadable"),
        (b"x" * 70_000, "file_unreadable"),
        (b"two\nlines-of-secret", "bad_secret"),
    ],
)
def test_a_file_without_a_usable_secret(problems: Problems, tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / "key.txt").write_bytes(content)

    (problem,) = problems(_PROVIDERS + "keys: [{name: a, key: '${file:key.txt}'}]")

    assert (problem.line, problem.code) == (2, code)


def test_a_literal_secret_is_allowed_in_the_demo_only(read: Parse, problems: Problems) -> None:
    text = _PROVIDERS + "keys: [{name: a, key: sk-demo-0123456789}]"

    assert read(text, demo=True).keys[0].key.reveal() == "sk-demo-0123456789"
    assert [problem.code for problem in problems(text)] == ["literal_secret"]


@pytest.mark.parametrize(
    "text",
    [
        "keys: [{name: a, key: PRIVATE}]",
        "keys: [{name: a, key: [PRIVATE]}]",
        "keys: [{name: a, key: {PRIVATE: 1}}]",
        "keys: [{name: a, key: *PRIVATE }]",
        "keys: [{name: a, key: !PRIVATE }]",
        "keys: [{name: a, key: &PRIVATE }]",
        "keys: [{name: a, key: %PRIVATE }]",
        "keys: [{name: a, key: 'PRIVATE}]",
        "keys: [{name: a, key: PRIVATE: 1}]",
        "keys: [{name: a, key: '${PRIVATE-x}'}]",
        "keys: [{name: a, key: '${env:PRIVATE-x}'}]",
        "keys: [{name: a, key: '${env:HELD}', key: '${env:HELD}'}]",
        "keys: [{name: a, key: '${env:HELD}x'}]",
        "timezone: ${env:HELD}",
        "log_level: ${env:HELD}",
        "server: {tls_key: '${env:HELD}'}",
        "keys: [{name: a, key: '${env:HELD}', team: '${env:HELD}'}]\nteams: {b: {}}",
        "keys: [{name: a, key: '${env:HELD}', endpoints: ['${env:HELD}', '${env:HELD}/*']}]",
        "admin: PRIVATE",
        "admin: [PRIVATE]",
        "state: {url: 'redis://:PRIVATE@host'}",
        "database: {url: 'postgresql://u:PRIVATE@host'}",
        "database: {url: 'postgresql://u@host/db?password=PRIVATE'}",
        "providers: {a: PRIVATE}",
        "providers: {a: {type: openai, api_key: PRIVATE}}",
        "providers: {a: {type: openai, base_url: 'https://u:PRIVATE@h.example.com'}}",
        "providers: {a: {type: openai, base_url: 'PRIVATE://h.example.com'}}",
        "providers: {a: {type: openai, api_key: '${env:HELD}', headers: {authorization: Bearer PRIVATE}}}",
        "providers: {a: {type: openai, api_key: '${env:HELD}', headers: {x-api-key: [PRIVATE]}}}",
    ],
)
@pytest.mark.parametrize("demo", [False, True])
def test_no_mistake_prints_a_secret(text: str, demo: bool, read: Parse, environ: dict[str, str]) -> None:
    environ["HELD"] = "PRIVATE 0123456789 with spaces"
    try:
        settings = read((text if "providers" in text else _PROVIDERS + text) + "\n", demo=demo)
    except ConfigError as error:
        assert "PRIVATE" not in str(error)
        assert "PRIVATE" not in repr(error)
    else:
        assert "PRIVATE" not in repr(settings)


def test_references_may_stand_in_any_text(read: Parse, environ: dict[str, str], tmp_path: Path) -> None:
    environ["HOST"] = "llm.example.com"
    (tmp_path / "zone").write_text("Asia/Tokyo\n")

    settings = read(
        "providers: {a: {type: openai, base_url: 'https://${env:HOST}/v1'}}\n"
        "timezone: ${file:zone}\ndata_dir: /d/${env:HOST}\n"
    )

    assert settings.providers["a"].base_url == "https://llm.example.com/v1"
    assert settings.timezone == "Asia/Tokyo"
    assert settings.database_path == Path("/d/llm.example.com/control.db")
