"""A watched disk for tests that crash nothing but look at what a crash would leave."""

from __future__ import annotations

import importlib.util
import mmap
import os
from pathlib import Path

import pytest

from tests.crash.disk import SHIM, Disk


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk whose syncs in this process are remembered, and which has a `full` switch."""
    disk = Disk(tmp_path / "data", tmp_path / "shadow")
    disk.begin()
    for name, value in disk.environ().items():
        monkeypatch.setenv(name, value)
    for name in ("fsync", "fdatasync", "posix_fallocate", "write"):
        if hasattr(os, name):
            monkeypatch.setattr(os, name, getattr(os, name))
    monkeypatch.setattr(mmap, "mmap", mmap.mmap)
    spec = importlib.util.spec_from_file_location("crash_shim", SHIM / "sitecustomize.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return disk
