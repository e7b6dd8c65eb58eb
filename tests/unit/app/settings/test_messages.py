"""Both languages say the same: the same places to fill in, a hint in both or in neither."""

from __future__ import annotations

import string

import pytest

from sekisho.app.settings import file_messages, messages, money_messages
from sekisho.app.settings.messages import Say

ALL = {
    name: value
    for module in (messages, file_messages, money_messages)
    for name, value in vars(module).items()
    if isinstance(value, Say)
}


def _places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("name", ALL)
def test_both_languages_fill_in_the_same(name: str) -> None:
    say = ALL[name]

    assert _places(say.en) == _places(say.ja)
    assert _places(say.en_hint) == _places(say.ja_hint)
    assert bool(say.en_hint) == bool(say.ja_hint)


@pytest.mark.parametrize("name", ALL)
def test_every_message_can_be_filled_in(name: str) -> None:
    say = ALL[name]
    values = dict.fromkeys(_places(say.en + say.en_hint), "x")

    assert "{{" not in say.message("en", **values) + say.message("ja", **values)
    assert "{{" not in say.hint("en", **values) + say.hint("ja", **values)
