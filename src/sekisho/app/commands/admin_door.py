"""The way from a command to the `/admin` API of a running gateway. Must never print the key, nor send it elsewhere."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec
import typer

from sekisho.app.commands import NO, UNREACHABLE, WRONG_USAGE
from sekisho.app.declare import CONFIG, FORMAT, Both

if TYPE_CHECKING:
    from sekisho.app.settings.messages import Say
    from sekisho.app.settings.model import Language, Settings

DEFAULT_URL = "http://127.0.0.1:4000"
KEY_VARIABLE = "SEKISHO_ADMIN_KEY"
_PATIENCE_S = 10.0
_LARGEST_ANSWER = 64 * 1024 * 1024
#: the caller gave what cannot be, or a key that is none: the command or the configuration is to be changed
_USAGE_STATUSES = frozenset({400, 401, 413, 415, 422})
_USAGE_CODES = frozenset({"admin_closed"})

Format = Literal["table", "json", "csv"]
Config = Annotated[Path | None, typer.Option("--config", help=CONFIG)]
GatewayUrl = Annotated[
    str | None,
    typer.Option(
        "--gateway",
        metavar="URL",
        help=Both(f"The running gateway; by default {DEFAULT_URL}.", f"稼働中のゲートウェイ（既定は {DEFAULT_URL}）"),
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar=KEY_VARIABLE,
        show_envvar=False,
        help=Both(
            f"By default {KEY_VARIABLE}, else admin.key of the configuration.",
            f"管理 API のキー（既定は {KEY_VARIABLE}、なければ設定の admin.key）",
        ),
    ),
]
Output = Annotated[Format, typer.Option("--format", help=FORMAT)]


class Sent(NamedTuple):
    """A request, as the transport takes it."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None


class Stopped(Exception):
    """The command ends with an exit code and a word about it."""

    def __init__(self, exit_code: int, text: str) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def refused(say: Say, language: Language, exit_code: int = WRONG_USAGE, **values: object) -> Stopped:
    """What is to be raised: the message, and what to do on a line of its own."""
    hint = say.hint(language, **values)
    return Stopped(exit_code, say.message(language, **values) + (f"\n    -> {hint}" if hint else ""))


class Door:
    """One gateway, asked with one key, for one person."""

    def __init__(self, url: str, key: str, language: Language, settings: Settings | None) -> None:
        self.url = url.rstrip("/")
        self.language: Language = language
        #: of the company: its currency, its time zone; None where there is no configuration
        self.settings = settings
        self._key = key

    def ask(
        self,
        method: str,
        *path: str,
        body: object = None,
        options: Mapping[str, str] | None = None,
        after: str | None = None,
    ) -> Any:
        """The decoded answer. Raises Stopped; `path` are segments below /admin, of any characters. `options`: by a
        field of the body the option that it was given by, which is what a mistake is told of. `after`: of a list the
        page that an answer promised."""
        from sekisho.app.commands import admin_messages as messages

        try:
            place = "/".join(("", "admin", *(quote(one, safe="") for one in path)))
            place += "" if after is None else f"?after={quote(after, safe='')}"
            content = None if body is None else msgspec.json.encode(body)
        except UnicodeEncodeError:
            raise refused(messages.NOT_TEXT, self.language) from None
        headers = {"authorization": f"Bearer {self._key}", "accept-language": self.language}
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            status, answer = transport(Sent(method, self.url + place, headers, content))
        except (OSError, ValueError) as error:
            from sekisho.app.settings.os_reasons import os_reason

            reason = os_reason(getattr(error, "reason", None) or error, self.language)
            raise refused(messages.UNREACHED, self.language, UNREACHABLE, url=self.url, error=reason) from None
        return self._read(status, answer, options or {})

    def every(self, *path: str) -> tuple[list[dict[str, Any]], bool]:
        """The `data` of a list, of all its pages, and whether the counters had a part in it."""
        answer = self.ask("GET", *path)
        data, counted = list(answer["data"]), answer.get("counters") != "unavailable"
        while (after := answer.get("next_after")) is not None:
            answer = self.ask("GET", *path, after=str(after))
            data += answer["data"]
            counted &= answer.get("counters") != "unavailable"
        return data, counted

    def tell(self, say: Say, **values: object) -> None:
        """To people, on stderr: stdout is for the answer."""
        typer.echo(say.message(self.language, **values), err=True)

    def _read(self, status: int, answer: bytes, options: Mapping[str, str]) -> Any:
        from sekisho.app.commands import admin_messages as messages

        try:
            content = msgspec.json.decode(answer)
            if 200 <= status < 300:
                return content
            error: dict[str, Any] = content["error"]
            code, message = str(error["code"]), str(error["message"])
            if (option := options.get(str(error.get("param")))) is not None:
                message = message.replace(f"`{error['param']}`", f"`{option}`")
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError):
            raise refused(messages.NOT_A_GATEWAY, self.language, UNREACHABLE, url=self.url, status=status) from None
        usage = status in _USAGE_STATUSES or code in _USAGE_CODES
        raise Stopped(WRONG_USAGE if usage else NO, f"{code}: {message}")


@contextmanager
def door(config: Path | None, gateway: str | None, key: str | None) -> Generator[Door]:
    """What a command works with; what goes wrong becomes a message and an exit code."""
    try:
        yield _open(config, gateway, key)
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(stopped.exit_code) from None


def _open(config: Path | None, gateway: str | None, key: str | None) -> Door:
    from sekisho.app import speech
    from sekisho.app.commands import admin_messages as messages
    from sekisho.app.settings import OF_THE_GATEWAY, load

    settings: Settings | None = None
    if config is not None or gateway is None or key is None:
        # where both are given the configuration of this folder may be that of another gateway
        settings = load(config, unset_in=OF_THE_GATEWAY if key else OF_THE_GATEWAY - {"admin"})
    language = speech.language(None if settings is None else settings.language)
    if key is None and settings is not None and settings.admin_key is not None:
        key = settings.admin_key.reveal()
    if not key:
        raise refused(messages.NO_KEY, language)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise refused(messages.BAD_KEY, language)
    url = DEFAULT_URL if gateway is None else gateway
    if not is_address(url):
        raise refused(messages.BAD_URL, language, url=url)
    return Door(url, key, language, settings)


def is_address(url: str) -> bool:
    """Whether a request can be sent there."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A gateway sends none, and the key must not follow one."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def over_http(sent: Sent) -> tuple[int, bytes]:
    """Status and body. Raises OSError, ValueError. No proxy: the address is one of our own."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
        sent.url, sent.body, dict(sent.headers), method=sent.method
    )
    try:
        with opener.open(request, timeout=_PATIENCE_S) as answer:
            return answer.status, answer.read(_LARGEST_ANSWER)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(_LARGEST_ANSWER)
    except http.client.HTTPException as error:
        raise ConnectionError(f"{type(error).__name__}: no answer in HTTP") from None


#: how requests leave; tests put a gateway of their own here
transport = over_http
