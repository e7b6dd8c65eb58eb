"""The made-up company of `sekisho demo`: its configuration, and a minute of its traffic through the front door."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

DATA_DIR = "sekisho-data/demo"
FIRST_KEY = "sk-demo-research-0123456789abcdef"
_SALES_KEY = "sk-demo-sales-0123456789abcdef"

CONFIG = f"""\
data_dir: ./{DATA_DIR}
timezone: Asia/Tokyo
language: LANGUAGE
log_level: warning
providers:
  mock: {{type: openai, base_url: "http://127.0.0.1:9/v1", allow_private: true}}
endpoints:
  chat:
    targets: [{{provider: mock, model: mock-small}}]
    fallbacks: [{{provider: mock, model: mock-large}}]
    log: full
  careful:
    targets: [{{provider: mock, model: "mock?status=503"}}]
    fallbacks: [{{provider: mock, model: mock-large}}]
    log: full
  embed:
    targets: [{{provider: mock, model: mock-embed}}]
teams:
  research: {{department: rd}}
  sales: {{department: business}}
keys:
  - {{name: research-notebook, key: {FIRST_KEY}, team: research, user: taro, endpoints: ["*", "mock/*"]}}
  - {{name: sales-app, key: {_SALES_KEY}, team: sales, user: hanako, endpoints: [chat, embed]}}
prices:
  mock/mock-small: {{input_per_mtok: 1.00, cached_input_per_mtok: 0.10, output_per_mtok: 2.00}}
  mock/mock-large: {{input_per_mtok: 5.00, cached_input_per_mtok: 0.50, output_per_mtok: 15.00}}
  mock/mock-embed: {{input_per_mtok: 0.02, output_per_mtok: 0}}
  mock/*: {{input_per_mtok: 1.00, cached_input_per_mtok: 0.10, output_per_mtok: 2.00}}
"""

_QUESTIONS = (
    ("chat", "議事録を三行で要約してください。", "minutes"),
    ("chat", "Summarise this meeting in three lines.", "minutes"),
    ("chat", "請求書の合計金額を教えてください。", "invoices"),
    ("chat", "Translate 'receipt' into Japanese.", "translation"),
    ("careful", "契約書のこの条項の意味を説明してください。", "contracts"),
    ("mock/mock?status=429&retry_after=2", "This one is refused by the provider.", "contracts"),
    ("mock/mock?cut_after=3", "この応答は途中で切れます。", "minutes"),
    ("no-such-endpoint", "Nobody serves this model.", "minutes"),
)


async def sample_traffic(host: str, port: int) -> None:
    """Some forty calls of two teams: plain, streamed, fallen back, cut, refused. Problems are left to the rows."""
    for turn in range(3):
        for n, (model, text, feature) in enumerate(_QUESTIONS):
            sales = n % 2 == 1 and "/" not in model and model == "chat"
            body = {
                "model": model,
                "messages": [{"role": "user", "content": f"{text} ({turn + 1})"}],
                "stream": (n + turn) % 2 == 0,
                "metadata": {"feature": feature},
            }
            key = _SALES_KEY if sales else FIRST_KEY
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await _post(host, port, "/v1/chat/completions", key, body)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await _post(host, port, "/v1/embeddings", _SALES_KEY, {"model": "embed", "input": ["領収書", "invoice"]})


async def _post(host: str, port: int, path: str, key: str, body: object) -> None:
    """One call by the front door; the answer is read to its end and forgotten."""
    reader, writer = await asyncio.open_connection(host, port)
    payload = msgspec.json.encode(body)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\nuser-agent: sekisho-demo\r\nconnection: close\r\n"
        f"content-length: {len(payload)}\r\n\r\n"
    )
    writer.write(head.encode() + payload)
    while await reader.read(65536):
        pass
    writer.close()
