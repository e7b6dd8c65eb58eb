"""What `reconcile` asks a running gateway that needs no key: which one it is, and its counters. Must only read."""

from __future__ import annotations

import http
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer

from sekisho.app.commands import UNREACHABLE

if TYPE_CHECKING:
    from sekisho.app.settings.model import Language
    from sekisho.costs.reconcile import Counters

DEFAULT_URL = "http://127.0.0.1:4000"
_PATIENCE_S = 10.0
_LARGEST_ANSWER = 16 * 1024 * 1024


class Stopped(Exception):
    """A gateway that was named does not answer, or what was given cannot be used."""

    def __init__(self, text: str, exit_code: int = UNREACHABLE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Ready(msgspec.Struct, frozen=True):
    """Of /health/ready what says which gateway this is, and since when it counts."""

    started_us: int
    spool: str


def gateway_at(url: str, data_dir: Path, language: Language, *, must: bool) -> Ready | None:
    """The gateway that writes into this folder. None, with a word about it, where there is none and none was named."""
    from sekisho.app.commands import reconcile_messages as messages
    from sekisho.tables.spools import held_spools, spool_ids

    if not url.startswith(("http://", "https://")):
        raise Stopped(_no_address(url, language))
    try:
        ready = msgspec.json.decode(_get(f"{url}/health/ready", unready=True), type=Ready)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        if must:
            raise Stopped(messages.UNREACHABLE.message(language, url=url, error=_reason(error, language))) from None
        typer.echo(messages.NO_GATEWAY.message(language, url=url), err=True)
        return None
    spools = held_spools(data_dir)
    try:
        ours = spool_ids(spools)
    finally:
        for spool in spools:
            spool.close()
    if ready.spool in ours:
        return ready
    said = messages.OTHER_GATEWAY.message(language, url=url, data_dir=data_dir)
    if must:
        raise Stopped(said)
    typer.echo(said, err=True)
    return None


def counters_at(url: str, language: Language) -> Counters:
    """Raises Stopped."""
    from sekisho.app.commands import reconcile_messages as messages
    from sekisho.costs.reconcile import counters

    try:
        return counters(_get(f"{url}/metrics").decode("utf-8", "replace"))
    except (OSError, ValueError, LookupError) as error:
        raise Stopped(messages.UNREACHABLE.message(language, url=url, error=_reason(error, language))) from None


def _no_address(url: str, language: Language) -> str:
    from sekisho.app.commands.admin_messages import BAD_URL

    return f"{BAD_URL.message(language, url=url)}\n    -> {BAD_URL.hint(language)}"


def _reason(error: Exception, language: Language) -> str:
    """Of an address that does not answer, what the system says of it and not what the library makes of that."""
    from sekisho.app.settings.os_reasons import os_reason

    return os_reason(getattr(error, "reason", error), language)


def _get(url: str, *, unready: bool = False) -> bytes:
    """Raises OSError, ValueError. No proxy: the address is one of our own. With `unready` the answer of a gateway
    that takes no calls is an answer too."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_PATIENCE_S) as answer:
            return answer.read(_LARGEST_ANSWER)
    except urllib.error.HTTPError as error:
        with error:
            if unready and error.code == http.HTTPStatus.SERVICE_UNAVAILABLE:
                return error.read(_LARGEST_ANSWER)
        raise OSError(f"HTTP {error.code}") from None
