"""What the tests of the front desk share: one complete configuration, and an environment of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sekisho.app.settings import ConfigError, Language, Problem, Settings, parse

#: uses every key that this version reads, and nothing that it refuses
COMPLETE = """\
data_dir: ./data
timezone: Asia/Tokyo
providers:
  openai: {type: openai, api_key: "${env:OPENAI_API_KEY}", headers: {x-project: "p 1", x-token: "Bearer ${env:TOKEN}"}}
  local:
    type: openai
    base_url: http://127.0.0.1:9101/v1/
    allow_private: true
endpoints:
  chat:
    targets:
      - {provider: openai, model: gpt-4o-mini, weight: 70}
      - {provider: local, model: mock-small, weight: 30}
    fallbacks:
      - {provider: local, model: mock-large}
    timeouts: {connect_s: 2.5, idle_s: 30}
    limits: {qpm: 600, tpm: 200000}
    log: full
  small: {targets: [{provider: local, model: mock-small}]}
keys:
  - {name: app, key: "${env:APP_KEY}", team: research, user: taro, endpoints: [chat, "local/*"], role: user}
  - name: audit
    key: "${env:AUDIT_KEY}"
    role: auditor
    endpoints: []
    expires: 2027-03-31
    on_behalf: true
admin: {key: "${env:ADMIN_KEY}"}
teams:
  research: {department: rd}
  sales:
budgets:
  - {scope: {team: research}, usd: 100, period: month, on_exceed: block}
  - {scope: {user: "*"}, jpy: 15000, period: day, on_exceed: {degrade: small}, strict: true}
limits:
  - {scope: {key: app}, qpm: 60, tpm: 40000, concurrency: 5, burst_s: 10, wait_s: 2.5}
prices:
  openai/gpt-4o-mini: {input_per_mtok: 0.15, cached_input_per_mtok: 0.075, output_per_mtok: 0.60}
  local/*: {input_per_mtok: 1, cache_write_per_mtok: 1.25, output_per_mtok: 2.0}
  local/large:
    input_per_mtok: 3
    cached_input_per_mtok: 0.30
    cache_write_per_mtok: 3.75
    cache_write_1h_per_mtok: 6
    output_per_mtok: 15
    audio_input_per_mtok: 32
    cached_audio_input_per_mtok: 0.40
    audio_output_per_mtok: 64
    image_input_per_mtok: 5
    cached_image_input_per_mtok: 0.50
    image_output_per_mtok: 40
    size_tiers:
      - over_input_tokens: 200000
        input_per_mtok: 6
        cached_input_per_mtok: 0.60
        cache_write_per_mtok: 7.5
        cache_write_1h_per_mtok: 12
        output_per_mtok: 22.5
    service_tiers:
      batch: {input_per_mtok: 1.5, output_per_mtok: 7.5}
unknown_price: {input_per_mtok: 3, output_per_mtok: 15}
currency: JPY
fx: {usd_jpy: 151.25, date: 2026-11-01}
language: ja
log_level: debug
state: {url: memory://}
database: {url: "sqlite:///${data_dir}/control.db"}
defaults: {log: metadata, timeouts: {connect_s: 3, total_s: 300}, limits: {qpm: 10}}
server: {max_body_mb: 8, keepalive_s: 5, shutdown_s: 12.5, metrics_port: null}
tables:
  url: s3://company-rows/sekisho/prod
  s3:
    endpoint: http://minio.internal:9000
    allow_http: true
    access_key_id: "${env:S3_KEY}"
    secret_access_key: "${env:S3_SECRET}"
  commit: {every_s: 2.5, rows: 100, mb: 4}
"""

ENVIRON = {
    "OPENAI_API_KEY": "sk-provider-secret-1",
    "TOKEN": "token-secret-2",
    "S3_KEY": "s3-key-secret-0006",
    "S3_SECRET": "s3-secret-secret-0007",
    "APP_KEY": "app-key-secret-0003",
    "AUDIT_KEY": "audit-key-secret-0004",
    "ADMIN_KEY": "admin-key-secret-0005",
}

Parse = Callable[..., Settings]
Problems = Callable[..., tuple[Problem, ...]]


@pytest.fixture
def complete() -> str:
    return COMPLETE


@pytest.fixture
def environ() -> dict[str, str]:
    return dict(ENVIRON)


@pytest.fixture
def read(tmp_path: Path, environ: dict[str, str]) -> Parse:
    """Parses a text whose folder is tmp_path."""

    def read_text(text: str, *, demo: bool = False, language: Language = "en") -> Settings:
        return parse(text, "sekisho.yaml", environ, tmp_path, demo, language=language)

    return read_text


@pytest.fixture
def problems(read: Parse) -> Problems:
    """All problems of a text, whether it can be used or not."""

    def problems_of(text: str, *, demo: bool = False, language: Language = "en") -> tuple[Problem, ...]:
        try:
            return read(text, demo=demo, language=language).warnings
        except ConfigError as error:
            return error.problems

    return problems_of
