"""From a key to a caller: every header it may come in, and what must not be told about a wrong one."""

from __future__ import annotations

import gc

import msgspec
import pytest

from sekisho.domain.call import Call, Caller, Known, Route
from sekisho.domain.errors import Refusal
from sekisho.domain.keys import digest_of
from sekisho.gateway.policies import authentication
from sekisho.gateway.policies.authentication import Keyring, credential

PEPPER = b"p" * 32
KEY = "sk-canary-0123456789"
ROUTE = Route(path="/v1/chat/completions", protocol="openai_chat", operation="chat", api_type="openai/v1/chat")


def keyring(expires_at_us: int | None = None) -> Keyring:
    caller = Caller(key_id="key_1", key_name="one", expires_at_us=expires_at_us)
    return Keyring(PEPPER, {digest_of(KEY, PEPPER): caller})


def call(headers: dict[bytes, bytes], received_us: int = 1_000) -> Call:
    return Call(ROUTE, headers, b"", "req_1", received_us, None)


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer k"},
        {b"authorization": b"bearer k"},
        {b"authorization": b"BEARER   k "},
        {b"x-api-key": b"k"},
        {b"x-goog-api-key": b"k"},
        {b"api-key": b"k"},
        {b"content-length": b"2", b"x-api-key": b"k"},
        {b"authorization": b"Bearer k", b"x-api-key": b"k", b"api-key": b"k"},
        {b"authorization": b"Basic dXNlcjpwYXNz", b"x-api-key": b"k"},  # for a proxy on the way
        {b"authorization": b"Negotiate abc", b"api-key": b"k"},
        {b"authorization": b"Bearer", b"x-goog-api-key": b"k"},
    ],
)
def test_a_key_may_come_in_any_of_four_headers(headers: dict[bytes, bytes]) -> None:
    assert credential(headers) == b"k"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"content-length": b"2"},
        {b"authorization": b""},
        {b"authorization": b"Bearer"},
        {b"authorization": b"Bearer "},
        {b"authorization": b"Basic dXNlcjpwYXNz"},
        {b"authorization": b"k"},
        {b"authorization": b"repeated", b"x-api-key": b"k"},  # what a header sent twice is turned into
        {b"x-api-key": b""},
        {b"authorization": b"Basic dXNlcjpwYXNz", b"x-api-key": b""},
        {b"authorization": b"Bearer " + b"k" * 513},
    ],
)
def test_no_key_or_none_that_can_be_one_is_401(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(Refusal) as refused:
        credential(headers)
    assert (refused.value.status, refused.value.code) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer a", b"x-api-key": b"b"},
        {b"x-api-key": b"a", b"x-goog-api-key": b"b"},
        {b"x-api-key": b"a", b"api-key": b"b"},
        {b"authorization": b"Basic dXNlcjpwYXNz", b"x-api-key": b"a", b"api-key": b"b"},
    ],
)
def test_two_different_keys_are_a_question_and_not_a_choice(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(Refusal) as refused:
        credential(headers)
    assert (refused.value.status, refused.value.code) == (400, "conflicting_credentials")


def test_the_right_key_is_recognised_again_and_again() -> None:
    ring = keyring()
    callers = {ring.identify(call({b"authorization": b"Bearer " + KEY.encode()})).key_id for _ in range(3)}
    assert callers == {"key_1"}
    assert len(ring) == 1


@pytest.mark.parametrize("wrong", [b"sk-wrong", KEY.encode()[:-1], KEY.upper().encode(), KEY.encode() + b"\xff"])
def test_a_wrong_key_is_the_same_401_whatever_is_wrong_with_it(wrong: bytes) -> None:
    ring = keyring()
    ring.identify(call({b"x-api-key": KEY.encode()}))
    with pytest.raises(Refusal) as refused:
        ring.identify(call({b"x-api-key": wrong}))
    assert (refused.value.status, refused.value.code, refused.value.message) == (
        401,
        "invalid_api_key",
        "invalid_api_key",
    )


def test_a_key_expires_at_its_microsecond_also_when_it_was_right_before() -> None:
    ring = keyring(expires_at_us=2_000)
    headers = {b"x-api-key": KEY.encode()}
    assert ring.identify(call(headers, 1_999)).key_id == "key_1"
    for now in (2_000, 9_000):
        with pytest.raises(Refusal) as refused:
            ring.identify(call(headers, now))
        # the same words as for a key that never was
        assert (refused.value.status, refused.value.message) == (401, "invalid_api_key")


def test_a_key_that_has_expired_gives_nobody_a_role() -> None:
    caller = Caller(key_id="key_1", key_name="one", role="admin", expires_at_us=2_000)
    ring = Keyring(PEPPER, {digest_of(KEY, PEPPER): caller})
    assert [ring.has_role("admin", now) for now in (1_999, 2_000)] == [True, False]
    assert not ring.has_role("auditor", 1_000)


def test_a_new_keyring_knows_nothing_of_what_the_old_one_remembered() -> None:
    headers = {b"x-api-key": KEY.encode()}
    keyring().identify(call(headers))
    revoked = Keyring(PEPPER, {})
    with pytest.raises(Refusal):
        revoked.identify(call(headers))


def test_a_connection_that_is_known_has_its_key_only_as_long_as_the_keyring_is_in_force() -> None:
    """A client that goes on with the connection it has keeps neither a revoked key nor an old team."""
    headers, known = {b"x-api-key": KEY.encode()}, Known()

    def identify(ring: Keyring) -> Caller:
        return ring.identify(Call(ROUTE, headers, b"", "req_1", 1_000, None, known=known))

    ring = keyring()
    caller = identify(ring)
    known.group = msgspec.Raw(b"columns of the caller")
    assert identify(ring) is caller
    moved = Caller(key_id="key_1", key_name="one", team="elsewhere")
    assert identify(Keyring(PEPPER, {digest_of(KEY, PEPPER): moved})) is moved
    assert known.group is None, "the columns were of the caller as it was"
    with pytest.raises(Refusal) as refused:
        identify(Keyring(PEPPER, {}))
    assert refused.value.status == 401


def test_a_key_expires_on_a_connection_that_is_known_too() -> None:
    ring, headers, known = keyring(expires_at_us=2_000), {b"x-api-key": KEY.encode()}, Known()
    for now in (1_000, 1_999):
        assert ring.identify(Call(ROUTE, headers, b"", "req_1", now, None, known=known)).key_id == "key_1"
    for now in (2_000, 9_000):
        with pytest.raises(Refusal) as refused:
            ring.identify(Call(ROUTE, headers, b"", "req_1", now, None, known=known))
        assert (refused.value.status, refused.value.code) == (401, "invalid_api_key")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "_MAX_REMEMBERED", 2)
    names = [f"sk-{n:020}" for n in range(5)]
    callers = {digest_of(name, PEPPER): Caller(key_id=name, key_name=name) for name in names}
    ring = Keyring(PEPPER, callers)
    for _ in range(2):
        assert [ring.identify(call({b"x-api-key": name.encode()})).key_id for name in names] == names
    assert len(ring._seen) == 2


def test_the_text_of_a_key_stays_nowhere() -> None:
    ring = keyring()
    caller = ring.identify(call({b"x-api-key": KEY.encode()}))
    held = [ring, caller, *gc.get_referents(ring), *ring.__dict__.values()]
    assert KEY not in " ".join(map(repr, held))
    with pytest.raises(Refusal) as refused:
        ring.identify(call({b"x-api-key": b"sk-canary-wrong"}))
    shown = repr(refused.value) + str(refused.value) + repr(refused.value.values) + repr(refused.value.detail)
    assert "canary" not in shown
