"""Reads one mapping key by key. What was never asked for is an unknown key, so no list of keys can go stale."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Self, TypeVar

from sekisho.app.settings import messages
from sekisho.app.settings.document import Field, Fields, Items, Node, Place, Text
from sekisho.app.settings.lookalikes import half_width
from sekisho.app.settings.messages import Say
from sekisho.app.settings.reading import Reading, is_reference, shell_name
from sekisho.domain.http import Secret

_Choice = TypeVar("_Choice", bound=str)

# YAML 1.2 core, bounded so that no text can become a number too large to reckon with
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?", re.ASCII)
_LONGEST_NUMBER = 40
_LONGEST_TEXT = 4096
#: control characters, halves of a pair, and the separators of lines and paragraphs
_NOT_TEXT = ("Cc", "Cs", "Zl", "Zp")
_TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_KEY_TEXT = re.compile(r"[\x21-\x7e]+")

TEXT = Say("", "a text", "文字列")
NUMBER = Say("", "a number", "数")
TRUTH = Say("", "true or false", "true か false")
MAPPING = Say("", "a mapping of keys", "キーと値の組")
LIST = Say("", "a list", "リスト")


class Form:
    """One mapping. Used as a context: leaving it reports every key that nobody asked for."""

    def __init__(self, reading: Reading, node: Fields) -> None:
        self.reading = reading
        self.place: Place = node
        self._fields = node.fields
        self._asked: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            return
        for name, field in self._fields.items():
            if name not in self._asked:
                hint = self.reading.suggestion(name, self._asked)
                self.reading.error(field, messages.UNKNOWN_KEY, hint=hint, name=name)

    def field(self, key: str) -> Field | None:
        """The key with its value, None when it is not there."""
        self._asked.add(key)
        return self._fields.get(key)

    def node(self, key: str) -> Node | None:
        """The value of a key; None when the key is not there or nothing follows it."""
        field = self.field(key)
        if field is None or (isinstance(field.value, Text) and field.value.is_null):
            return None
        return field.value

    def missing(self, key: str, example: str) -> None:
        """Reports a key that has to be there, unless it stands there without a value, which is another mistake."""
        if (field := self.field(key)) is not None:
            self.reading.error(field, messages.NO_VALUE)
        else:
            self.reading.error(self.place, messages.MISSING, name=key, example=example)

    def text(self, key: str, variables: Mapping[str, str] | None = None) -> str | None:
        """A text with its references filled in; None when there is none, or after a problem."""
        node = self.node(key)
        return None if node is None else text_of(self.reading, node, variables)

    def required_text(self, key: str, example: str) -> str:
        """A text that has to be there; empty after a problem."""
        if self.node(key) is None:
            self.missing(key, example)
        return self.text(key) or ""

    def choice(self, key: str, choices: tuple[_Choice, ...], default: _Choice) -> _Choice:
        """One of a few words."""
        node = self._scalar(key)
        text = None if node is None else text_of(self.reading, node)
        if node is None or text is None:
            return default
        for choice in choices:
            if choice == text:
                return choice
        self.reading.error(node, messages.BAD_CHOICE, hint=self.reading.suggestion(text, choices), text=text)
        return default

    def truth(self, key: str, default: bool = False) -> bool:
        node = self._scalar(key)
        if node is None:
            return default
        if isinstance(node, Text) and node.plain and node.text in _TRUTHS:
            return _TRUTHS[node.text]
        wrong_type(self.reading, node, TRUTH)
        return default

    def whole(self, key: str, default: int, *, least: int = 1, most: int = 2**53) -> int:
        """A whole number within bounds, both included."""
        node = self._scalar(key)
        number = None if node is None else number_of(self.reading, node)
        if node is None or number is None:
            return default
        if number != number.to_integral_value():
            self.reading.error(node, messages.NOT_WHOLE, text=_as_written(node))
            return default
        if self._within(node, number, least, most):
            return int(number)
        return default

    def optional_whole(self, key: str, *, least: int = 1, most: int = 2**53) -> int | None:
        """None when the key is not there or its value is null."""
        return None if self.node(key) is None else self.whole(key, least, least=least, most=most)

    def seconds(self, key: str, default: float, *, most: int = 86_400) -> float:
        """A positive number of seconds, at most a day."""
        node = self._scalar(key)
        number = None if node is None else number_of(self.reading, node)
        if node is None or number is None or not self._positive(node, number, most):
            return default
        return float(number)

    def positive(self, key: str, *, most: int, least: Decimal = Decimal(0)) -> Decimal | None:
        """A positive number as it was written, None when there is none, or after a problem."""
        node = self.node(key)
        number = None if node is None else number_of(self.reading, node)
        if node is None or number is None or not self._positive(node, number, most, least):
            return None
        return number

    def secret(self, key: str) -> Secret | None:
        """A credential: one reference and nothing else, fit for an HTTP header."""
        node = self._scalar(key)
        return None if node is None else secret_of(self.reading, node)

    def form(self, key: str) -> Form | None:
        """The mapping under a key; None when there is none, or after a problem."""
        node = self.node(key)
        return None if node is None else form_of(self.reading, node)

    def entries(self, key: str) -> Iterator[Field]:
        """The keys of the mapping under a key, whose names are the user's own."""
        node = self.node(key)
        if isinstance(node, Fields):
            yield from node.fields.values()
        elif node is not None:
            wrong_type(self.reading, node, MAPPING)

    def items(self, key: str) -> tuple[Node, ...]:
        """The items of the list under a key."""
        node = self.node(key)
        if isinstance(node, Items):
            return node.items
        if node is not None:
            wrong_type(self.reading, node, LIST)
        return ()

    def _scalar(self, key: str) -> Node | None:
        """Like `node`, where nothing after a key is a mistake."""
        node = self.node(key)
        if node is None and (field := self.field(key)) is not None:
            self.reading.error(field, messages.NO_VALUE)
        return node

    def _within(self, node: Node, number: Decimal, least: int | Decimal, most: int) -> bool:
        if number < least:
            self.reading.error(node, messages.TOO_SMALL, text=_as_written(node), least=least)
        elif number > most:
            self.reading.error(node, messages.TOO_LARGE, text=_as_written(node), most=most)
        return least <= number <= most

    def _positive(self, node: Node, number: Decimal, most: int, least: Decimal = Decimal(0)) -> bool:
        if number <= 0:
            self.reading.error(node, messages.NOT_POSITIVE, text=_as_written(node))
            return False
        return self._within(node, number, least, most)


def form_of(reading: Reading, node: Node) -> Form | None:
    """A mapping to read; None, and a problem, when it is something else."""
    if isinstance(node, Fields):
        return Form(reading, node)
    wrong_type(reading, node, MAPPING)
    return None


def text_of(reading: Reading, node: Node, variables: Mapping[str, str] | None = None) -> str | None:
    """A text with its references filled in. Numbers are taken as they are written; true and false have to be quoted."""
    if not isinstance(node, Text) or node.is_null or (node.plain and node.text in _TRUTHS):
        wrong_type(reading, node, TEXT)
        return None
    text = reading.resolve(node, variables)
    if text is None:
        return None
    if bad := next((c for c in text if unicodedata.category(c) in _NOT_TEXT), None):
        reading.error(node, messages.BAD_CHARACTER, code_point=f"{ord(bad):04X}")
        return None
    if len(text) > _LONGEST_TEXT:
        reading.error(node, messages.TOO_LONG, most=_LONGEST_TEXT)
        return None
    if not text.strip():
        reading.error(node, messages.NO_VALUE)
        return None
    return text


def number_of(reading: Reading, node: Node) -> Decimal | None:
    """A number exactly as it was written, never through a float."""
    if isinstance(node, Text) and node.plain and len(node.text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(node.text):
        return Decimal(node.text)
    wrong_type(reading, node, NUMBER)
    return None


def secret_of(reading: Reading, node: Node) -> Secret | None:
    """A credential that is one reference; a literal one only in the demo. What is wrong is said without the text."""
    text = _unprinted(reading, node)
    if text is None:
        return None
    if not fits_a_header(text):
        reading.error(node, messages.BAD_SECRET)
        return None
    return Secret(text)


def fits_a_header(text: str) -> bool:
    """Whether a credential can go into an HTTP header: ASCII, no spaces, not empty."""
    return _KEY_TEXT.fullmatch(text) is not None


def header_value_of(reading: Reading, node: Node, *, credential: bool) -> Secret | None:
    """The value of a header; a credential has to hold a reference, with a word such as `Bearer` before it or not."""
    words = node.text.split() if isinstance(node, Text) else []
    reference_last = bool(words) and len(words) <= 2 and is_reference(words[-1])
    if isinstance(node, Text) and (reference_last or not credential):
        text = reading.resolve(node)
    else:
        text = _unprinted(reading, node)
    if text is None:
        return None
    if not _HEADER_VALUE.fullmatch(text):
        reading.error(node, messages.BAD_SECRET)
        return None
    return Secret(text)


def wrong_type(reading: Reading, node: Node, expected: Say) -> None:
    """Says what was expected and what kind of value was found, not the value: it may be a secret in the wrong place."""
    values = {"expected": reading.say(expected), "found": reading.say(_kind(node))}
    reading.error(node, messages.WRONG_TYPE, hint=_type_hint(reading, node, expected), **values)


def _unprinted(reading: Reading, node: Node) -> str | None:
    if not isinstance(node, Text) or node.is_null:
        wrong_type(reading, node, TEXT)
        return None
    if not is_reference(node.text) and not reading.demo:
        reading.error(node, messages.LITERAL_SECRET, name=shell_name(node.text) or "NAME")
        return None
    return reading.resolve(node)


def _kind(node: Node) -> Say:
    if isinstance(node, Fields):
        return MAPPING
    if isinstance(node, Items):
        return LIST
    if node.is_null:
        return Say("", "nothing", "空の値")
    if node.plain and node.text in _TRUTHS:
        return TRUTH
    return NUMBER if node.plain and _NUMBER.fullmatch(node.text) else TEXT


def _type_hint(reading: Reading, node: Node, expected: Say) -> str:
    if not isinstance(node, Text) or node.is_null:
        return ""
    if expected is TEXT:
        return reading.say(messages.QUOTE_IT)
    if expected is TRUTH:
        return reading.say(messages.TRUE_OR_FALSE)
    if expected is NUMBER and _NUMBER.fullmatch(half := half_width(node.text)):
        return reading.say(messages.UNQUOTE_IT if half == node.text else messages.FULL_WIDTH_HINT, name=half)
    return ""


def _as_written(node: Node) -> str:
    return node.text if isinstance(node, Text) else ""
