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
