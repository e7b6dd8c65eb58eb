"""How the address of the PostgreSQL control database is read and used. Must stay light, and never tell a password.

libpq reads an address up to the first `@` or `/`, so a password that holds one unencoded would turn up in its messages
as the name of a host or of a database.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

SCHEMES = ("postgresql://", "postgres://")
#: libpq takes nothing below 2
CONNECT_TIMEOUT_S = 2
#: What TCP is told, so that a host that vanished in the middle of a question is noticed in about three seconds: a
#: revocation holds within five. Without it a thread waits for two hours, or a quarter of one where it was sending.
_TCP = {"keepalives_idle": 1, "keepalives_interval": 1, "keepalives_count": 2, "tcp_user_timeout": 3000}
_NOT_ENCODED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SECRETS = re.compile(r"[?&](?:password|sslpassword)=([^&]*)")


def check_address(url: str) -> None:
    """ValueError, which does not tell the address, where libpq would take it apart at another place than its writer:
    `@`, `/`, `:` or `%` in a user's name or password that are not percent-encoded."""
    rest = url.partition("://")[2]
    user, at, after = rest.partition("@")
    if not at or "/" in user:
        user, after = "", rest
    hosts, _, database = after.partition("?")[0].partition("/")
    if "@" in hosts + database or user.count(":") > 1 or _NOT_ENCODED.search(rest):
        raise ValueError("not an address of PostgreSQL")
    for host in hosts.split(","):
        _, colon, port = host.rpartition("]")[2].partition(":")
        if colon and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65_536):
            raise ValueError("not an address of PostgreSQL")


def passwords_in_query(written: str) -> list[str]:
    """Passwords among the parameters of an address."""
    return _SECRETS.findall(written)


def connect(url: str, statement_timeout_ms: int, **more: Any) -> psycopg.Connection:
    """A connection that is bounded in time: who asks must not hang with the server. What the address says itself goes
    before these bounds. Raises psycopg.Error, which does not tell the address."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        own = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise psycopg.OperationalError("`database.url` cannot be read; look at what follows the `?`") from None
    # the server lists its connections by this name
    bounds = {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "sekisho"} | _TCP
    bounds = {name: value for name, value in bounds.items() if name not in own}
    # the server takes the last one of two
    options = f"-c statement_timeout={statement_timeout_ms} {own.get('options') or ''}".strip()
    return psycopg.connect(url, options=options, **bounds, **more)
