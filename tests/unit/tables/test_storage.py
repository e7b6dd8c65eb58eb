"""Where the tables are: told to the child in full, to people without credentials."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.domain.http import Secret
from sekisho.tables.storage import S3, Cadence, Storage, from_parent, to_child


def a_bucket(secret: str = "secret-canary") -> Storage:
    s3 = S3(
        endpoint="https://s3.example",
        region="eu-central-1",
        access_key_id=Secret("id-canary"),
        secret_access_key=Secret(secret),
    )
    return Storage(url="s3://rows/prefix", s3=s3)


@pytest.mark.parametrize("storage", [a_bucket(), Storage.folder(Path("/srv/表"))], ids=["bucket", "folder"])
def test_the_child_knows_what_the_parent_knows(storage: Storage):
    cadence = Cadence(every_s=1.5, rows=7, mb=9)
    assert from_parent(to_child(storage, cadence)) == (storage, cadence)


def test_nothing_prints_a_credential():
    storage = a_bucket()
    assert "canary" not in repr(storage) + str(storage) + f"{storage.s3}"
    told = storage.told(OSError("\x1b[31m↳\x1b[0m refused\n  id-canary and secret-canary\n\nDebug source:\n  more"))
    assert told == "refused *** and ***"


def test_a_bucket_is_the_same_only_with_the_same_credentials():
    assert a_bucket() == a_bucket()
    assert hash(a_bucket().s3) == hash(a_bucket().s3)
    assert a_bucket() != a_bucket("another")


def test_a_folder_has_no_options_and_a_bucket_no_path():
    folder = Storage.folder(Path("/srv/tables"))
    assert (folder.path, folder.options()) == (Path("/srv/tables"), None)
    assert folder.table("usage") == "/srv/tables/usage"
    bucket = a_bucket()
    assert bucket.path is None
    assert bucket.table("usage") == "s3://rows/prefix/usage"
    options = bucket.options()
    assert options is not None
    assert options["aws_allow_http"] == "false"
    assert options["aws_endpoint_url"] == "https://s3.example"
