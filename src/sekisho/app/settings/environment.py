"""Settings without a file: providers from the keys in the environment, else the mock provider. Must not read a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from sekisho.app.settings import messages
from sekisho.app.settings.document import Spot
from sekisho.app.settings.form import fits_a_header
from sekisho.app.settings.installation import DATABASE_FILE, DEFAULT_DATA_DIR
from sekisho.app.settings.model import (
    MOCK_PROVIDER,
    EndpointSettings,
    Language,
    ProviderSettings,
    Settings,
    TargetSettings,
)
from sekisho.app.settings.problem import ConfigError
from sekisho.app.settings.providers import known_provider_types
from sekisho.app.settings.reading import Reading
from sekisho.domain.http import Secret
from sekisho.domain.money import Rates

SOURCE = "environment"
#: in the order in which one becomes the default provider
_PROVIDERS = (("OPENAI_API_KEY", "openai"), ("ANTHROPIC_API_KEY", "anthropic"), ("GEMINI_API_KEY", "gemini"))


def settings_from_environment(environ: Mapping[str, str], language: Language) -> Settings:
    """Providers whose keys are set, models going straight to the first; the mock provider when there is none.

    The data folder is `sekisho-data` in the current one. Raises ConfigError when a key cannot be sent.
    """
    reading = Reading(environ=environ, base_dir=Path.cwd(), demo=False, language=language)
    providers = _providers(reading)
    if any(problem.severity == "error" for problem in reading.problems):
        raise ConfigError(SOURCE, reading.problems)
    data_dir = reading.base_dir / DEFAULT_DATA_DIR
    mock = not providers
    names = [MOCK_PROVIDER] if mock else list(providers)
    return Settings(
        data_dir=data_dir,
        database_path=data_dir / DATABASE_FILE,
        providers=providers or {MOCK_PROVIDER: _mock()},
        endpoints=_mock_endpoints() if mock else {},
        prices={f"{MOCK_PROVIDER}/*": _mock_rates()} if mock else {},
        default_provider=None if mock else names[0],
        mock_provider=mock,
        language=language,
        source=SOURCE,
        digest=hashlib.sha256(f"{SOURCE}:{','.join(names)}".encode()).hexdigest()[:12],
        warnings=tuple(reading.problems),
    )


def _providers(reading: Reading) -> dict[str, ProviderSettings]:
    providers: dict[str, ProviderSettings] = {}
    for variable, name in _PROVIDERS:
        text = reading.environ.get(variable, "").strip()
        if not text:
            continue
        place = Spot(path=variable, line=0, column=0)
        if name not in known_provider_types():
            reading.warning(place, messages.ENV_UNSUPPORTED, type=name)
        elif not fits_a_header(text):
            reading.error(place, messages.BAD_SECRET)
        else:
            providers[name] = ProviderSettings(name=name, type=name, api_key=Secret(text))
    return providers


def _mock() -> ProviderSettings:
    return ProviderSettings(name=MOCK_PROVIDER, type="openai", allow_private=True)


def _mock_endpoints() -> dict[str, EndpointSettings]:
    models = {"chat": "mock-small", "embed": "mock-embed"}
    return {
        name: EndpointSettings(name=name, targets=(TargetSettings(provider=MOCK_PROVIDER, model=model),), log="full")
        for name, model in models.items()
    }


def _mock_rates() -> Rates:
    """1.00, 0.10 and 2.00 US dollars per million tokens, so that the figures of a first try are easy to check."""
    return Rates(
        input_nanos_per_mtok=1_000_000_000,
        cached_input_nanos_per_mtok=100_000_000,
        output_nanos_per_mtok=2_000_000_000,
        source="mock",
    )
