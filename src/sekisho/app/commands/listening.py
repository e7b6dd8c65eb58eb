"""The options of the commands that serve. Must stay text."""

from __future__ import annotations

from typing import Annotated

import typer

from sekisho.app.declare import Both

Host = Annotated[str, typer.Option(help=Both("Address to listen on.", "待ち受けるアドレス"))]
Port = Annotated[
    int,
    typer.Option(min=0, max=65535, help=Both("Port; 0 takes a free one.", "ポート（0 なら空いている番号）")),
]
