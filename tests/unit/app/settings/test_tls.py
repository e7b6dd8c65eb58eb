"""A certificate and a key that the server could not use are mistakes; one that callers would refuse is warned of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from tests.support.certificates import write_certificate

from sekisho.app.settings import OF_THE_GATEWAY, Problem, Settings, parse

_TEXT = """\
providers: {local: {type: openai, base_url: "https://llm.example.com/v1"}}
server:
  tls_certificate: server.crt
  tls_key: server.key
"""
Parse = Callable[..., Settings]
Problems = Callable[..., tuple[Problem, ...]]


def test_a_pair_that_belongs_together_is_taken(tmp_path: Path, read: Parse) -> None:
    write_certificate(tmp_path)
    settings = read(_TEXT)
    assert settings.server.tls_key == tmp_path / "server.key"
    assert settings.warnings == ()


def test_a_key_of_another_certificate_is_a_mistake(tmp_path: Path, problems: Problems) -> None:
    write_certificate(tmp_path)
    kept = (tmp_path / "server.key").read_bytes()
    write_certificate(tmp_path)
    (tmp_path / "server.key").write_bytes(kept)
    (problem,) = problems(_TEXT)
    assert (problem.line, problem.code) == (4, "bad_tls")
    assert "not that of the certificate" in problem.message


def test_a_key_with_a_passphrase_is_a_mistake_and_nobody_is_asked_for_it(tmp_path: Path, problems: Problems) -> None:
    write_certificate(tmp_path, passphrase=BestAvailableEncryption(b"secret"))
    (problem,) = problems(_TEXT)
    assert (problem.line, "passphrase" in problem.message) == (4, True)


@pytest.mark.parametrize(("name", "line"), [("server.crt", 3), ("server.key", 4)])
def test_a_file_that_holds_something_else_is_named(name: str, line: int, tmp_path: Path, problems: Problems) -> None:
    write_certificate(tmp_path)
    (tmp_path / name).write_text("something else")
    (problem,) = problems(_TEXT)
    assert (problem.line, problem.code) == (line, "bad_tls")


def test_a_certificate_that_is_cut_off_is_a_mistake(tmp_path: Path, problems: Problems) -> None:
    write_certificate(tmp_path)
    (tmp_path / "server.crt").write_bytes((tmp_path / "server.crt").read_bytes()[:200])
    (problem,) = problems(_TEXT)
    assert (problem.line, problem.code) == (3, "bad_tls")


@pytest.mark.parametrize(("begins", "ends", "said"), [(-9, -2, "expired"), (2, 9, "not valid before")])
def test_a_certificate_that_callers_refuse_is_warned_of(
    begins: int, ends: int, said: str, tmp_path: Path, read: Parse
) -> None:
    write_certificate(tmp_path, begins=begins, ends=ends)
    (warning,) = read(_TEXT).warnings
    assert (warning.severity, warning.line) == ("warning", 3)
    assert said in warning.message


def test_who_does_not_serve_needs_no_pair_that_can_be_used(tmp_path: Path) -> None:
    def taken() -> bool:
        settings = parse(_TEXT, "sekisho.yaml", environ={}, base_dir=tmp_path, unset_in=OF_THE_GATEWAY)
        return settings.warnings == ()

    assert taken()
    write_certificate(tmp_path)
    (tmp_path / "server.key").write_text("something else")
    assert taken()
