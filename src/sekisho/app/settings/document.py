"""A YAML (or JSON) text as a tree of values with their places. Must not guess types: every scalar stays its text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol, cast

import msgspec
import yaml
from yaml.error import Mark, MarkedYAMLError
from yaml.reader import ReaderError

from sekisho.app.settings import file_messages, messages
from sekisho.app.settings.messages import Say

_DEEPEST = 50
#: values that aliases may repeat: what is written bounds itself, for a file has a size
_MOST_REPEATED = 20_000
_NULLS = ("", "~", "null", "Null", "NULL")


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A scalar. `plain` means without quotation marks, so it may stand for a number, a truth value or nothing."""

    path: str
    line: int
    column: int
    text: str
    plain: bool

    @property
    def is_null(self) -> bool:
        return self.plain and self.text in _NULLS


class Items(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    line: int
    column: int
    items: tuple[Node, ...]


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A key of a mapping, at the place of the key, with its value."""

    path: str
    line: int
    column: int
    name: str
    value: Node


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    line: int
    column: int
    fields: dict[str, Field]


Node = Text | Items | Fields


class Place(Protocol):
    """Anything a problem can point at; lines and columns count from 1."""

    @property
    def path(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class Spot(msgspec.Struct, frozen=True, kw_only=True):
    """A bare place."""

    path: str = ""
    line: int = 1
    column: int = 1


class Report(Protocol):
    """Where the mistakes of a document go."""

    def __call__(self, place: Place, say: Say, /, *, hint: str = "", **values: object) -> None: ...


def read(text: str, report: Report) -> Node | None:
    """The tree of a text, None when it is empty or cannot be parsed (which was then reported)."""
    composer: _Composer | None = None
    try:
        composer = _Composer(_without_tabs(text))
        root = composer.get_single_node()
    except MarkedYAMLError as error:
        place, say, other = _explain(error)
        report(place, say, other=other)
        return None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        report(Spot(line=line, column=column), messages.BAD_CHARACTER, code_point=f"{int(error.character):04X}")
        return None
    except (ValueError, OverflowError):
        # PyYAML 6.0 lets some escapes through to chr() and int(): "\UFFFFFFFF", a very long %YAML version
        report(_spot(None if composer is None else composer.reached()), file_messages.YAML_ESCAPE)
        return None
    for mark in composer.tagged:
        report(_spot(mark), file_messages.YAML_TAG)
    return None if root is None else _Converter(report).convert(root, "", None)


class _Composer(yaml.SafeLoader):
    """Builds nodes without values. Notes explicit tags and refuses a depth that Python could not walk."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.tagged: list[Mark] = []
        self._depth = 0
        #: the stubs of PyYAML leave its readers untyped
        self._untyped = cast(Any, self)

    def reached(self) -> Mark:
        """How far the text was read."""
        return cast(Mark, self._untyped.get_mark())

    def compose_node(self, parent: yaml.Node | None, index: int | yaml.Node | None) -> yaml.Node | None:
        event = cast(yaml.NodeEvent, self._untyped.peek_event())
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag is not None:
            self.tagged.append(event.start_mark)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise MarkedYAMLError(problem="too deep", problem_mark=event.start_mark)
        try:
            return super().compose_node(parent, index)  # pyright: ignore[reportArgumentType]
        finally:
            self._depth -= 1


class _Converter:
    """PyYAML nodes to ours: paths, duplicate keys, merge keys, and a bound on what aliases multiply."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._left = _MOST_REPEATED
        self._met: set[int] = set()
        self._open: set[int] = set()

    def convert(self, node: yaml.Node, path: str, key: Spot | None) -> Node | None:
        """None when the value was refused; `key` is the place of the key that a block belongs to."""
        if id(node) in self._met:
            self._left -= 1
            if self._left < 0:
                if self._left == -1:
                    self._report(_spot(node.start_mark, path), file_messages.YAML_SIZE, most=_MOST_REPEATED)
                return None
        self._met.add(id(node))
        if id(node) in self._open or len(self._open) > _DEEPEST:
            loop = id(node) in self._open
            self._report(_spot(node.start_mark, path), file_messages.YAML_LOOP if loop else file_messages.YAML_DEPTH)
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._open.add(id(node))
        try:
            place = key or _spot(node.start_mark, path)
            if isinstance(node, yaml.SequenceNode):
                return self._sequence(node, path, place)
            assert isinstance(node, yaml.MappingNode)
            return self._mapping(node, path, place)
        finally:
            self._open.discard(id(node))

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Text:
        place = _spot(node.start_mark, path)
        text = self._whole_characters(str(node.value), place)
        return Text(path=path, line=place.line, column=place.column, text=text, plain=not node.style)

    def _sequence(self, node: yaml.SequenceNode, path: str, place: Spot) -> Items:
        items = [self.convert(item, f"{path}[{i}]", None) for i, item in enumerate(node.value)]
        kept = tuple(item for item in items if item is not None)
        return Items(path=path, line=place.line, column=place.column, items=kept)

    def _mapping(self, node: yaml.MappingNode, path: str, place: Spot) -> Fields:
        fields: dict[str, Field] = {}
        merged: dict[str, Field] = {}
        for key_node, value_node in node.value:
            if _is_merge(key_node):
                for field in self._merge(value_node, path):
                    merged.setdefault(field.name, field)
                continue
            field = self._field(key_node, value_node, path)
            if field is None:
                continue
            if (first := fields.get(field.name)) is not None:
                self._report(field, messages.DUPLICATE_KEY, name=field.name, first=first.line, second=field.line)
                continue
            fields[field.name] = field
        return Fields(path=path, line=place.line, column=place.column, fields=merged | fields)

    def _field(self, key_node: yaml.Node, value_node: yaml.Node, path: str) -> Field | None:
        place = _spot(key_node.start_mark, path)
        if not isinstance(key_node, yaml.ScalarNode):
            self._report(place, file_messages.KEY_NOT_TEXT)
            return None
        name = self._whole_characters(str(key_node.value), place)
        place = _spot(key_node.start_mark, _below(path, name))
        value = self.convert(value_node, place.path, place)
        if value is None:
            return None
        return Field(path=place.path, line=place.line, column=place.column, name=name, value=value)

    def _merge(self, node: yaml.Node, path: str) -> Iterator[Field]:
        """The fields of `<<: *anchor` or `<<: [*a, *b]`; the first to name a key wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                self._report(_spot(node.start_mark, path), file_messages.YAML_ALIAS)
                continue
            converted = self.convert(source, path, None)
            if isinstance(converted, Fields):
                yield from converted.fields.values()

    def _whole_characters(self, text: str, place: Spot) -> str:
        """JSON writes one character beyond U+FFFF as two escapes, which PyYAML leaves apart."""
        if not any("\ud800" <= character <= "\udfff" for character in text):
            return text
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._report(place, messages.BAD_CHARACTER, code_point="D800")
            return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)


def _is_merge(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.value == "<<" and not node.style


def _below(path: str, name: str) -> str:
    """`endpoints.chat`; names with other characters are quoted: `prices["local/mock-small"]`."""
    if name and all(character.isalnum() or character in "_-" for character in name):
        return f"{path}.{name}" if path else name
    return f"{path}[{json.dumps(name, ensure_ascii=False)}]"


def _spot(mark: Mark | None, path: str = "") -> Spot:
    return Spot(path=path) if mark is None else Spot(path=path, line=mark.line + 1, column=mark.column + 1)


def _without_tabs(text: str) -> str:
    """JSON may be indented with tabs, YAML may not; in valid JSON a raw tab never stands inside a text."""
    if "\t" not in text or text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text.replace("\t", " ")


# PyYAML's own words are not passed on: they are English only, and can quote a secret that starts with '*' or '!'.
_SYNTAX = (
    ("mapping values are not allowed", file_messages.YAML_COLON),
    ("'\\t'", file_messages.YAML_TAB),
    ("cannot start any token", file_messages.YAML_CHARACTER),
    ("expected ',' or", file_messages.YAML_BRACKET),
    ("expected <block end>", file_messages.YAML_INDENT),
    ("alias", file_messages.YAML_ALIAS),
    ("anchor", file_messages.YAML_ALIAS),
    ("but found another document", file_messages.YAML_DOCUMENTS),
    ("escape", file_messages.YAML_ESCAPE),
    ("too deep", file_messages.YAML_DEPTH),
    ("tag", file_messages.YAML_TAG),
)
#: here the place where the construct began is the one to mend
_SYNTAX_FROM_START = (
    ("could not find expected ':'", file_messages.YAML_NO_COLON),
    ("found unexpected end of stream", file_messages.YAML_QUOTE),
    ("found unexpected document separator", file_messages.YAML_QUOTE),
)


def _explain(error: MarkedYAMLError) -> tuple[Spot, Say, int]:
    """Where, what, and the line where the construct began."""
    problem = error.problem or ""
    found = _spot(error.problem_mark)
    began = _spot(error.context_mark or error.problem_mark)
    for words, say in _SYNTAX_FROM_START:
        if words in problem:
            return began, say, began.line
    for words, say in _SYNTAX:
        if words in f"{problem} {error.context or ''}":
            return found, say, began.line
    return found, file_messages.YAML_SYNTAX, began.line
