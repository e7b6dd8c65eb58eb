"""A request and an origin as data. Must not open anything."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

#: names in lower case; the last of a repeated header wins
Headers = dict[str, str]


class Secret:
    """A text that cannot print, compare or be encoded by accident; `reveal()` where it must go on the wire."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        raise TypeError("a secret is not to be pickled")


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a provider is: one connection pool each. `allow_private` permits addresses that are not on the internet."""

    scheme: str
    host: str
    port: int
    allow_private: bool = False

    @property
    def authority(self) -> str:
        default = 443 if self.scheme == "https" else 80
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == default else f"{host}:{self.port}"


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A POST to a provider, without its origin or credentials. `body` parts are written one after another; a large
    part may be a view into the body that came in."""

    path: str
    body: Sequence[bytes | memoryview]
    headers: Headers = {}
