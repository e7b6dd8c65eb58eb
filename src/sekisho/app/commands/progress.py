"""A progress bar for long work: on a terminal, nothing in a pipe. Must never be the reason that work fails."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def progress(what: str, total: int) -> Generator[Callable[[int], None]]:
    """Yields what to call with each amount done. The bar is drawn on stderr, so that output stays clean."""
    if total <= 0 or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)
