"""The sections `endpoints` and `defaults`. Must not choose between targets: that is the gateway's."""

from __future__ import annotations

import msgspec

from sekisho.app.settings import messages
from sekisho.app.settings.document import Field, Items, Node
from sekisho.app.settings.form import Form, form_of
from sekisho.app.settings.model import DefaultsSettings, EndpointSettings, TargetSettings
from sekisho.app.settings.names import Names, check_reference
from sekisho.app.settings.providers import check_name
from sekisho.app.settings.spending import read_limit
from sekisho.domain.endpoint import Durability, LogLevel, Timeouts
from sekisho.domain.spending import EACH, scope_of

_LOG_LEVELS: tuple[LogLevel, ...] = ("full", "metadata")
_DURABILITIES: tuple[Durability, ...] = ("process", "sync")
_LARGEST_WEIGHT = 1_000_000


def read_defaults(root: Form) -> DefaultsSettings:
    """What endpoints that do not say otherwise, and directly addressed models, get."""
    form = root.form("defaults")
    if form is None:
        return DefaultsSettings()
    with form:
        _refuse_mask(form)
        return DefaultsSettings(
            log=form.choice("log", _LOG_LEVELS, "metadata"),
            durability=form.choice("durability", _DURABILITIES, "process"),
            timeouts=_timeouts(form, Timeouts()),
            limits=read_limit(form, scope_of({"endpoint": EACH})),
        )


def read_endpoints(root: Form, names: Names, defaults: DefaultsSettings) -> dict[str, EndpointSettings]:
    """All endpoints by name, with the defaults filled in."""
    endpoints: dict[str, EndpointSettings] = {}
    for entry in root.entries("endpoints"):
        check_name(root.reading, entry)
        form = form_of(root.reading, entry.value)
        if form is not None:
            with form:
                endpoints[entry.name] = _endpoint(form, entry, names, defaults)
    return endpoints


def _endpoint(form: Form, entry: Field, names: Names, defaults: DefaultsSettings) -> EndpointSettings:
    targets = tuple(_target(form, item, names, weighted=True) for item in form.items("targets"))
    node = form.node("targets")
    if node is None or (isinstance(node, Items) and not node.items):
        form.reading.error(form.field("targets") or entry, messages.NO_TARGETS)
    _refuse_mask(form)
    return EndpointSettings(
        name=entry.name,
        targets=targets,
        fallbacks=tuple(_target(form, item, names, weighted=False) for item in form.items("fallbacks")),
        timeouts=_timeouts(form, defaults.timeouts),
        log=form.choice("log", _LOG_LEVELS, defaults.log),
        durability=form.choice("durability", _DURABILITIES, defaults.durability),
        limits=read_limit(form, scope_of({"endpoint": entry.name})),
    )


def _target(parent: Form, node: Node, names: Names, *, weighted: bool) -> TargetSettings:
    form = form_of(parent.reading, node)
    if form is None:
        return TargetSettings(provider="", model="")
    with form:
        provider = form.required_text("provider", "provider: openai")
        if provider:
            check_reference(form.reading, form.node("provider") or node, provider, names.providers)
        return TargetSettings(
            provider=provider,
            model=form.required_text("model", "model: gpt-4o-mini"),
            weight=form.whole("weight", 100, most=_LARGEST_WEIGHT) if weighted else 100,
        )


def _timeouts(parent: Form, inherited: Timeouts) -> Timeouts:
    form = parent.form("timeouts")
    if form is None:
        return inherited
    with form:
        return msgspec.structs.replace(
            inherited,
            connect_s=form.seconds("connect_s", inherited.connect_s),
            first_token_s=form.seconds("first_token_s", inherited.first_token_s),
            idle_s=form.seconds("idle_s", inherited.idle_s),
            total_s=form.seconds("total_s", inherited.total_s),
        )


def _refuse_mask(form: Form) -> None:
    if (field := form.field("mask")) is not None:
        form.reading.error(field, messages.MASK_UNSUPPORTED)
