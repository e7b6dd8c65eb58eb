"""Which addresses a provider may have. Must be asked at connect time: a name can point elsewhere tomorrow."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable
from typing import Any

from sekisho.domain.http import Origin


class AddressRefused(OSError):
    """The name points to a private, loopback or link-local address, and the provider does not allow that."""


async def resolve(loop: asyncio.AbstractEventLoop, origin: Origin) -> list[str]:
    """Addresses of the origin, in the resolver's order, all of them permitted. Raises OSError.

    The connection is made to the address that was checked, so a second look-up cannot change it.
    """
    try:
        ipaddress.ip_address(origin.host)
        found = [origin.host]
    except ValueError:
        found = await _look_up(loop, origin.host, origin.port)
    if origin.allow_private:
        return found
    public = [address for address in found if is_public(address)]
    if not public:
        raise AddressRefused(f"{origin.host} has no public address; `allow_private: true` permits private ones")
    return public


async def _look_up(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[str]:
    """Addresses of a name. Raises OSError, UnicodeError.

    In a thread of its own: the loop has few for this (uvloop two), so that a zone whose name server does not answer
    would keep the names of all other providers, and of fallbacks, from being looked up. A daemon, since the resolver
    cannot be interrupted, and the end of the process must not wait for it.
    """
    found: asyncio.Future[list[str]] = loop.create_future()

    def tell(take: Callable[[Any], None], value: object) -> None:
        if not found.done():
            take(value)

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            outcome = found.set_result, list(dict.fromkeys(str(answer[4][0]) for answer in answers))
        except Exception as error:  # whatever it is, somebody waits for it
            outcome = found.set_exception, error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, *outcome)

    try:
        threading.Thread(target=ask, name="look-up", daemon=True).start()
    except RuntimeError as error:  # the system gives no more threads
        raise OSError(f"{host} cannot be looked up: {error}") from None
    return await found


#: IPv6 that carries an IPv4 address in its last 32 bits and is translated to it on the way: RFC 6052, well-known prefix
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: the only unicast addresses of IPv6 that are routed on the internet, and what of them is for documentation (RFC 9637)
_IPV6_UNICAST = ipaddress.IPv6Network("2000::/3")
_IPV6_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")


def is_public(address: str) -> bool:
    """False for private, loopback, link-local (cloud metadata), multicast and reserved addresses.

    An IPv6 address that stands for an IPv4 one is judged by that.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is None:
            return ip.is_global and ip in _IPV6_UNICAST and ip not in _IPV6_DOCUMENTATION
        ip = inner
    return ip.is_global and not ip.is_multicast and not ip.is_reserved
