"""The section `providers`. Must not open an address: it only judges how one is written."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from sekisho.app.settings import messages
from sekisho.app.settings.document import Field, Node, Place
from sekisho.app.settings.form import Form, form_of, header_value_of
from sekisho.app.settings.messages import Say
from sekisho.app.settings.model import ProviderSettings
from sekisho.app.settings.reading import Reading
from sekisho.domain.http import Secret

if TYPE_CHECKING:
    from sekisho.providers.catalog import ProviderRow

#: types that the contract names; until the catalog has them, "unknown" would be the wrong word
CONTRACT_TYPES = ("anthropic", "azure", "bedrock", "databricks", "gemini")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,99}", re.ASCII)
_HOST_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_OWN_HEADERS = frozenset(
    ("host", "content-length", "content-type", "transfer-encoding", "connection", "te", "trailer", "upgrade",
     "expect", "keep-alive", "accept-encoding", "proxy-connection")
)  # fmt: skip
_CREDENTIAL = re.compile(r"authorization|cookie|key|token|secret|password|credential", re.IGNORECASE)


def known_provider_types() -> Mapping[str, ProviderRow]:
    """The provider types of this version. Imported late: only a configuration that names providers needs them."""
    from sekisho.providers.catalog import CATALOG

    return CATALOG


def read_providers(root: Form) -> dict[str, ProviderSettings]:
    """All providers by name; at least one has to be there."""
    providers: dict[str, ProviderSettings] = {}
    entries = list(root.entries("providers"))
    if root.node("providers") is None:
        root.missing("providers", 'providers: {openai: {type: openai, api_key: "${env:OPENAI_API_KEY}"}}')
    for entry in entries:
        check_name(root.reading, entry)
        form = form_of(root.reading, entry.value)
        if form is not None:
            with form:
                providers[entry.name] = _provider(form, entry)
    return providers


def check_name(reading: Reading, entry: Field) -> None:
    """Names of providers and endpoints stand in HTTP headers and before or after a slash."""
    if not _NAME.fullmatch(entry.name):
        reading.error(entry, messages.BAD_NAME, name=entry.name)


def check_base_url(reading: Reading, place: Place, text: str, *, allow_private: bool) -> str | None:
    """The address without a slash at its end; None after a problem. Host names are judged again when they resolve."""
    reason, parts = _judge_url(text)
    if reason is not None or parts is None:
        reading.error(place, messages.BAD_URL, reason=reading.say(reason or messages.URL_HOST))
        return None
    host = parts.hostname or ""
    if not allow_private and _is_private(host):
        reading.error(place, messages.PRIVATE_ADDRESS, host=host)
        return None
    return text.rstrip("/")


def _provider(form: Form, entry: Field) -> ProviderSettings:
    type_name = form.required_text("type", "type: openai")
    row = _row(form, type_name) if type_name else None
    allow_private = form.truth("allow_private")
    text = form.text("base_url")
    place = form.node("base_url")
    base_url = check_base_url(form.reading, place, text, allow_private=allow_private) if text and place else None
    api_key = form.secret("api_key")
    if row is not None and form.field("base_url") is None and not row.base_url:
        form.missing("base_url", "base_url: https://api.example.com/v1")
    # an own address may be an open server; the provider's own address never is
    if row is not None and row.needs_key and form.field("base_url") is None and form.field("api_key") is None:
        form.missing("api_key", 'api_key: "${env:' + type_name.upper().replace("-", "_") + '_API_KEY}"')
    return ProviderSettings(
        name=entry.name,
        type=type_name,
        base_url=base_url,
        api_key=api_key,
        allow_private=allow_private,
        headers=_headers(form),
    )


def _row(form: Form, type_name: str) -> ProviderRow | None:
    known = known_provider_types()
    if (row := known.get(type_name)) is not None:
        return row
    place = form.node("type") or form.place
    if type_name in CONTRACT_TYPES:
        form.reading.error(place, messages.TYPE_UNSUPPORTED, name=type_name, names=", ".join(sorted(known)))
    else:
        hint = form.reading.suggestion(type_name, known)
        form.reading.error(place, messages.BAD_CHOICE, hint=hint, text=type_name)
    return None


def _headers(form: Form) -> dict[str, Secret]:
    headers: dict[str, Secret] = {}
    first_line: dict[str, int] = {}
    for entry in form.entries("headers"):
        name = entry.name.lower()
        if not _HEADER_NAME.fullmatch(name) or name in _OWN_HEADERS:
            form.reading.error(entry, messages.BAD_HEADER, name=entry.name)
            continue
        if name in first_line:
            first = first_line[name]
            form.reading.error(entry, messages.DUPLICATE_KEY, name=entry.name, first=first, second=entry.line)
            continue
        first_line[name] = entry.line
        value = _header_value(form.reading, name, entry.value)
        if value is not None:
            headers[name] = value
    return headers


def _header_value(reading: Reading, name: str, node: Node) -> Secret | None:
    return header_value_of(reading, node, credential=_CREDENTIAL.search(name) is not None)


def _judge_url(text: str) -> tuple[Say | None, SplitResult | None]:
    """What is wrong with an address, without quoting it: it may hold a password."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return messages.URL_PORT, None
    if parts.scheme not in ("http", "https"):
        return messages.URL_SCHEME, parts
    if "@" in parts.netloc:
        return messages.URL_USERINFO, parts
    if "?" in text or "#" in text:
        return messages.URL_QUERY, parts
    if port == 0:
        return messages.URL_PORT, parts
    if not _is_host(parts.hostname or "") or not parts.path.isascii() or " " in text or "\\" in text:
        return messages.URL_HOST, parts
    return None, parts


def _is_host(host: str) -> bool:
    if _address(host) is not None:
        return True
    labels = host.removesuffix(".").split(".")
    # a last label of digits is read as an IPv4 address by many resolvers: 127.1, 2130706433 and 0x7f.1 are loopback
    numeric = labels[-1].isdigit() or labels[-1].lower().startswith("0x")
    return len(host) <= 253 and not numeric and all(_HOST_LABEL.fullmatch(label) for label in labels)


def _is_private(host: str) -> bool:
    address = _address(host)
    if address is None:
        name = host.removesuffix(".")
        return name == "localhost" or name.endswith(".localhost")
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return not (inner or address).is_global or address.is_multicast


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
