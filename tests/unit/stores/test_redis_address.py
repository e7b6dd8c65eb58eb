"""Addresses of Redis and Valkey: what is written holds, or is refused."""

from __future__ import annotations

import pytest

from sekisho.stores.redis_address import Address, address_of


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://", Address()),
        ("redis://cache.example.com", Address(host="cache.example.com")),
        ("redis://cache_1:6380/2", Address(host="cache_1", port=6380, database=2)),
        ("valkey://[::1]:6380/", Address(host="::1", port=6380)),
        ("rediss://app:p%40ss%2Fw@h/1", Address(host="h", database=1, user="app", password="p@ss/w", tls=True)),
        ("valkeys://:p:w@h", Address(host="h", password="p:w", tls=True)),
        ("unix:///run/redis.sock", Address(path="/run/redis.sock")),
        ("redis://app@h", Address(host="h", user="app")),
        ("unix://:pw@/run/redis.sock?db=3", Address(path="/run/redis.sock", database=3, password="pw")),
    ],
)
def test_an_address_is_read_part_by_part(url: str, address: Address) -> None:
    assert address_of(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "redis://h/x",
        "redis://h:0",
        "redis://h:99999",
        "redis://h..example.com",
        f"redis://{'a' * 64}.example.com",
        # parts that would not be heeded
        "redis://h?db=3",
        "rediss://h/0?ssl_cert_reqs=none",
        "unix:///run/redis.sock?database=3",
        "unix:///run/redis.sock?db=1&db=2",
        "unix://run/redis.sock",
        "unix://h:6379/run/redis.sock",
        # no socket, no database
        "unix://",
        "unix://:PRIVATE@?db=1",
        "unix:///run/redis.sock?db=",
        "unix:///run/redis.sock?db=-1",
        # passwords that are not percent-encoded
        "redis://:PRI/VATE@h",
        "redis://:6379?PRIVATE@h",
        "redis://:6379#PRIVATE@h",
    ],
)
def test_what_could_not_hold_as_it_is_written_is_refused(url: str) -> None:
    with pytest.raises(ValueError) as told:  # noqa: PT011  its words are not shown
        address_of(url)
    assert "PRI" not in str(told.value)


@pytest.mark.parametrize("url", ["rediss://app:PRIVATE@h:6380/1", "unix://:PRIVATE@/run/redis.sock?db=1"])
def test_an_address_that_is_printed_says_where_and_not_with_what(url: str) -> None:
    where = "h:6380/1" if url.startswith("rediss") else "/run/redis.sock/1"
    assert repr(address_of(url)) == f"Address({where})"
