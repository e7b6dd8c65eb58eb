"""The text of virtual keys: its form, its public id, its digest, and the rules for names and lifetimes.

Must not choose randomness, read a clock or keep a secret.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Callable
from typing import Literal

NameProblem = Literal["empty", "long", "characters", "reserved"]

#: fixed first part, so that secret scanners can match `sk-seki-[0-9A-Za-z]{12}-[0-9A-Za-z]{48}`
KEY_PREFIX = "sk-seki-"
KEY_ID_PREFIX = "key_"
PEPPER_BYTES = 32
#: declared keys may have any form, but not be short enough to be guessed
LEAST_DECLARED_CHARS = 16
MOST_NAME_CHARS = 64
MOST_DURATION_S = 100 * 365 * 86_400

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_CHARS = 12
#: 48 of 62 letters are 285 bits, more than the 256 of the digest
_SECRET_CHARS = 48
_KEY = re.compile(rf"{KEY_PREFIX}([0-9A-Za-z]{{{_ID_CHARS}}})-[0-9A-Za-z]{{{_SECRET_CHARS}}}")
_DURATION = re.compile(r"([0-9]{1,9})([dhms])")
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
# Invisible although Unicode counts them as letters, marks or symbols (Default_Ignorable_Code_Point and the blank
# Braille pattern): two names that look the same must be the same.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def new_key(randbelow: Callable[[int], int]) -> str:
    """A fresh key `sk-seki-<12 id chars>-<48 secret chars>`; `randbelow(n)` gives a secure number in [0, n)."""
    letters = [_BASE62[randbelow(62)] for _ in range(_ID_CHARS + _SECRET_CHARS)]
    return f"{KEY_PREFIX}{''.join(letters[:_ID_CHARS])}-{''.join(letters[_ID_CHARS:])}"


def key_id_of(text: str) -> str | None:
    """`key_` and the 12 public characters of a key of our form, safe to log; None for any other text."""
    match = _KEY.fullmatch(text)
    return KEY_ID_PREFIX + match[1] if match else None


def digest_of(text: str, pepper: bytes) -> bytes:
    """HMAC-SHA256 (32 bytes) of the whole key under the pepper: what is stored, and what a caller's key is found by."""
    return hmac.digest(pepper, text.encode("utf-8", "surrogatepass"), "sha256")


def declared_key_id(digest: bytes) -> str:
    """The id of a key that the configuration declares: from its digest, so that it holds nothing of the key's text."""
    return KEY_ID_PREFIX + digest.hex()[:_ID_CHARS]


def normal_name(text: str) -> str:
    """NFKC without surrounding white space, so that full-width and half-width forms of a name are one name."""
    return unicodedata.normalize("NFKC", text).strip()


def visible_name(text: str) -> str:
    """The normal form of a name that must not be refused, without what cannot be seen in it: what looks the same is
    the same. `name_problem` may still find it empty, long or reserved."""
    name = normal_name(text)
    if name.isprintable() and not _INVISIBLE.search(name):
        return name
    return normal_name("".join(char for char in _INVISIBLE.sub("", name) if char.isprintable()))


def name_problem(name: str) -> NameProblem | None:
    """What is wrong with a normalised name, None when it may be used.

    1-64 printable characters of any script. Names that begin like an id or a key, and `*` (each of them, in a scope),
    are reserved.
    """
    if not name:
        return "empty"
    if len(name) > MOST_NAME_CHARS:
        return "long"
    if not name.isprintable() or _INVISIBLE.search(name):
        return "characters"
    if name == "*" or name.startswith((KEY_ID_PREFIX, KEY_PREFIX)):
        return "reserved"
    return None


def duration_s(text: str) -> int:
    """Seconds of `30d`, `24h`, `15m` or `45s`, also in full width. ValueError for others and beyond 100 years."""
    match = _DURATION.fullmatch(unicodedata.normalize("NFKC", text).strip().lower())
    seconds = int(match[1]) * _SECONDS[match[2]] if match else MOST_DURATION_S + 1
    if seconds > MOST_DURATION_S:
        raise ValueError(f"not a duration: {text!r}")
    return seconds
