"""The wiring, top to bottom: settings in, a gateway out. Nothing else may choose an adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from sekisho import __version__
from sekisho.app.control import declared_keys
from sekisho.app.settings.model import EndpointSettings, ProviderSettings, Settings, TargetSettings
from sekisho.costs.currency import UsdJpy
from sekisho.costs.prices import MISSING, PriceBook
from sekisho.domain.call import Caller
from sekisho.domain.endpoint import Endpoint, Target
from sekisho.domain.http import Origin
from sekisho.domain.money import Rates
from sekisho.gateway.estimates import Estimates
from sekisho.gateway.pipeline import Pipeline
from sekisho.gateway.policies.authentication import Keyring
from sekisho.gateway.policies.spending import Spending
from sekisho.gateway.snapshot import Provider, Snapshot
from sekisho.gateway.transport import Transport
from sekisho.gateway.upstream import Upstream
from sekisho.ledger.book import Ledger
from sekisho.ledger.limiter import Limiter
from sekisho.ledger.plans import Planner
from sekisho.ledger.recorder import RateAt
from sekisho.ledger.tally import Tally
from sekisho.providers.catalog import CATALOG, chat_dialect, embeddings_dialect
from sekisho.stores.control import NOTHING, ControlRecords
from sekisho.stores.ports import KeyRecord, RowSink


def build_pipeline(
    snapshot: Snapshot,
    sink: RowSink,
    tally: Tally,
    loop: asyncio.AbstractEventLoop,
    limiter: Limiter | None = None,
) -> Pipeline:
    """The parts that outlive a reload, around the first snapshot. Without a limiter nothing is limited."""
    ledger = Ledger(sink, tally, gateway_version=__version__, limiter=limiter)
    transport = Transport(loop)
    estimates = Estimates()
    spending = None if limiter is None else Spending(limiter, estimates)
    upstream = Upstream(transport, loop, ledger, estimates, spending)
    return Pipeline(snapshot, ledger, upstream, transport, estimates, spending)


def build_snapshot(settings: Settings, keyring: Keyring, prices: PriceBook, planner: Planner | None = None) -> Snapshot:
    """One configuration as the gateway uses it; without a planner nothing is limited."""

    async def rates_of(provider: str, model: str) -> Rates | None:
        found = _rates(settings, prices, provider, model)
        if found is MISSING:
            await prices.resolve([_pair(settings, provider, model)])
            found = _rates(settings, prices, provider, model)
        return None if found is MISSING else found  # type: ignore[return-value]

    return Snapshot(
        providers={name: build_provider(one) for name, one in settings.providers.items()},
        endpoints={name: _endpoint(settings, prices, one) for name, one in settings.endpoints.items()},
        keyring=keyring,
        rates_of=rates_of,
        default_provider=settings.default_provider,
        default_timeouts=settings.defaults.timeouts,
        default_log=settings.defaults.log,
        default_durability=settings.defaults.durability,
        block_unpriced=settings.unknown_price == "block",
        language=settings.language,
        max_body_bytes=settings.server.max_body_bytes,
        keepalive_s=settings.server.keepalive_s,
        config_hash=settings.digest,
        planner=planner,
    )


def rate_of_exchange(settings: Settings) -> RateAt:
    """Which rate a row keeps: that of the day on which its call came."""
    rates = UsdJpy(settings.fx_rates)
    return lambda us: rates.holding_at(us, settings.timezone)


def build_provider(settings: ProviderSettings) -> Provider:
    row = CATALOG[settings.type]
    url = urlsplit(settings.base_url or row.base_url)
    origin = Origin(
        scheme=url.scheme,
        host=url.hostname or "",
        port=url.port or (443 if url.scheme == "https" else 80),
        allow_private=settings.allow_private or (settings.base_url is None and row.local),
    )
    return Provider(
        settings.name,
        row,
        chat_dialect(row),
        embeddings_dialect(row),
        origin=origin,
        base_path=url.path,
        api_key=settings.api_key,
        headers=settings.headers,
        user_agent=f"sekisho/{__version__}",
    )


def build_keyring(
    settings: Settings, pepper: bytes, records: Iterable[KeyRecord], control: ControlRecords = NOTHING
) -> Keyring:
    """Declared keys and those of the control database; revoked ones are left out, expiry is looked at per call."""
    departments = {team.name: team.department for team in control.teams}
    departments |= {team.name: team.department for team in settings.teams.values()}
    records = (*(record for record in records if record.revoked_at_us is None), *declared_keys(settings, pepper))
    return Keyring(pepper, {record.digest: _caller(departments, record) for record in records})


def key_names(keyring: Keyring, records: Iterable[KeyRecord]) -> dict[str, str]:
    """Id -> name of all keys, those included that were revoked or rotated: what they spent is still their name's."""
    return {record.id: record.name for record in records} | keyring.names()


def price_pairs(settings: Settings, direct: Iterable[Target] = ()) -> list[tuple[str | None, str]]:
    """What the price library must be asked for: targets without a declared price, `direct` ones that callers named
    included."""
    configured = (target for one in settings.endpoints.values() for target in (*one.targets, *one.fallbacks))
    pairs: dict[tuple[str | None, str], None] = {}
    for target in (*configured, *direct):
        pair = _pair(settings, target.provider, target.model)
        if settings.rates_for(target.provider, target.model) is None and pair[0] is not None:
            pairs[pair] = None
    return list(pairs)


def _caller(departments: Mapping[str, str | None], record: KeyRecord) -> Caller:
    return Caller(
        key_id=record.id,
        key_name=record.name,
        user=record.user,
        team=record.team,
        department=None if record.team is None else departments.get(record.team),
        role=record.role,
        endpoints=frozenset(record.endpoints),
        expires_at_us=record.expires_at_us,
        on_behalf=record.on_behalf,
    )


def _endpoint(settings: Settings, prices: PriceBook, one: EndpointSettings) -> Endpoint:
    def target(wanted: TargetSettings) -> Target:
        rates = _rates(settings, prices, wanted.provider, wanted.model)
        return Target(
            provider=wanted.provider,
            model=wanted.model,
            weight=wanted.weight,
            rates=None if rates is MISSING else rates,  # type: ignore[arg-type]
        )

    return Endpoint(
        name=one.name,
        targets=tuple(target(wanted) for wanted in one.targets),
        fallbacks=tuple(target(wanted) for wanted in one.fallbacks),
        timeouts=one.timeouts,
        log=one.log,
        durability=one.durability,
    )


def _rates(settings: Settings, prices: PriceBook, provider: str, model: str) -> object:
    """Declared price, then the library's, then the rate for unknown ones. MISSING: nobody has looked yet."""
    declared = settings.rates_for(provider, model)
    if declared is not None:
        return declared
    default = settings.unknown_price if isinstance(settings.unknown_price, Rates) else None
    price_provider, name = _pair(settings, provider, model)
    if price_provider is None:
        return default
    found = prices.get(price_provider, name)
    if not isinstance(found, Rates):
        return default if found is None else found
    return found if default is None else found.with_unknown_tiers(default)


def _pair(settings: Settings, provider: str, model: str) -> tuple[str | None, str]:
    return CATALOG[settings.providers[provider].type].price_provider, model
