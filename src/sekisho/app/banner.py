"""What stands on the terminal when the door is open: where things are, and what to try first."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from sekisho import __version__
from sekisho.app.settings.model import Language, Settings

_TEXTS = {
    "en": {
        "title": "Sekisho {version}: the gateway whose numbers are true",
        "gateway": "gateway",
        "metrics": "metrics",
        "data": "rows",
        "config": "settings",
        "from_env": "no sekisho.yaml here: settings from the environment",
        "mock": "no provider key found: the built-in mock provider answers",
        "models": "models",
        "direct": "by the own names of {provider}; GET /v1/models lists endpoints, and here are none",
        "key": "key",
        "key_note": "(holds until this process ends)",
        "try": "Ask it something:",
        "sql": "See the row it left, with tokens and cost:",
        "stop": "Ctrl-C stops it.",
        "warning": "WARNING",
    },
    "ja": {
        "title": "Sekisho（関所）{version}: 数字が正しい LLM ゲートウェイ",
        "gateway": "ゲートウェイ",
        "metrics": "メトリクス",
        "data": "記録",
        "config": "設定",
        "from_env": "sekisho.yaml がないため、環境変数の設定で動いています",
        "mock": "プロバイダーのキーがないため、内蔵のモックプロバイダーが応答します",
        "models": "モデル",
        "direct": "{provider} のモデル名で呼び出します（GET /v1/models はエンドポイントの一覧なので空です）",
        "key": "キー",
        "key_note": "（このプロセスが終わるまで有効です）",
        "try": "試しに呼び出す:",
        "sql": "残った記録（トークン数と費用）を見る:",
        "stop": "Ctrl-C で終了します。",
        "warning": "警告",
    },
}


def banner(settings: Settings, url: str, *, key: str | None, data_option: str, language: Language) -> str:
    """Several lines, ending without a line break. `key` is shown once, where it was generated for this run."""
    text = _TEXTS[language]
    endpoint = next(iter(settings.endpoints), "gpt-4o-mini" if settings.default_provider else None)
    lines = ["", text["title"].format(version=__version__), ""]
    facts = _facts(settings, url, text)
    if key is not None:
        facts.append((text["key"], f"{key}  {text['key_note']}"))
    width = max(_width(name) for name, _ in facts)
    lines += [f"  {name}{' ' * (width - _width(name))}  {value}" for name, value in facts]
    lines += [f"  {text['warning']}: {problem.path}: {problem.message}" for problem in settings.warnings]
    if endpoint is not None:
        lines += ["", text["try"], "", _curl(url, key, endpoint, language)]
    lines += ["", text["sql"], "", _sql(data_option), "", text["stop"], ""]
    return "\n".join(lines)


def _facts(settings: Settings, url: str, text: dict[str, str]) -> list[tuple[str, str]]:
    facts = [(text["gateway"], url), (text["metrics"], _metrics(settings, url)), (text["data"], _rows(settings))]
    if settings.source == "environment":
        facts.append((text["config"], text["mock"] if settings.mock_provider else text["from_env"]))
    else:
        facts.append((text["config"], settings.source))
    if settings.default_provider is not None and not settings.endpoints:
        facts.append((text["models"], text["direct"].format(provider=settings.default_provider)))
    return facts


def _metrics(settings: Settings, url: str) -> str:
    port = settings.server.metrics_port
    return f"{url if port is None else f'http://127.0.0.1:{port}'}/metrics"


def _rows(settings: Settings) -> str:
    """Where they end up: the data folder has them only where nothing else is said."""
    storage = settings.tables.storage
    return str(settings.data_dir) if storage is None else storage.url


def _curl(url: str, key: str | None, endpoint: str, language: str) -> str:
    question = "関所とは何ですか" if language == "ja" else "What is a sekisho?"
    shown = key or "$SEKISHO_KEY"
    body = f'{{"model": "{endpoint}", "messages": [{{"role": "user", "content": "{question}"}}]}}'
    # in double quotes: the shell has to put the variable in
    headers = f"-H \"Authorization: Bearer {shown}\" -H 'Content-Type: application/json'"
    return f"  curl {url}/v1/chat/completions {headers} -d '{body}'"


def _sql(data_option: str) -> str:
    program = _program()
    query = (
        "SELECT event_time, requester, endpoint_name, status_code, input_tokens, output_tokens, cost_usd "
        "FROM usage ORDER BY event_time DESC LIMIT 5"
    )
    return f'  {program} sql {data_option}"{query}"'


def _program() -> str:
    """As it was called, if that is shorter to type than where it lies."""
    called = Path(sys.argv[0])
    try:
        return shlex.quote(str(called.resolve().relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(called))


def _width(text: str) -> int:
    """Columns on a terminal: East Asian characters take two."""
    return sum(2 if ord(char) > 0x2E80 else 1 for char in text)
