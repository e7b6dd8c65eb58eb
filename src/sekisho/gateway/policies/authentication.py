"""Who calls: from a key to a Caller. Must not say whether a key exists, and must not keep its text."""

from __future__ import annotations

import hashlib
import hmac
import os
import time

from sekisho.domain.call import Call, Caller
from sekisho.domain.errors import Refusal

_BEARER = b"bearer "
_OTHER_HEADERS = (b"x-api-key", b"x-goog-api-key", b"api-key")
#: stands for Authorization where a header for keys came twice with different values: no key, so 401
REPEATED = b"repeated"
_MAX_KEY_BYTES = 512
_MAX_REMEMBERED = 10_000


class Keyring:
    """The keys in force: HMAC-SHA256 digest of the secret to its Caller.

    An HMAC costs 2.6 us here, a keyed BLAKE2b 0.9: a key that was right once is recognised by the latter, under a
    random key of this process, so neither the text nor a digest usable elsewhere stays in memory.
    """

    def __init__(self, pepper: bytes, callers: dict[bytes, Caller]) -> None:
        self._pepper = pepper
        self._callers = callers
        self._process_key = os.urandom(32)
        self._seen: dict[bytes, Caller] = {}

    def identify(self, call: Call) -> Caller:
        """Raises Refusal 401, or 400 where two different keys were sent."""
        known = call.known
        if known is not None and known.keyring is self and (caller := known.caller) is not None:
            if caller.expires_at_us is None or call.received_us < caller.expires_at_us:
                return caller
            raise Refusal(401, "invalid_api_key")
        text = credential(call.headers)
        mark = hashlib.blake2b(text, key=self._process_key, digest_size=16).digest()
        caller = self._seen.get(mark)
        if caller is None:
            caller = self._callers.get(hmac.digest(self._pepper, text, "sha256"))
            if caller is None:
                raise Refusal(401, "invalid_api_key")
            if len(self._seen) < _MAX_REMEMBERED:
                self._seen[mark] = caller
        if caller.expires_at_us is not None and call.received_us >= caller.expires_at_us:
            raise Refusal(401, "invalid_api_key")
        if known is not None:
            known.keyring, known.caller, known.group = self, caller, None
        return caller

    def names(self) -> dict[str, str]:
        """The keys in force: id -> name."""
        return {caller.key_id: caller.key_name for caller in self._callers.values()}

    def opened(self) -> frozenset[str]:
        """Ids of keys with which callers have come; not of all, where there are thousands."""
        return frozenset(caller.key_id for caller in tuple(self._seen.values()))

    def has_role(self, role: str, at_us: int) -> bool:
        """Whether any key in force has it."""
        return any(
            caller.role == role and (caller.expires_at_us is None or at_us < caller.expires_at_us)
            for caller in self._callers.values()
        )

    def __len__(self) -> int:
        return len(self._callers)


def credential(headers: dict[bytes, bytes]) -> bytes:
    """The key's text out of Authorization: Bearer, x-api-key, x-goog-api-key or api-key. Raises Refusal 401, 400.

    Another kind of Authorization is meant for somebody else, as a proxy on the way, and says nothing of our key.
    """
    found: bytes | None = None
    bearer = headers.get(b"authorization")
    if bearer is not None:
        if bearer[:7].lower() == _BEARER:
            found = bearer[7:].strip()
        elif bearer == REPEATED:
            raise Refusal(401, "invalid_api_key", message="repeated_api_key")
    if bearer is None or len(headers) > 1:
        for name in _OTHER_HEADERS:
            other = headers.get(name)
            if other is None:
                continue
            other = other.strip()  # the parser leaves white space behind a value
            if found is not None and other != found:
                raise Refusal(400, "conflicting_credentials")
            found = other
    if not found:
        raise Refusal(401, "invalid_api_key", message="missing_api_key")
    if len(found) > _MAX_KEY_BYTES:
        raise Refusal(401, "invalid_api_key")
    return found


def now_us() -> int:
    """Microseconds since 1970, for the expiry of keys."""
    return time.time_ns() // 1000
