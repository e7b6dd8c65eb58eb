"""A certificate and its key as files, `server.crt` and `server.key`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway.example")])


def write_certificate(
    folder: Path, *, begins: int = -1, ends: int = 1, passphrase: KeySerializationEncryption | None = None
) -> None:
    """Signed by itself; times in days from now."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + timedelta(begins))
        .not_valid_after(now + timedelta(ends))
        .sign(key, hashes.SHA256())
    )
    (folder / "server.crt").write_bytes(made.public_bytes(Encoding.PEM))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, passphrase or NoEncryption())
    (folder / "server.key").write_bytes(pem)
