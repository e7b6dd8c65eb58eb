"""Commands with their help in English and Japanese, side by side where they are declared. Must stay light: every
command is declared with it, and what sets Japanese help is imported where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import typer
from typer.core import TyperCommand, TyperGroup

from sekisho.app import speech


class Both(str):  # noqa: SLOT000 - a handful, and typer copies them as it copies any text
    """One text of the help: the English one, as typer takes it, with the Japanese one beside it."""

    ja: str

    def __new__(cls, en: str, ja: str) -> Self:
        """Paragraphs are parted by an empty line; how the lines of one are broken does not matter."""
        text = super().__new__(cls, en)
        text.ja = ja
        return text


CONFIG = Both("The configuration file; by default sekisho.yaml.", "設定ファイル（既定は sekisho.yaml）")
NAME = Both("1-64 visible characters, Japanese too.", "見える文字で 1-64 文字（日本語も可）")
FORMAT = Both("For people, or for machines.", "出力形式（table は表、ほかはプログラム向け）")


class Help(NamedTuple):
    """What a command does, and a line to try, which is the same in both languages."""

    text: Both
    example: str


if TYPE_CHECKING:
    _Typers = TyperCommand
else:
    _Typers = object


class Explained(_Typers):
    """What explains itself in the language of whoever asks; before the class of typer, which does so in English."""

    told: ClassVar[Help]

    def get_help(self, ctx: Any) -> str:
        """What `--help` prints."""
        if speech.language() == "en":
            return super().get_help(ctx)
        from sekisho.app.japanese_help import help_of

        return help_of(self, ctx)

    def get_usage(self, ctx: Any) -> str:
        """Its first line."""
        if speech.language() == "en":
            return super().get_usage(ctx)
        from sekisho.app.japanese_help import usage_of

        return usage_of(self, ctx)


class Command(Explained, TyperCommand):
    """A command."""


class Group(Explained, TyperGroup):
    """Several commands below one word."""


def command(app: typer.Typer, name: str, function: Callable[..., None], help_: Help) -> None:
    """Adds a command."""

    class Told(Command):
        told = help_

    app.command(name, cls=Told, help=help_.text, epilog=_example(help_))(function)


def group(app: typer.Typer, name: str, help_: Help, function: Callable[..., None] | None = None) -> typer.Typer:
    """Adds a word to put commands below. `function` is what it does by itself; without one it shows its help."""

    class Told(Group):
        told = help_

    below = typer.Typer(
        cls=Told,
        help=help_.text,
        epilog=_example(help_),
        no_args_is_help=function is None,
        invoke_without_command=function is not None,
        rich_markup_mode=None,
    )
    if function is not None:
        below.callback()(function)
    app.add_typer(below, name=name)
    return below


def whole(help_: Help, function: Callable[..., None]) -> typer.Typer:
    """The program itself; `function` has the options that stand before a command."""

    class Told(Group):
        told = help_

    app = typer.Typer(
        name="sekisho",
        cls=Told,
        help=help_.text,
        epilog=_example(help_),
        no_args_is_help=True,
        add_completion=False,
        # both would import rich for every command
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(function)
    return app


def _example(help_: Help) -> str:
    return f"Example: {help_.example}"
