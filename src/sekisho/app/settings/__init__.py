"""The configuration as a person writes it, made into settings that code can trust.

In: a YAML or JSON text, the environment, and the files that secrets stand in.
Out: `Settings`, frozen and complete; or `ConfigError` with every mistake, its line and what to do.
May import: domain, the catalog of providers, data classes of tables, the rate of a day from costs. Nothing else reads
the environment.
Tests: tests/unit/app/settings; Hypothesis holds that no text raises anything but ConfigError.
"""

from sekisho.app.settings.language import language_of
from sekisho.app.settings.loading import DEFAULT_FILE, OF_THE_GATEWAY, load, parse
from sekisho.app.settings.model import (
    MOCK_PROVIDER,
    Currency,
    DeclaredKey,
    DefaultsSettings,
    EndpointSettings,
    Language,
    OwnLogLevel,
    ProviderSettings,
    Role,
    ServerSettings,
    Settings,
    TargetSettings,
    TeamSettings,
    UnknownPrice,
)
from sekisho.app.settings.problem import ConfigError, Problem, render
from sekisho.app.settings.providers import known_provider_types

__all__ = [
    "DEFAULT_FILE",
    "MOCK_PROVIDER",
    "OF_THE_GATEWAY",
    "ConfigError",
    "Currency",
    "DeclaredKey",
    "DefaultsSettings",
    "EndpointSettings",
    "Language",
    "OwnLogLevel",
    "Problem",
    "ProviderSettings",
    "Role",
    "ServerSettings",
    "Settings",
    "TargetSettings",
    "TeamSettings",
    "UnknownPrice",
    "known_provider_types",
    "language_of",
    "load",
    "parse",
    "render",
]
