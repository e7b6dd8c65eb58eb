"""The settings after reading: complete, checked, frozen. Must not read anything."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

import msgspec

from sekisho.app.settings.problem import Problem
from sekisho.domain.endpoint import Durability, LogLevel, Timeouts
from sekisho.domain.http import Secret
from sekisho.domain.money import Rates
from sekisho.domain.spending import Budget, Limit
from sekisho.tables.maintenance.policy import Plan
from sekisho.tables.storage import Cadence, Storage

Language = Literal["en", "ja"]
OwnLogLevel = Literal["warning", "info", "debug"]
Role = Literal["user", "team_owner", "auditor", "admin"]
UnknownPrice = Literal["allow", "block"]
Currency = Literal["USD", "JPY"]
#: yen for one US dollar from a day on, by day; None: the day was not told, and the rate holds always
FxRates = tuple[tuple[date | None, Decimal], ...]

MOCK_PROVIDER = "mock"


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where calls may go. `base_url` None means the address that the catalog gives for the type."""

    name: str
    type: str
    base_url: str | None = None
    api_key: Secret | None = None
    allow_private: bool = False
    #: sent with every request; names in lower case
    headers: dict[str, Secret] = {}


class TargetSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one provider; `weight` counts among the targets of an endpoint only."""

    provider: str
    model: str
    weight: int = 100


class EndpointSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A name callers use, with its timeouts and log level after the defaults were filled in."""

    name: str
    targets: tuple[TargetSettings, ...]
    fallbacks: tuple[TargetSettings, ...] = ()
    timeouts: Timeouts = Timeouts()
    log: LogLevel = "metadata"
    durability: Durability = "process"
    limits: Limit | None = None


class DeclaredKey(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual key that stands in the file."""

    name: str
    key: Secret
    team: str | None = None
    user: str | None = None
    #: endpoint names, `provider/*`, or `*` for every endpoint
    endpoints: tuple[str, ...] = ("*",)
    role: Role = "user"
    #: with its offset; the key holds until then
    expires: datetime | None = None
    on_behalf: bool = False


class TeamSettings(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    department: str | None = None


class DefaultsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for endpoints that do not say otherwise, and for models addressed as `provider/model`."""

    log: LogLevel = "metadata"
    durability: Durability = "process"
    timeouts: Timeouts = Timeouts()
    limits: Limit | None = None


class SpoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where rows wait for the tables: at most so many MiB, and what happens when it is full or cannot be written."""

    max_mb: int = 8192
    #: shed_bodies: rows go on without bodies; refuse: new calls get 503
    when_full: Literal["shed_bodies", "refuse"] = "shed_bodies"
    #: open: calls go on, rows wait in memory; closed: new calls get 503
    on_error: Literal["open", "closed"] = "open"


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP server. Times in seconds, sizes in MiB; the certificate and its key come together or not at all."""

    max_body_mb: int = 32
    #: silence on a stream after which an SSE comment keeps the connection open
    keepalive_s: float = 15.0
    #: how long running calls may still take after SIGTERM
    shutdown_s: float = 30.0
    #: None serves /metrics on the port of the gateway
    metrics_port: int | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    @property
    def max_body_bytes(self) -> int:
        return self.max_body_mb * 1024 * 1024


class TablesSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The inference tables. `storage` None is the folder `tables` of data_dir; ask `Settings.storage`."""

    storage: Storage | None = None
    cadence: Cadence = Cadence()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration. Paths are absolute; a Secret in it cannot print."""

    data_dir: Path
    #: the SQLite file of control data, unless there is a `database_url`
    database_path: Path
    providers: dict[str, ProviderSettings]
    #: the file as it was named, or `environment`
    source: str
    #: 12 hex digits of the SHA-256 of the file's text; `config_hash` on rows
    digest: str
    #: control data in PostgreSQL; secret, for a password may be in it
    database_url: Secret | None = None
    timezone: str = "UTC"
    endpoints: dict[str, EndpointSettings] = {}
    keys: tuple[DeclaredKey, ...] = ()
    admin_key: Secret | None = None
    teams: dict[str, TeamSettings] = {}
    budgets: tuple[Budget, ...] = ()
    #: those of the list `limits`; endpoints and defaults have their own
    limits: tuple[Limit, ...] = ()
    #: where counters live; None: in the memory of the one worker
    state_url: Secret | None = None
    #: `provider/model` or `provider/*`; ask `rates_for`
    prices: dict[str, Rates] = {}
    unknown_price: UnknownPrice | Rates = "allow"
    currency: Currency = "USD"
    #: ask `costs.currency` for the rate of a day
    fx_rates: FxRates = ()
    language: Language = "en"
    log_level: OwnLogLevel = "info"
    defaults: DefaultsSettings = DefaultsSettings()
    server: ServerSettings = ServerSettings()
    spool: SpoolSettings = SpoolSettings()
    tables: TablesSettings = TablesSettings()
    maintenance: Plan = Plan()
    #: where models go that are no endpoint; set only when there is no file
    default_provider: str | None = None
    #: the gateway starts the mock provider itself; then `with_mock_at` says where
    mock_provider: bool = False
    warnings: tuple[Problem, ...] = ()

    @property
    def storage(self) -> Storage:
        """Where the tables are."""
        return self.tables.storage or Storage.folder(self.data_dir / "tables")

    def rates_for(self, provider: str, model: str) -> Rates | None:
        """The declared price of a model: `provider/model`, then `provider/*`, then None."""
        exact = self.prices.get(f"{provider}/{model}")
        return exact if exact is not None else self.prices.get(f"{provider}/*")

    def with_mock_at(self, base_url: str) -> Settings:
        """The same settings with the address of the mock provider that was started in process."""
        mock = msgspec.structs.replace(self.providers[MOCK_PROVIDER], base_url=base_url)
        return msgspec.structs.replace(self, providers={**self.providers, MOCK_PROVIDER: mock})
