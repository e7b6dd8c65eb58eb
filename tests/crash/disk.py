"""A disk that forgets what was not synced. The shim in the processes remembers, this module cuts the power.

What is promised by POSIX and no more: a file's content up to its last fsync, a folder's names up to its last fsync.
Everything later may be there, or not, or in part: names come back or vanish one by one, files are old, new, empty,
torn, or old in one page and new in the next. A rename happens or does not; it never loses both names.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

SHIM = Path(__file__).parent / "shim"
PAGE = 4096
_FREE = "control.db"  # SQLite syncs its own files


class Disk:
    """The disk below `root`. `shadow` must be on the same file system, and not below `root`."""

    def __init__(self, root: Path, shadow: Path) -> None:
        self.root, self.shadow = root.resolve(), shadow.resolve()
        #: what became of files and names in the last cut, for the figures
        self.fates: Counter[str] = Counter()

    def environ(self) -> dict[str, str]:
        """For the processes that use the disk."""
        return {"CRASH_ROOT": str(self.root), "CRASH_SHADOW": str(self.shadow), "PYTHONPATH": str(SHIM)}

    def begin(self) -> None:
        """From here on: everything that is there now is on the disk."""
        shutil.rmtree(self.shadow, ignore_errors=True)
        for name in ("folders", "live", "synced"):
            (self.shadow / name).mkdir(parents=True)
        self.root.mkdir(parents=True, exist_ok=True)
        for folder, _, files in os.walk(self.root):
            entries: dict[str, int] = dict.fromkeys(_folders_in(Path(folder)), 0)
            for name in files:
                file = Path(folder, name)
                entries[name] = inode = file.stat().st_ino
                (self.shadow / "live" / str(inode)).hardlink_to(file)
                shutil.copyfile(file, self.shadow / "synced" / str(inode))
            self._listing(Path(folder)).write_text(json.dumps(entries))

    def full(self, yes: bool) -> None:
        """Whether the disk takes any more."""
        flag = self.shadow / "full"
        if yes:
            flag.touch()
        else:
            flag.unlink(missing_ok=True)

    def cut(self, rng: random.Random) -> Counter[str]:
        """Make `root` what a power cut may have left of it, then `begin`. No process may be using it any more."""
        after = self.root.with_name(f"{self.root.name}.after")
        self.image(after, rng)
        shutil.rmtree(self.root)
        after.rename(self.root)
        self.begin()
        return self.fates

    def image(self, after: Path, rng: random.Random) -> None:
        """Make of `after` what a cut at this moment may leave; `root` goes on."""
        self.fates = Counter()
        shutil.rmtree(after, ignore_errors=True)
        self._restore(self.root, after, rng)

    def _listing(self, folder: Path) -> Path:
        return self.shadow / "folders" / os.path.relpath(folder, self.root).encode().hex()

    def _durable(self, folder: Path) -> dict[str, int]:
        listing = self._listing(folder)
        return json.loads(listing.read_text()) if listing.exists() else {}

    def _restore(self, folder: Path, after: Path, rng: random.Random) -> None:
        after.mkdir()
        now: dict[str, int] = {}
        if folder.is_dir():
            now = dict.fromkeys(_folders_in(folder), 0)
            now |= {file.name: file.stat().st_ino for file in folder.iterdir() if not file.is_dir()}
        for name, inode in self._names(self._durable(folder), now, rng).items():
            if not inode:
                self._restore(folder / name, after / name, rng)
            elif name.startswith(_FREE):
                shutil.copyfile(folder / name, after / name)
            else:
                live = self.shadow / "live" / str(inode)
                body = self._content(inode, live if live.exists() else folder / name, rng)
                (after / name).write_bytes(body)
                shutil.copymode(live if live.exists() else folder / name, after / name)

    def _names(self, durable: dict[str, int], now: dict[str, int], rng: random.Random) -> dict[str, int]:
        """Which names a folder has afterwards."""
        names: dict[str, int] = {}
        for name in sorted({*durable, *now}):
            old, new = durable.get(name), now.get(name)
            # SQLite looks after its own names too
            chosen = new if name.startswith(_FREE) or old == new else rng.choice((old, new))
            if old != new and not name.startswith(_FREE):
                self.fates["names newer than their folder's sync"] += 1
                self.fates["names undone"] += chosen == old
            if chosen is not None:
                names[name] = chosen
        for inode in {*durable.values()} & {*now.values()} - {0}:
            before, later = _name_of(durable, inode), _name_of(now, inode)
            if before == later:
                continue
            if names.get(before) == names.get(later) == inode:
                del names[rng.choice((before, later))]
            elif inode not in names.values():
                names[rng.choice((before, later))] = inode
        return names

    def _content(self, inode: int, live: Path, rng: random.Random) -> bytes:
        new = live.read_bytes()
        synced = self.shadow / "synced" / str(inode)
        old = synced.read_bytes() if synced.exists() else None
        if new == old:
            return new
        self.fates["files newer than their sync"] += 1
        fate = rng.choice(("old", "new", "pages", "pages", "torn"))
        self.fates[f"left {fate}"] += 1
        if fate == "old":
            return old if old is not None else b""
        if fate == "new":
            return new
        if fate == "torn":
            # what was synced stays; of the rest a beginning, cut anywhere
            kept = 0 if old is None else _common(old, new)
            return _over(old or b"", new[: rng.randint(kept, len(new))], keep=len(old or b""))
        pages = [_page(new if rng.random() < 0.5 else old or b"", new, at) for at in range(0, len(new), PAGE)]
        return b"".join(pages)


def _folders_in(folder: Path) -> Iterator[str]:
    return (entry.name for entry in folder.iterdir() if entry.is_dir())


def _name_of(names: dict[str, int], inode: int) -> str:
    return next(name for name, one in names.items() if one == inode)


def _common(old: bytes, new: bytes) -> int:
    """Length of what both begin with."""
    low, high = 0, min(len(old), len(new))
    while low < high:
        middle = (low + high + 1) // 2
        if old[:middle] == new[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _over(old: bytes, new: bytes, keep: int) -> bytes:
    return new + old[len(new) : keep]


def _page(source: bytes, new: bytes, at: int) -> bytes:
    """One page of a file as long as `new`; zeros where the source has nothing."""
    end = min(at + PAGE, len(new))
    return source[at:end].ljust(end - at, b"\0")
