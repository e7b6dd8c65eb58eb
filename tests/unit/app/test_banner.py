"""The lines the banner shows are to be pasted into a shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sekisho.app.banner import banner
from sekisho.app.settings import Language, parse
from sekisho.app.settings.environment import settings_from_environment

CONFIG = """\
providers: {mock: {type: openai, base_url: "http://127.0.0.1:9101/v1", allow_private: true}}
endpoints: {chat: {targets: [{provider: mock, model: mock-small}]}}
keys: [{name: ci, key: "${env:SEKISHO_KEY}"}]
"""
KEY = "sk-of-the-shell-0123456789"


@pytest.mark.parametrize(("shown", "sent"), [(None, KEY), ("sk-generated-0123456789", "sk-generated-0123456789")])
@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_call_of_the_banner_carries_the_key(
    tmp_path: Path, language: Language, shown: str | None, sent: str
) -> None:
    settings = parse(CONFIG, "sekisho.yaml", environ={"SEKISHO_KEY": KEY}, base_dir=tmp_path)
    shown_lines = banner(settings, "http://127.0.0.1:4000", key=shown, data_option="", language=language).splitlines()
    [line] = [line for line in shown_lines if line.startswith("  curl ")]
    script = f"curl() {{ printf '%s\\n' \"$@\"; }}\n{line}"
    done = subprocess.run(["bash", "-c", script], env={"SEKISHO_KEY": KEY}, capture_output=True, text=True, timeout=20)
    assert f"Authorization: Bearer {sent}" in done.stdout.splitlines(), done.stdout + done.stderr


@pytest.mark.parametrize(("language", "word"), [("en", "own names"), ("ja", "モデル名")])
def test_who_has_a_provider_and_no_endpoints_is_told_what_to_call(language: Language, word: str) -> None:
    settings = settings_from_environment({"OPENAI_API_KEY": KEY}, language)
    shown = banner(settings, "http://127.0.0.1:4000", key=None, data_option="", language=language)
    [line] = [line for line in shown.splitlines() if "/v1/models" in line]
    assert word in line
    assert "openai" in line
    without = settings_from_environment({}, language)
    assert "/v1/models" not in banner(without, "http://127.0.0.1:4000", key=None, data_option="", language=language)


def test_the_banner_says_where_metrics_and_rows_really_are(tmp_path: Path) -> None:
    text = f"{CONFIG}server: {{metrics_port: 9464}}\ntables: {{url: ./elsewhere}}\n"
    settings = parse(text, "sekisho.yaml", environ={"SEKISHO_KEY": KEY}, base_dir=tmp_path)
    shown = banner(settings, "http://127.0.0.1:4000", key=None, data_option="", language="en")
    assert "http://127.0.0.1:9464/metrics" in shown
    assert "http://127.0.0.1:4000/metrics" not in shown
    assert str(tmp_path / "elsewhere") in shown
