"""The routes of keys. Must show a secret in the answer that makes it, and nowhere else."""

from __future__ import annotations

from sekisho.entrypoints.http.admin import forms
from sekisho.entrypoints.http.admin.asked import Asked
from sekisho.entrypoints.http.admin.forms import KeyForm, RotationForm
from sekisho.entrypoints.http.admin.pages import page, place
from sekisho.entrypoints.http.admin.shapes import Key, Many, NewKey, key_fields, key_shown
from sekisho.stores.ports import KeyRecord


def list_keys(asked: Asked) -> tuple[int, Many[Key]]:
    now_us = asked.desk.now_us()
    seen = [(at, key) for at, key in enumerate(asked.desk.whole().keys) if asked.by.sees(key.team)]
    keys, after = page(
        asked,
        "keys",
        seen,
        lambda one: place(
            one[1].id, stored=not one[1].declared, at=one[0] if one[1].declared else one[1].created_at_us
        ),
    )
    return 200, Many(data=[key_shown(key, now_us) for _, key in keys], next_after=after)


def show(asked: Asked) -> tuple[int, Key]:
    record = asked.desk.key(asked.path["id"])
    asked.by.check_team(record.team)
    return 200, key_shown(record, asked.desk.now_us())


def create(asked: Asked) -> tuple[int, NewKey]:
    form: KeyForm = asked.form
    own = asked.by.caller
    lifetime_us = None if form.expires is None else forms.duration_us(form.expires, "expires", least_s=1)
    usual = ("*",) if asked.by.team is None or "*" in own.endpoints else tuple(sorted(own.endpoints))
    wanted = KeyRecord(
        id="",
        digest=b"",
        name=forms.name(form.name, "name"),
        team=asked.by.team if form.team is None else forms.name(form.team, "team"),
        user=None if form.user is None else forms.name(form.user, "user"),
        role=form.role,
        endpoints=usual if form.endpoints is None else forms.endpoints(form.endpoints),
        on_behalf=form.on_behalf,
        expires_at_us=None if lifetime_us is None else asked.desk.now_us() + lifetime_us,
    )
    _check_grant(asked, wanted)
    record, secret = asked.desk.add_key(wanted, asked.by.actor)
    return 201, _new(asked, record, secret)


def revoke(asked: Asked) -> tuple[int, Key]:
    record = asked.desk.key(asked.path["id"])
    asked.by.check_key(record, grants=False)
    return 200, key_shown(asked.desk.revoke_key(record, asked.by.actor), asked.desk.now_us())


def rotate(asked: Asked) -> tuple[int, NewKey]:
    form: RotationForm = asked.form
    record = asked.desk.key(asked.path["id"])
    _check_grant(asked, record)
    overlap_us = forms.duration_us(form.overlap, "overlap")
    lifetime_us = None if form.expires is None else forms.duration_us(form.expires, "expires", least_s=1)
    new, secret, old = asked.desk.rotate_key(record, overlap_us, lifetime_us, asked.by.actor)
    return 201, _new(asked, new, secret, old)


def _check_grant(asked: Asked, record: KeyRecord) -> None:
    """Of a key whose secret the asker will know. Without a user it is the key's name that rows and limits have for the
    requester, so that must not be a stranger's either."""
    asked.by.check_key(record, grants=True)
    if asked.by.team is not None:
        requester, param = (record.name, "name") if record.user is None else (record.user, "user")
        asked.by.check_user(asked.desk.teams_of_user(requester), param)


def _new(asked: Asked, record: KeyRecord, secret: str, old: KeyRecord | None = None) -> NewKey:
    now_us = asked.desk.now_us()
    return NewKey(**key_fields(record, now_us), key=secret, replaced=None if old is None else key_shown(old, now_us))
