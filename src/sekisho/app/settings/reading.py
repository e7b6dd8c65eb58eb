"""What one reading of a configuration knows and has found wrong so far. Must not know the keys of the file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from sekisho.app.settings import messages
from sekisho.app.settings.document import Place, Text
from sekisho.app.settings.lookalikes import half_width
from sekisho.app.settings.messages import Say
from sekisho.app.settings.model import Language
from sekisho.app.settings.os_reasons import os_reason
from sekisho.app.settings.problem import Problem, Severity

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: `$NAME` and `${NAME}`, as a shell would write it
_SHELL = re.compile(r"\$\{?([A-Z_][A-Z0-9_]*)\}?")
_LARGEST_FILE = 64 * 1024
_LONGEST_SHOWN = 80
_SHORTEST_HIDDEN = 6


class Reading:
    """Collects problems, fills in references, and words both in one language."""

    def __init__(
        self, *, environ: Mapping[str, str], base_dir: Path, demo: bool, language: Language, digest: str = ""
    ) -> None:
        self.environ = environ
        self.base_dir = base_dir
        self.demo = demo
        self.language: Language = language
        self.digest = digest
        self.problems: list[Problem] = []
        #: what references stood for; a message shows `***` instead, for a secret may stand in the wrong place
        self._filled: set[str] = set()

    def error(self, place: Place, say: Say, /, *, hint: str = "", **values: object) -> None:
        """Notes a mistake; `hint` replaces the hint of the message."""
        self._note("error", place, say, hint, values)

    def warning(self, place: Place, say: Say, /, **values: object) -> None:
        self._note("warning", place, say, "", values)

    def say(self, say: Say, /, **values: object) -> str:
        return say.message(self.language, **self._shown(values))

    def suggestion(self, name: str, known: Iterable[str]) -> str:
        """A hint for a name that is not known: its half-width form, the nearest known one, or all of them."""
        names = sorted(set(known))
        half = half_width(name)
        if half != name and half in names:
            return self.say(messages.FULL_WIDTH_HINT, name=half)
        if near := difflib.get_close_matches(half[:_LONGEST_SHOWN], names, n=1):
            return self.say(messages.DID_YOU_MEAN, name=near[0])
        return messages.ALLOWED.message(self.language, names=", ".join(names)) if names else ""

    def resolve(self, node: Text, variables: Mapping[str, str] | None = None) -> str | None:
        """The text with `${env:NAME}`, `${file:PATH}` and the given variables filled in; None after a problem."""
        failed = False

        def fill(match: re.Match[str]) -> str:
            nonlocal failed
            value = self._refer(node, match.group(1), variables or {})
            failed = failed or value is None
            if value is not None and len(value) >= _SHORTEST_HIDDEN:
                self._filled.add(value)
            return value or ""

        filled = _REFERENCE.sub(fill, node.text)
        if "${" in _REFERENCE.sub("", node.text):
            self._bad_reference(node, node.text)
            return None
        return None if failed else filled

    def _refer(self, node: Text, body: str, variables: Mapping[str, str]) -> str | None:
        kind, colon, name = body.partition(":")
        if not colon and body in variables:
            return variables[body]
        if kind == "env" and _VARIABLE.fullmatch(name):
            return self._from_environment(node, name)
        if kind == "file" and name:
            return self._from_file(node, name)
        self._bad_reference(node, "${" + body + "}")
        return None

    def _from_environment(self, node: Text, name: str) -> str | None:
        value = self.environ.get(name)
        if value:
            return value
        if value == "":
            self.error(node, messages.ENV_EMPTY, name=name)
            return None
        near = difflib.get_close_matches(name[:_LONGEST_SHOWN], self.environ, n=1, cutoff=0.8)
        self.error(node, messages.ENV_UNSET, name=name, similar=self._similar(near))
        return None

    def _similar(self, near: list[str]) -> str:
        return self.say(messages.ENV_SIMILAR, name=near[0]) if near else ""

    def _from_file(self, node: Text, name: str) -> str | None:
        text = self._read_file(node, name)
        if text is None:
            return None
        text = text.removeprefix("\ufeff").rstrip("\r\n")
        if not text:
            self.error(node, messages.FILE_EMPTY, name=name)
            return None
        return text

    def _read_file(self, node: Text, name: str) -> str | None:
        try:
            path = self.base_dir / name
            if not path.exists():
                self.error(node, messages.FILE_MISSING, name=name, folder=str(self.base_dir))
                return None
            # a named pipe would hold up the start for ever
            if not path.is_file() or path.stat().st_size > _LARGEST_FILE:
                self.error(node, messages.FILE_UNREADABLE, name=name, reason="-")
                return None
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            self.error(node, messages.FILE_UNREADABLE, name=name, reason="UTF-8")
        except (OSError, ValueError) as error:
            reason = os_reason(error, self.language) if isinstance(error, OSError) else "-"
            self.error(node, messages.FILE_UNREADABLE, name=name, reason=reason)
        return None

    def _bad_reference(self, node: Text, written: str) -> None:
        shell = _SHELL.fullmatch(written)
        example = "${env:" + shell.group(1) + "}" if shell else "${env:NAME} / ${file:PATH}"
        self.error(node, messages.BAD_REFERENCE, example=example)

    def _note(self, severity: Severity, place: Place, say: Say, hint: str, values: Mapping[str, object]) -> None:
        shown = self._shown(values)
        self.problems.append(
            Problem(
                severity=severity,
                code=say.code,
                line=place.line,
                column=place.column,
                path=_printable(place.path, 200),
                message=say.message(self.language, **shown),
                hint=hint or say.hint(self.language, **shown),
            )
        )

    def _shown(self, values: Mapping[str, object]) -> dict[str, str]:
        texts = {name: str(value) for name, value in values.items()}
        for hidden in sorted(self._filled, key=len, reverse=True):
            texts = {name: text.replace(hidden, "***") for name, text in texts.items()}
        return {name: _printable(text, _LONGEST_SHOWN) for name, text in texts.items()}


def is_reference(text: str) -> bool:
    """Whether the whole text is one `${...}`, so that nothing secret stands in it."""
    return _REFERENCE.fullmatch(text) is not None


def shell_name(text: str) -> str | None:
    """NAME of a text that is `$NAME` or `${NAME}`."""
    match = _SHELL.fullmatch(text)
    return match.group(1) if match else None


def _printable(text: str, most: int) -> str:
    """A text as a terminal may show it: bounded, and without control characters."""
    text = text if len(text) <= most else text[:most] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
