"""What is wrong with a configuration, and where. Must never hold the text of a secret."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

Severity = Literal["error", "warning"]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One mistake. `line` and `column` count from 1; line 0 means that it stands in no file."""

    severity: Severity
    #: a stable name of the kind of mistake, the same in every language
    code: str
    line: int
    column: int
    #: for example `endpoints.chat.targets[0].provider`; empty for the whole file
    path: str
    message: str
    #: what to do; may be empty
    hint: str = ""

    def render(self, source: str) -> str:
        """`file:line:column: error: path: message`, the form editors jump to, and the hint on a line of its own."""
        place = f"{source}:{self.line}:{self.column}" if self.line else source
        subject = f"{self.path}: " if self.path else ""
        first = f"{place}: {self.severity}: {subject}{self.message}"
        return f"{first}\n    -> {self.hint}" if self.hint else first


class ConfigError(Exception):
    """A configuration that cannot be used. `problems` holds every mistake and warning, in the order of the file."""

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = in_file_order(problems)
        super().__init__(source, self.problems)

    def __str__(self) -> str:
        return render(self.source, self.problems)


def in_file_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """By line and column; what is equal keeps the order in which it was found."""
    return tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))


def render(source: str, problems: Iterable[Problem]) -> str:
    """All problems as the commands print them, one or two lines each."""
    return "\n".join(problem.render(source) for problem in problems)
