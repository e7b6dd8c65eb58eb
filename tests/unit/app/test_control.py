"""The control database as the serving process looks at it."""

from __future__ import annotations

from pathlib import Path

from sekisho.app.control import control_snapshot, key_store
from sekisho.app.settings.loading import parse
from sekisho.stores.ports import KeyRecord


def test_a_gateway_does_not_wait_for_the_file_of_its_keys(tmp_path: Path) -> None:
    """Whoever asks is the event loop: thousands of keys are read beside it. Nor does a new one wait long."""
    settings = parse("providers: {a: {type: openai, base_url: https://a.example.com}}", base_dir=tmp_path, environ={})
    settings.data_dir.mkdir()
    key_store(settings).add(KeyRecord(id="key_1", name="app", digest=b"d" * 32))
    snapshot = control_snapshot(settings)
    try:
        # together with the second in which the gateway looks
        assert snapshot._every_s <= 0.5  # pyright: ignore[reportPrivateUsage]
        known = snapshot.all(), snapshot.control()
        settings.database_path.unlink()
        assert (snapshot.all(), snapshot.control()) == known
        assert [key.name for key in known[0]] == ["app"]
    finally:
        snapshot.close()
