"""Whether a TLS certificate and its key can be used, as the server will use them. Must never ask for a passphrase."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sekisho.app.settings import messages
from sekisho.app.settings.messages import Say

#: which key of the configuration it is about, and what is said about it
Tell = Callable[[str, Say, dict[str, str]], None]


def check_pair(certificate: Path, key: Path, error: Tell, warning: Tell) -> None:
    """Tell what is wrong with two files that can be opened. A certificate that has expired or is not valid yet is
    warned of: the server would start with it, and callers would refuse it."""
    try:
        # An empty passphrase, so that OpenSSL does not ask for one at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as refused:
        error(*_why(certificate, key, refused))
        return
    now = datetime.now(UTC)
    began, ends = _valid(certificate) or (now, now)
    if now > ends:
        warning("tls_certificate", messages.TLS_EXPIRED, {"day": f"{ends:%Y-%m-%d}"})
    elif now < began:
        warning("tls_certificate", messages.TLS_NOT_YET, {"day": f"{began:%Y-%m-%d}"})


def _why(certificate: Path, key: Path, refused: Exception) -> tuple[str, Say, dict[str, str]]:
    reason = getattr(refused, "reason", None) or str(refused)
    if reason == "KEY_VALUES_MISMATCH":
        return "tls_key", messages.TLS_MISMATCH, {}
    if not _holds(certificate, b"CERTIFICATE-----"):
        return "tls_certificate", messages.TLS_NO_CERTIFICATE, {}
    if _holds(key, b"ENCRYPTED"):
        return "tls_key", messages.TLS_ENCRYPTED, {}
    if not _holds(key, b"PRIVATE KEY-----"):
        return "tls_key", messages.TLS_NO_KEY, {}
    return "tls_certificate", messages.TLS_REFUSED, {"reason": reason}


def _holds(path: Path, mark: bytes) -> bool:
    return mark in path.read_bytes()


def _valid(certificate: Path) -> tuple[datetime, datetime] | None:
    """From when until when the first certificate is valid: the others are those of its issuers. None for what OpenSSL
    reads and `cryptography` does not."""
    from cryptography.x509 import load_pem_x509_certificates

    try:
        first = load_pem_x509_certificates(certificate.read_bytes())[0]
    except ValueError:
        return None
    return first.not_valid_before_utc, first.not_valid_after_utc
