"""Credentials on a request, by the provider's row. Must not keep a secret, and must not know a wire format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sekisho.domain.http import Headers, Secret


class Signed(Protocol):
    """What of a row decides how its requests are signed."""

    @property
    def signing(self) -> str: ...


def sign(row: Signed, secret: Secret) -> Headers:
    """The headers that carry the credential, names in lower case. Raises ValueError for a secret no header can hold."""
    text = secret.reveal()
    # a line break would end the header and begin another one
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError("the API key of a provider has characters that cannot stand in a header")
    return _SCHEMES[row.signing](text)


def _bearer(text: str) -> Headers:
    """RFC 6750."""
    return {"authorization": f"Bearer {text}"}


_SCHEMES: dict[str, Callable[[str], Headers]] = {"bearer": _bearer}
