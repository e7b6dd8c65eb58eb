"""Seals what a store must not be able to read. Must never use a nonce twice, nor open what was moved or changed.

AES-256-GCM (NIST SP 800-38D) with 96-bit random nonces, under a key made by HKDF-SHA256 (RFC 5869) from the pepper.
Random nonces are safe for 2^32 seals under one key, which at 1,000 a second is seven weeks: the key is therefore made
anew for each record, from its id.
"""

from __future__ import annotations

import hmac
import os

_VERSION = b"\x01"
_NONCE_BYTES = 12
_KEY_BYTES = 32


class SealBroken(Exception):
    """The text was damaged, changed, or belongs to another record or secret."""


class Sealer:
    """Digests and seals under one purpose: what was made for another purpose does not fit."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        self._secret = secret
        self._purpose = purpose.encode()

    def digest(self, label: str, *parts: bytes) -> bytes:
        """HMAC-SHA256 (32 bytes) over the parts, each with its length before it."""
        framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.digest(self._secret, b"%b %b\0%b" % (self._purpose, label.encode(), framed), "sha256")

    def load(self) -> None:
        """Import what sealing needs: once, where it may take a moment."""
        self.seal(b"", b"")

    def seal(self, id: bytes, content: bytes) -> bytes:
        """Version, nonce and ciphertext; it opens only under this id."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + AESGCM(self._key(id)).encrypt(nonce, content, id)

    def open(self, id: bytes, sealed: bytes) -> bytes:
        """The content. Raises SealBroken."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        start = len(_VERSION) + _NONCE_BYTES
        if not sealed.startswith(_VERSION) or len(sealed) < start:
            raise SealBroken("not sealed by this version")
        try:
            return AESGCM(self._key(id)).decrypt(sealed[len(_VERSION) : start], sealed[start:], id)
        except InvalidTag:
            raise SealBroken("changed, moved, or sealed under another secret") from None

    def _key(self, id: bytes) -> bytes:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), length=_KEY_BYTES, salt=id, info=self._purpose).derive(self._secret)
