"""Without a file the environment decides where calls go."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.app.settings import ConfigError, known_provider_types, load


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_an_openai_key_makes_openai_the_default_provider() -> None:
    settings = load(environ={"OPENAI_API_KEY": "sk-env-secret"})

    assert list(settings.providers) == ["openai"]
    assert settings.providers["openai"].api_key is not None
    assert settings.providers["openai"].api_key.reveal() == "sk-env-secret"
    assert (settings.default_provider, settings.mock_provider, settings.source) == ("openai", False, "environment")
    assert "sk-env-secret" not in repr(settings)


def test_without_any_key_the_mock_provider_answers(tmp_path: Path) -> None:
    settings = load(environ={})

    assert (settings.default_provider, settings.mock_provider) == (None, True)
    assert {name: (e.targets[0].provider, e.targets[0].model, e.log) for name, e in settings.endpoints.items()} == {
        "chat": ("mock", "mock-small", "full"),
        "embed": ("mock", "mock-embed", "full"),
    }
    assert settings.providers["mock"].base_url is None
    assert settings.providers["mock"].allow_private
    rates = settings.rates_for("mock", "mock?echo=1")
    assert rates is not None
    assert (rates.input_nanos_per_mtok, rates.output_nanos_per_mtok) == (1_000_000_000, 2_000_000_000)
    assert rates.cached_input_nanos_per_mtok == 100_000_000
    assert settings.data_dir == tmp_path / "sekisho-data"
    assert settings.database_path == tmp_path / "sekisho-data" / "control.db"


def test_the_address_of_the_mock_provider_is_filled_in_later() -> None:
    settings = load(environ={})

    assert settings.with_mock_at("http://127.0.0.1:9/v1").providers["mock"].base_url == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(("variable", "kind"), [("ANTHROPIC_API_KEY", "anthropic"), ("GEMINI_API_KEY", "gemini")])
def test_a_key_that_this_version_cannot_use_is_said(variable: str, kind: str) -> None:
    if kind in known_provider_types():
        pytest.skip(f"{kind} is supported")

    settings = load(environ={variable: "x"}, language="en")

    assert settings.mock_provider
    (warning,) = settings.warnings
    assert (warning.severity, warning.path, warning.line) == ("warning", variable, 0)
    assert warning.message == f"set, but type {kind} is not supported by this version yet", "the path names it"


def test_a_key_that_no_header_can_carry_is_refused() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as caught:
        load(environ={"OPENAI_API_KEY": "sk-secret\nx: y"}, language="en")

    assert "sk-secret" not in str(caught.value)


def test_blank_keys_count_as_none() -> None:
    assert load(environ={"OPENAI_API_KEY": "  "}).mock_provider


def test_sekisho_yaml_in_the_current_folder_comes_first(tmp_path: Path) -> None:
    (tmp_path / "sekisho.yaml").write_text("providers: {a: {type: openai, base_url: https://a.example.com}}\n")

    settings = load(environ={"OPENAI_API_KEY": "sk-env-secret"})

    assert (list(settings.providers), settings.source) == (["a"], "sekisho.yaml")
    assert settings.data_dir == tmp_path / "sekisho-data"


def test_the_digest_tells_one_environment_from_another() -> None:
    mock, openai = load(environ={}), load(environ={"OPENAI_API_KEY": "a"})

    assert mock.digest != openai.digest
    assert openai.digest == load(environ={"OPENAI_API_KEY": "b"}).digest
