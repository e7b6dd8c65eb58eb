"""Ids of requests: what tables are sorted by, and nobody can guess."""

from __future__ import annotations

import uuid

from sekisho.entrypoints.http.intake import Clock

AT_MS = 1_795_000_000_123


def test_every_id_is_a_uuid_of_version_7_with_its_millisecond_and_none_comes_twice() -> None:
    clock = Clock()
    # more than there are in one draw of randomness, and several in a millisecond
    ids = [clock.request_id((AT_MS + n // 400) * 1000 + n % 1000) for n in range(2_000)]
    assert len(set(ids)) == 2_000
    for n, one in enumerate(ids):
        prefix, _, digits = one.partition("_")
        assert (prefix, len(digits)) == ("req", 32)
        found = uuid.UUID(hex=digits)
        assert (found.version, found.variant) == (7, uuid.RFC_4122)
        assert found.int >> 80 == AT_MS + n // 400
    assert len({one[-15:] for one in ids}) == 2_000, "the rest is random"
