"""A body written again with members replaced: nothing else changes, and nothing hides."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.formats.json import decode_fields, splice

#: a busy machine is no failure
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=6)


@STEADY
@given(OBJECTS, OBJECTS)
def test_members_stay_in_order_and_replaced_ones_change_in_place(
    fields: dict[str, Any], replace: dict[str, Any]
) -> None:
    body = json.dumps(fields, indent=1, ensure_ascii=False).encode()
    spliced = b"".join(splice(decode_fields(body), {name: json.dumps(v).encode() for name, v in replace.items()}))
    assert list(json.loads(spliced).items()) == list((fields | replace).items())


def test_members_that_stay_keep_their_very_bytes() -> None:
    body = b'{ "a" : [1.50, 1e2,  "\\u3042"] ,"model":"x"}'
    assert b"".join(splice(decode_fields(body), {"model": b'"y"'})) == b'{"a":[1.50, 1e2,  "\\u3042"],"model":"y"}'


def test_a_second_member_of_the_same_name_does_not_survive() -> None:
    body = b'{"model":"a","mod\\u0065l":"b"}'
    assert b"".join(splice(decode_fields(body), {"model": b'"mine"'})) == b'{"model":"mine"}'
