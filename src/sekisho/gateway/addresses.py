"""Which addresses a provider may have. Must be asked at connect time: a name can point elsewhere tomorrow."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

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
        answers = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        found = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
    if origin.allow_private:
        return found
    public = [address for address in found if is_public(address)]
    if not public:
        raise AddressRefused(f"{origin.host} has no public address; `allow_private: true` permits private ones")
    return public


def is_public(address: str) -> bool:
    """False for private, loopback, link-local (cloud metadata), multicast and reserved addresses."""
    ip = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    if mapped is not None:
        ip = mapped
    return ip.is_global and not ip.is_multicast
