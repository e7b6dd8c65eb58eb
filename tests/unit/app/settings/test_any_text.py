"""No text, however broken, raises anything but ConfigError, and no message prints a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.app.settings import ConfigError, parse

_COMPLETE = Path(__file__).parent.parent.joinpath("conftest.py").read_text("utf-8").split('COMPLETE = """\\\n')[1]
COMPLETE = _COMPLETE.split('"""')[0]
ENVIRON = {
    "SHOWN": "x",
    "OPENAI_API_KEY": "held-secret-000000001",
    "TOKEN": "held-secret-000000002",
    "APP_KEY": "held-secret-000000003",
    "AUDIT_KEY": "held-secret-000000004",
    "ADMIN_KEY": "held-secret-000000005",
}

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["${env:SHOWN}", "${env:NONE}", "${file:/}", "${", "*", "a/*", "1e999", "０", "a\x00b"]),
    st.just([]),
    st.just({}),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)
FRAGMENTS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        ["{", "}", "[", "]", ": ", "- ", "&a ", "*a", "<<: *a", "!!x ", "'", '"', "\t", "\n", "：", "---\n", "${"]
    ),
)

#: a busy machine is not a failure
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _holds(text: str) -> None:
    try:
        parse(text, "sekisho.yaml", ENVIRON, language="ja")
    except ConfigError as error:
        assert "held-secret" not in str(error)
        str(error).encode()
        assert any(problem.severity == "error" for problem in error.problems)
        assert all(problem.line >= 1 and problem.column >= 1 for problem in error.problems)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    steps: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        steps = list(cast("dict[Any, Any]", value).items())
    elif isinstance(value, list):
        steps = list(enumerate(cast("list[Any]", value)))
    return [path, *(found for step, inner in steps for found in _paths(inner, (*path, step)))]


def _complete() -> Any:
    return yaml.safe_load(COMPLETE)


PATHS = _paths(_complete())[1:]


@STEADY
@given(path=st.sampled_from(PATHS), value=st.one_of(VALUES, st.just("\0delete")))
def test_any_value_may_be_wrong_or_gone(path: tuple[Any, ...], value: Any) -> None:
    document = _complete()
    parent = document
    for step in path[:-1]:
        parent = parent[step]
    if value == "\0delete":
        del parent[path[-1]]
    else:
        parent[path[-1]] = value

    _holds(msgspec.json.encode(document, enc_hook=str).decode("utf-8", "surrogatepass"))


@STEADY
@given(position=st.integers(0, len(COMPLETE)), fragment=FRAGMENTS, removed=st.integers(0, 12))
def test_any_place_of_the_text_may_be_broken(position: int, fragment: str, removed: int) -> None:
    _holds(COMPLETE[:position] + fragment + COMPLETE[position + removed :])


@STEADY
@given(st.text())
def test_any_text_may_come(text: str) -> None:
    _holds(text)
