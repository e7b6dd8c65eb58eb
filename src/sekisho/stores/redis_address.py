"""Where a Redis or Valkey server is. Must stay light, and never print a password."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

_PORT = 6379
SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is. `path` is a Unix socket. The password does not show in `repr`."""

    host: str = "127.0.0.1"
    port: int = _PORT
    path: str | None = None
    database: int = 0
    user: str | None = None
    password: str | None = None
    tls: bool = False

    def __repr__(self) -> str:
        return f"Address({self.path or f'{self.host}:{self.port}'}/{self.database})"


def address_of(url: str) -> Address:
    """`redis://[user:password@]host[:port][/database]`, the same with `rediss` (TLS) and `valkey(s)`, or
    `unix:///path?db=0`. ValueError for others, without the password in its text."""
    parts = urlsplit(url)
    # a part that is not heeded would be a setting that does not hold, or the rest of a password
    known = {"db"} if parts.scheme == "unix" else set[str]()
    if parts.fragment or parse_qs(parts.query, keep_blank_values=True).keys() - known:
        raise ValueError("something follows the address of Redis or Valkey")
    if parts.scheme not in SCHEMES:
        raise ValueError(f"not an address of Redis or Valkey: {parts.scheme}://")
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if parts.scheme == "unix":
        database, *more = parse_qs(parts.query, keep_blank_values=True).get("db", ["0"])
        # what stands before a path of two slashes, as in `unix://run/redis.sock`, would be a host
        if parts.netloc.rpartition("@")[2] or not parts.path or more or not _is_number(database):
            raise ValueError("not the address of a Unix socket")
        return Address(path=unquote(parts.path), database=int(database), user=user, password=password)
    database = parts.path.strip("/") or "0"
    if not _is_number(database):
        raise ValueError("the database of Redis is a number")
    if parts.port == 0:
        raise ValueError("there is no port 0")
    host = parts.hostname or "127.0.0.1"
    host.encode("idna")  # what cannot be a name is a UnicodeError, which is a ValueError
    return Address(
        host=host,
        port=parts.port or _PORT,
        database=int(database),
        user=user,
        password=password,
        tls=parts.scheme in ("rediss", "valkeys"),
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
