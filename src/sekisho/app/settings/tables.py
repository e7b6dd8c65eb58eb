"""The section `tables`: where they lie, how often rows are committed, how long they stay. Must not open a folder or an
address."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from sekisho.app.settings import messages
from sekisho.app.settings.form import Form
from sekisho.app.settings.maintenance import read_maintenance
from sekisho.app.settings.model import TablesSettings
from sekisho.app.settings.providers import check_base_url
from sekisho.domain.http import Secret
from sekisho.tables.maintenance.policy import Plan
from sekisho.tables.storage import S3, Cadence, Storage

_S3_EXAMPLE = 's3: {region: ap-northeast-1, access_key_id: "${env:S3_KEY}", secret_access_key: "${env:S3_SECRET}"}'
#: Source: Amazon S3, "General purpose bucket naming rules"; of object keys, the characters called safe
_BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_URL = re.compile(rf"s3://{_BUCKET}(?:/[A-Za-z0-9_.=-]+)*", re.ASCII)
_REGION = re.compile(r"[A-Za-z0-9-]{1,40}", re.ASCII)
#: what stores without regions are usually told
_ANY_REGION = "us-east-1"
_NOTHING = Secret("")


def read_tables(root: Form, data_dir: Path, timezone: str) -> tuple[TablesSettings, Plan]:
    """The tables, in the folder `tables` of data_dir when nothing is said, and the plan of their maintenance."""
    form = root.form("tables")
    if form is None:
        return TablesSettings(), Plan(timezone=timezone)
    with form:
        mistakes = len(form.reading.problems)
        tables = TablesSettings(storage=_storage(form, data_dir), cadence=_cadence(form))
        plan = read_maintenance(form, timezone)
        if tables.storage is not None and tables.storage.s3 is not None and plan.enabled:
            # One thing after the other: a bucket that cannot be used yet has no need of it.
            if len(form.reading.problems) == mistakes:
                form.reading.warning(form.node("url") or form.place, messages.BUCKET_NOT_MAINTAINED)
            plan = msgspec.structs.replace(plan, enabled=False)
        return tables, plan


def _storage(form: Form, data_dir: Path) -> Storage | None:
    text = form.text("url", {"data_dir": str(data_dir)})
    place = form.node("url") or form.place
    in_bucket = text is not None and text.startswith("s3://")
    s3 = form.form("s3")
    if s3 is not None and not in_bucket:
        form.reading.error(s3.place, messages.S3_WITHOUT_URL)
    if text is None:
        return None
    if not in_bucket:
        if "://" in text or text.startswith("~"):
            form.reading.error(place, messages.TABLES_URL)
        return Storage.folder(Path(os.path.abspath(form.reading.base_dir / text)))
    url = text.rstrip("/")
    if not _URL.fullmatch(url) or "/." in url:
        form.reading.error(place, messages.TABLES_URL)
    if s3 is None:
        form.missing("s3", _S3_EXAMPLE)
        return None
    with s3:
        return Storage(url=url, s3=_bucket(s3))


def _bucket(form: Form) -> S3:
    allow_http = form.truth("allow_http")
    text = form.text("endpoint")
    region = form.text("region")
    place = form.node("region") or form.place
    if region is not None and not _REGION.fullmatch(region):
        form.reading.error(place, messages.BAD_REGION)
    if region is None and text is None:
        form.missing("region", "region: ap-northeast-1")
    return S3(
        endpoint=_endpoint(form, text, region or _ANY_REGION, allow_http=allow_http),
        region=region or _ANY_REGION,
        access_key_id=_secret(form, "access_key_id"),
        secret_access_key=_secret(form, "secret_access_key"),
        allow_http=allow_http,
    )


def _endpoint(form: Form, text: str | None, region: str, *, allow_http: bool) -> str:
    """The address of the store; that of AWS when none is given, so that no environment variable can choose another."""
    place = form.node("endpoint") or form.place
    if text is None:
        return f"https://s3.{region}.amazonaws.com"
    if text.startswith("http://") and not allow_http:
        form.reading.error(place, messages.PLAIN_HTTP)
        return text
    # A store in one's own network is the usual case.
    return check_base_url(form.reading, place, text, allow_private=True) or text


def _secret(form: Form, key: str) -> Secret:
    if form.field(key) is None:
        form.missing(key, f'{key}: "${{env:S3_{"SECRET" if key.startswith("secret") else "KEY"}}}"')
        return _NOTHING
    return form.secret(key) or _NOTHING


def _cadence(form: Form) -> Cadence:
    usual = Cadence()
    commit = form.form("commit")
    if commit is None:
        return usual
    with commit:
        return Cadence(
            every_s=commit.seconds("every_s", usual.every_s, most=3600),
            rows=commit.whole("rows", usual.rows, most=1_000_000),
            mb=commit.whole("mb", usual.mb, most=256),
        )
