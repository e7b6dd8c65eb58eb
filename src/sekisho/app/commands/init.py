"""`sekisho init`: writes a commented configuration to start from. Must not overwrite one unless told to."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from sekisho.app import speech
from sekisho.app.commands import NO, WRONG_USAGE
from sekisho.app.declare import Both, Help, command
from sekisho.app.settings import DEFAULT_FILE, Language
from sekisho.app.settings.os_reasons import os_reason

# In both texts a comment is `# ` and a word; a setting that is switched off is `#` and the setting as it would stand.
_ENGLISH = """\
# Sekisho configuration. `sekisho check-config` names every mistake with its line.
# Secrets stand elsewhere: "${env:NAME}" is an environment variable, "${file:PATH}" the text of a file.

# Where calls, tables and the control database are kept; relative to this file.
data_dir: ./sekisho-data

# Time zone of reports and budgets, and the language of messages: en or ja.
timezone: UTC
language: en

# Who answers. Any OpenAI-compatible server is `type: openai` with its base_url.
providers:
  openai: {type: openai, api_key: "${env:OPENAI_API_KEY}"}
  #local: {type: openai, base_url: "http://127.0.0.1:8000/v1", allow_private: true}

# What your programs name in `model`. Targets share the calls by weight; fallbacks follow in order.
endpoints:
  chat:
    targets:
      - {provider: openai, model: gpt-4o-mini, weight: 100}
    #fallbacks:
    #  - {provider: openai, model: gpt-4o}
    # Seconds. first_token_s and idle_s hold for streams.
    #timeouts: {connect_s: 5, first_token_s: 120, idle_s: 60, total_s: 600}
    # full keeps the bodies of requests and answers in the inference table, metadata only tokens, cost and times.
    log: metadata
  embed:
    targets:
      - {provider: openai, model: text-embedding-3-small}

# Keys of your programs; `sekisho keys create` makes others. endpoints: ["*"] stands for all of them.
keys:
  - {name: my-app, key: "${env:SEKISHO_KEY}", team: research, user: me, endpoints: [chat, embed]}

teams:
  research: {department: rd}

# Opens the JSON API at /admin, for keys, teams, budgets, limits and stops while the gateway runs.
#admin: {key: "${env:SEKISHO_ADMIN_KEY}"}

# Your own prices, in US dollars per million tokens. Without one the price library is asked.
#prices:
#  openai/gpt-4o-mini: {input_per_mtok: 0.15, cached_input_per_mtok: 0.075, output_per_mtok: 0.60}

# Calls whose price nobody knows: allow, block, or {input_per_mtok: 1.00, output_per_mtok: 2.00}.
unknown_price: allow

# How many days rows stay; at this hour of the night the tables are tidied up.
#tables: {retention_days: {inference_log: 30, usage: 400}, maintenance: {hour: 3}}

# The server: body size in MB, times in seconds.
#server: {max_body_mb: 32, keepalive_s: 15, shutdown_s: 30}
"""

_JAPANESE = """\
# Sekisho の設定ファイルです。`sekisho check-config` で、すべての間違いを行番号付きで確かめられます。
# 秘密の値はここに書かず、"${env:NAME}"（環境変数）か "${file:PATH}"（ファイルの中身）で指定します。

# 呼び出しの記録、テーブル、管理データベースの置き場所（このファイルからの相対パス）。
data_dir: ./sekisho-data

# レポートと予算のタイムゾーン、メッセージの言語（en か ja）。
timezone: Asia/Tokyo
language: ja

# 呼び出し先。OpenAI 互換のサーバーなら、どれも `type: openai` と base_url で指定できます。
providers:
  openai: {type: openai, api_key: "${env:OPENAI_API_KEY}"}
  #local: {type: openai, base_url: "http://127.0.0.1:8000/v1", allow_private: true}

# プログラムが `model` に書く名前。targets は weight の割合で分け合い、fallbacks は上から順に試します。
endpoints:
  chat:
    targets:
      - {provider: openai, model: gpt-4o-mini, weight: 100}
    #fallbacks:
    #  - {provider: openai, model: gpt-4o}
    # 単位は秒。first_token_s と idle_s はストリームにだけ効きます。
    #timeouts: {connect_s: 5, first_token_s: 120, idle_s: 60, total_s: 600}
    # full はリクエストと応答の本文も推論テーブルに残し、metadata はトークン数・費用・時間だけを残します。
    log: metadata
  embed:
    targets:
      - {provider: openai, model: text-embedding-3-small}

# プログラムに渡すキー。ほかは `sekisho keys create` で作れます。endpoints: ["*"] はすべてのエンドポイント。
keys:
  - {name: my-app, key: "${env:SEKISHO_KEY}", team: research, user: me, endpoints: [chat, embed]}

teams:
  research: {department: rd}

# 稼働中にキー、チーム、予算、制限、停止を変更する JSON API（/admin）を開きます。
#admin: {key: "${env:SEKISHO_ADMIN_KEY}"}

# 独自の価格（100 万トークンあたりの米ドル）。なければ価格ライブラリの値を使います。
#prices:
#  openai/gpt-4o-mini: {input_per_mtok: 0.15, cached_input_per_mtok: 0.075, output_per_mtok: 0.60}

# 価格のわからない呼び出し: allow（許可）、block（拒否）、または {input_per_mtok: 1.00, output_per_mtok: 2.00}。
unknown_price: allow

# 行の保存日数と、夜間にテーブルを整理する時刻です。
#tables: {retention_days: {inference_log: 30, usage: 400}, maintenance: {hour: 3}}

# サーバー。本文の大きさは MB、時間は秒です。
#server: {max_body_mb: 32, keepalive_s: 15, shutdown_s: 30}
"""

_HELP = Help(
    Both("Write a commented sekisho.yaml to start from.", "コメント付きの sekisho.yaml のひな形を書き出します。"),
    "sekisho init --path sekisho.yaml --language ja",
)
TEMPLATES: dict[Language, str] = {"en": _ENGLISH, "ja": _JAPANESE}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "init", init, _HELP)


def init(
    path: Annotated[Path, typer.Option(help=Both("The file to write.", "書き出すファイル"))] = Path(DEFAULT_FILE),
    language: Annotated[
        Language | None,
        typer.Option(
            help=Both(
                "Language of the comments; by default that of the terminal.", "コメントの言語（既定は端末の言語）"
            )
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help=Both("Overwrite the file if it is there.", "ファイルがあれば上書きする"))
    ] = False,
) -> None:
    """Exit code 1 if the file is there, 2 if it cannot be written."""
    spoken: Language = language or speech.language()
    japanese = spoken == "ja"
    try:
        with path.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
            file.write(TEMPLATES[spoken])
    except FileExistsError:
        said = f"{path} はすでにあります。" if japanese else f"{path} is already there."
        hint = "上書きするなら --force を付けてください。" if japanese else "Give --force to overwrite it."
        typer.echo(f"{said}\n    -> {hint}", err=True)
        raise typer.Exit(NO) from None
    except OSError as error:
        said = f"{path} に書き込めません" if japanese else f"{path} cannot be written"
        typer.echo(f"{said}: {os_reason(error, spoken)}", err=True)
        raise typer.Exit(WRONG_USAGE) from None
    typer.echo(_next_steps(path, spoken))


def _next_steps(path: Path, language: Language) -> str:
    config = "" if path == Path(DEFAULT_FILE) else f" --config {shlex.quote(str(path))}"
    export = "export OPENAI_API_KEY=... SEKISHO_KEY=$(openssl rand -hex 24)"
    check = f"sekisho check-config {shlex.quote(str(path))}"
    if language == "ja":
        return (
            f"{path} を書きました。次の 2 つで動きます。\n"
            f"  1. 環境変数を設定して確かめる:  {export} && {check}\n"
            f"  2. ゲートウェイを起動する:      sekisho serve{config}"
        )
    return (
        f"Wrote {path}. Two steps are left:\n"
        f"  1. Set what it names, and check:  {export} && {check}\n"
        f"  2. Start the gateway:             sekisho serve{config}"
    )
