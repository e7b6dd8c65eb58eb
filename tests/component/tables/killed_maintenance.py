"""Kills the night job at its n-th step, for every n; run as `python -m tests.component.tables.killed_maintenance DIR`.

A step is whatever Python does to the file system: open, rename, link, remove, mkdir. A child forked from here has the
libraries loaded already, so that a hundred of them take seconds.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from tests.unit.tables.rows import NOON_US

from sekisho.tables.maintenance import jobs
from sekisho.tables.maintenance.policy import Policy

EVENTS = ("os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "open")
#: the first of two days has expired, the other one is over
AT_US = NOON_US + 3 * 86_400_000_000
POLICY = Policy(retention_days={"usage": 2, "inference_log": 2})


def job(data_dir: Path) -> None:
    failed = jobs.run(data_dir, "night", POLICY, now=lambda: AT_US)
    if failed is not None:
        sys.stderr.write(failed + "\n")
        os._exit(1)


def killed_at(data_dir: Path, step: int) -> int:
    """Exit status of a child that was killed there, or came to its end before."""
    child = os.fork()
    if child == 0:
        left = step

        def count(event: str, words: tuple[Any, ...]) -> None:
            nonlocal left
            if event not in EVENTS or not any(str(word).startswith(str(data_dir)) for word in words[:2]):
                return
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        job(data_dir)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """Leaves `DIR/<step>` for each step after the kill; DIR/start is what they begin with. Prints the steps."""
    root = Path(sys.argv[1])
    step = 0
    while True:
        step += 1
        data_dir = root / str(step)
        shutil.copytree(root / "start", data_dir)
        status = killed_at(data_dir, step)
        if status != -signal.SIGKILL:
            shutil.rmtree(data_dir)
            print(step - 1, status)
            return


if __name__ == "__main__":
    main()
