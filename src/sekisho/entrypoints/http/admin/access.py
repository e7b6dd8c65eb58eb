"""Who may do what: four roles, and what a team's owner may grant. Must deny whatever it does not know.

Roles: `admin` does everything; `auditor` reads everything; `team_owner` reads and manages what belongs to its team;
`user` sees what holds for its own key.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from sekisho.domain.call import Call, Caller
from sekisho.domain.errors import Refusal
from sekisho.domain.http import Secret
from sekisho.domain.keys import digest_of
from sekisho.domain.spending import Scope
from sekisho.gateway.policies.authentication import Keyring, credential
from sekisho.stores.control import Actor
from sekisho.stores.ports import KeyRecord

Role = Literal["user", "team_owner", "auditor", "admin"]
ROLES: tuple[Role, ...] = ("user", "team_owner", "auditor", "admin")
ADMINS: frozenset[Role] = frozenset({"admin"})
READERS: frozenset[Role] = frozenset({"admin", "auditor"})
OWNERS: frozenset[Role] = frozenset({"admin", "team_owner"})
TEAM_READERS: frozenset[Role] = frozenset({"admin", "auditor", "team_owner"})
EVERYBODY: frozenset[Role] = frozenset(ROLES)

#: whoever holds the key of `admin: {key}`
INSTALLATION = Caller(key_id="admin", key_name="admin", role="admin")
#: roles that a team's owner may give
_ABOVE = "the role is above your own"
_GRANTED_ROLES = ("user", "team_owner")


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. `team` is set for a team's owner alone: everything else is out of reach then."""

    caller: Caller
    role: Role
    request_id: str

    @property
    def team(self) -> str | None:
        return self.caller.team if self.role == "team_owner" else None

    @property
    def actor(self) -> Actor:
        return Actor(id=self.caller.key_id, name=self.caller.key_name, role=self.role, request_id=self.request_id)

    # -- what a team's owner may touch

    def check_team(self, team: str | None) -> None:
        """Raises Refusal 403 where an object is another team's."""
        if self.role == "team_owner" and (self.caller.team is None or team != self.caller.team):
            raise Refusal(403, "not_granted", type="permission_error", reason="it does not belong to your team")

    def sees(self, team: str | None) -> bool:
        return self.role != "team_owner" or (self.caller.team is not None and team == self.caller.team)

    def check_user(self, teams: set[str | None], param: str = "user") -> None:
        """Raises Refusal 403 for a user of other teams: what is spent would stand under a stranger's name."""
        if teams and self.team not in teams:
            reason = "a user of another team has this name" if param == "name" else "the user belongs to another team"
            raise Refusal(403, "not_granted", type="permission_error", param=param, reason=reason)

    def check_scope(self, scope: Scope) -> None:
        """A team's owner sets rules for the own team, or for a part of it."""
        self.check_team(dict(scope).get("team"))

    def check_key(self, record: KeyRecord, *, grants: bool) -> None:
        """A key that is made, ended or replaced. `grants`: its secret will be known to the asker."""
        if self.role != "team_owner":
            return
        self.check_team(record.team)
        if record.role not in _GRANTED_ROLES:
            raise Refusal(403, "not_granted", type="permission_error", param="role", reason=_ABOVE)
        if grants:
            if record.on_behalf and not self.caller.on_behalf:
                reason = "your own key may not act for others"
                raise Refusal(403, "not_granted", type="permission_error", param="on_behalf", reason=reason)
            self.check_endpoints("endpoints", record.endpoints)

    def check_endpoints(self, param: str, endpoints: Iterable[str]) -> None:
        """Where a team's owner lets others call, by a key or by a budget that sends calls on."""
        if self.role != "team_owner":
            return
        for name in not_granted(self.caller, endpoints):
            reason = "your own key may not use {endpoint}"
            raise Refusal(403, "not_granted", type="permission_error", param=param, reason=reason, endpoint=name)


def not_granted(caller: Caller, endpoints: Iterable[str]) -> list[str]:
    """Those that the caller's own key does not have: `*` covers configured endpoints, not `provider/*`."""
    own = caller.endpoints
    return [name for name in endpoints if name not in own and not ("*" in own and "/" not in name)]


class Door:
    """Knows askers by their key. `keyring` and `admin_key` are those in force now."""

    def __init__(self, pepper: bytes, keyring: Callable[[], Keyring], admin_key: Callable[[], Secret | None]) -> None:
        self._pepper = pepper
        self._keyring = keyring
        self._admin_key = admin_key

    def identify(self, call: Call) -> Asker:
        """Raises Refusal 403 while nobody may administer, 401 for no or a wrong key, 400 for two different ones."""
        keyring, secret = self._keyring(), self._admin_key()
        if secret is None and not keyring.has_role("admin", call.received_us):
            raise Refusal(403, "admin_closed", type="permission_error")
        text = credential(call.headers)
        if secret is not None:
            # digests, so that the time it takes tells nothing of the secret
            digest = hmac.digest(self._pepper, text, "sha256")
            if hmac.compare_digest(digest, digest_of(secret.reveal(), self._pepper)):
                return Asker(caller=INSTALLATION, role="admin", request_id=call.request_id)
        caller = keyring.identify(call)
        for role in ROLES:
            if caller.role == role:
                return Asker(caller=caller, role=role, request_id=call.request_id)
        raise Refusal(403, "role_not_allowed", type="permission_error", role=caller.role)
