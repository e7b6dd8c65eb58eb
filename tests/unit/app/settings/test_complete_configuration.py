"""A configuration that uses every key is read as it was meant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
import yaml

from sekisho.app.settings import Settings, parse
from sekisho.domain.endpoint import Timeouts
from sekisho.domain.money import MediaRates, Rates, RateTier
from sekisho.domain.spending import Budget, Limit
from sekisho.tables.storage import Cadence, Storage

Parse = Callable[..., Settings]

_PROVIDERS = 'providers: {local: {type: openai, base_url: "https://llm.example.com/v1"}}\n'


@pytest.fixture
def settings(read: Parse, complete: str) -> Settings:
    return read(complete)


def test_paths_count_from_the_folder_of_the_file(settings: Settings, tmp_path: Path) -> None:
    assert settings.data_dir == tmp_path / "data"
    assert settings.database_path == tmp_path / "data" / "control.db"


def test_providers_keep_their_credentials_and_headers(settings: Settings) -> None:
    openai, local = settings.providers["openai"], settings.providers["local"]

    assert openai.base_url is None
    assert openai.api_key is not None
    assert openai.api_key.reveal() == "sk-provider-secret-1"
    assert {name: value.reveal() for name, value in openai.headers.items()} == {
        "x-project": "p 1",
        "x-token": "Bearer token-secret-2",
    }
    assert (local.base_url, local.allow_private, local.api_key) == ("http://127.0.0.1:9101/v1", True, None)


def test_endpoints_inherit_the_defaults(settings: Settings) -> None:
    chat, small = settings.endpoints["chat"], settings.endpoints["small"]

    assert [(target.provider, target.model, target.weight) for target in chat.targets] == [
        ("openai", "gpt-4o-mini", 70),
        ("local", "mock-small", 30),
    ]
    assert [target.model for target in chat.fallbacks] == ["mock-large"]
    assert chat.timeouts == Timeouts(connect_s=2.5, first_token_s=120, idle_s=30, total_s=300)
    assert (chat.log, small.log) == ("full", "metadata")
    assert small.timeouts == Timeouts(connect_s=3, total_s=300)


def test_defaults_decide_what_an_endpoint_leaves_open(read: Parse, complete: str) -> None:
    settings = read(complete.replace("defaults: {log: metadata", "defaults: {log: full"))

    assert settings.endpoints["small"].log == "full"


def test_keys_are_declared_in_order(settings: Settings) -> None:
    app, audit = settings.keys

    assert (app.name, app.team, app.user, app.role) == ("app", "research", "taro", "user")
    assert app.endpoints == ("chat", "local/*")
    assert app.key.reveal() == "app-key-secret-0003"
    assert (audit.role, audit.endpoints, audit.on_behalf) == ("auditor", (), True)
    assert settings.admin_key is not None


def test_a_day_of_expiry_holds_to_its_end_in_the_zone_of_the_file(settings: Settings) -> None:
    expires = settings.keys[1].expires

    assert expires is not None
    assert expires.astimezone(UTC) == datetime(2027, 3, 31, 15, tzinfo=UTC)


def test_prices_are_exact_nano_dollars(settings: Settings) -> None:
    version = settings.digest

    assert settings.prices["openai/gpt-4o-mini"] == Rates(
        input_nanos_per_mtok=150_000_000,
        cached_input_nanos_per_mtok=75_000_000,
        output_nanos_per_mtok=600_000_000,
        version=version,
    )
    assert settings.unknown_price == Rates(
        input_nanos_per_mtok=3_000_000_000, output_nanos_per_mtok=15_000_000_000, version=version
    )


def test_a_price_may_have_size_tiers_service_tiers_sound_and_pictures(settings: Settings) -> None:
    usd, version = 1_000_000_000, settings.digest
    assert settings.prices["local/large"] == Rates(
        input_nanos_per_mtok=3 * usd,
        cached_input_nanos_per_mtok=300_000_000,
        cache_write_nanos_per_mtok=3_750_000_000,
        cache_write_1h_nanos_per_mtok=6 * usd,
        output_nanos_per_mtok=15 * usd,
        media=MediaRates(
            input_audio_nanos_per_mtok=32 * usd,
            cached_audio_nanos_per_mtok=400_000_000,
            output_audio_nanos_per_mtok=64 * usd,
            input_image_nanos_per_mtok=5 * usd,
            cached_image_nanos_per_mtok=500_000_000,
            output_image_nanos_per_mtok=40 * usd,
        ),
        tiers=(
            RateTier(
                over_input_tokens=200_000,
                input_nanos_per_mtok=6 * usd,
                cached_input_nanos_per_mtok=600_000_000,
                cache_write_nanos_per_mtok=7_500_000_000,
                cache_write_1h_nanos_per_mtok=12 * usd,
                output_nanos_per_mtok=22_500_000_000,
            ),
        ),
        service_tiers=(
            (
                "batch",
                Rates(input_nanos_per_mtok=1_500_000_000, output_nanos_per_mtok=7_500_000_000, version=version),
            ),
        ),
        version=version,
    )


def test_a_service_tier_may_have_all_that_a_price_may_have(read: Parse) -> None:
    priced = """
prices:
  local/large:
    input_per_mtok: 3
    output_per_mtok: 15
    audio_output_per_mtok: 64
    service_tiers:
      Flex:
        input_per_mtok: 1.5
        output_per_mtok: 7.5
        audio_output_per_mtok: 32
        size_tiers: [{over_input_tokens: 200000, output_per_mtok: 12}]
"""
    settings = read(_PROVIDERS + priced)
    usd, version = 1_000_000_000, settings.digest
    assert settings.prices["local/large"].service_tiers == (
        (
            "flex",
            Rates(
                input_nanos_per_mtok=1_500_000_000,
                output_nanos_per_mtok=7_500_000_000,
                media=MediaRates(output_audio_nanos_per_mtok=32 * usd),
                tiers=(RateTier(over_input_tokens=200_000, output_nanos_per_mtok=12 * usd),),
                version=version,
            ),
        ),
    )


def test_a_price_for_all_models_of_a_provider_stands_behind_an_exact_one(settings: Settings) -> None:
    anything = settings.rates_for("local", "whatever/model")

    assert anything is not None
    assert anything.cache_write_nanos_per_mtok == 1_250_000_000
    assert settings.rates_for("openai", "gpt-4o-mini") == settings.prices["openai/gpt-4o-mini"]
    assert settings.rates_for("openai", "gpt-4o") is None


def test_money_and_language_of_the_installation(settings: Settings) -> None:
    assert (settings.currency, settings.fx_rates) == ("JPY", ((date(2026, 11, 1), Decimal("151.25")),))
    assert (settings.language, settings.log_level, settings.timezone) == ("ja", "debug", "Asia/Tokyo")


def test_the_tables_are_in_a_bucket(settings: Settings) -> None:
    storage, cadence = settings.storage, settings.tables.cadence
    assert storage.url == "s3://company-rows/sekisho/prod"
    assert storage.s3 is not None
    assert (storage.s3.endpoint, storage.s3.region) == ("http://minio.internal:9000", "us-east-1")
    assert storage.s3.access_key_id.reveal() == "s3-key-secret-0006"
    assert storage.s3.secret_access_key.reveal() == "s3-secret-secret-0007"
    assert (cadence.every_s, cadence.rows, cadence.bytes) == (2.5, 100, 4 * 1024 * 1024)


def test_without_a_word_the_tables_are_in_the_data_folder(read: Parse, tmp_path: Path) -> None:
    settings = read(_PROVIDERS + "data_dir: d")
    assert settings.storage == Storage.folder(tmp_path / "d" / "tables")
    assert settings.tables.cadence == Cadence()
    for written in ("../shared/tables", '"${data_dir}/../../shared/tables"'):
        settings = read(_PROVIDERS + f"data_dir: d\ntables: {{url: {written}}}")
        assert settings.storage.path == tmp_path.parent / "shared" / "tables"


def test_the_address_of_aws_is_made_from_its_region(read: Parse) -> None:
    keys = "access_key_id: '${env:S3_KEY}', secret_access_key: '${env:S3_SECRET}'"
    settings = read(_PROVIDERS + f"tables: {{url: s3://rows, s3: {{region: ap-northeast-1, {keys}}}}}")
    assert settings.storage.s3 is not None
    assert settings.storage.s3.endpoint == "https://s3.ap-northeast-1.amazonaws.com"


def test_rates_of_several_days_are_kept_in_their_order() -> None:
    fx = "fx: {usd_jpy: {2026-11-01: 150.0, 2026-10-01: 148.25}}"
    settings = parse(f"providers: {{local: {{type: vllm}}}}\ncurrency: JPY\n{fx}\n", "sekisho.yaml", {})
    assert settings.fx_rates == ((date(2026, 10, 1), Decimal("148.25")), (date(2026, 11, 1), Decimal("150.0")))


@pytest.mark.parametrize(
    ("rates", "usd"),
    [
        ("{2026-11-01: 150, 2026-10-01: 125}", 100),
        ("{2026-11-01: 150, 2999-01-01: 300}", 100),
        ("{2999-01-01: 300, 2998-01-01: 150}", 100),
    ],
    ids=["the last that has begun", "one that has not begun", "none has begun: the first"],
)
def test_a_budget_in_yen_takes_the_rate_of_today(rates: str, usd: int) -> None:
    text = f"providers: {{local: {{type: vllm}}}}\nfx: {{usd_jpy: {rates}}}\n"
    (budget,) = parse(text + "budgets: [{scope: {team: '*'}, jpy: 15000}]\n", "sekisho.yaml", {}).budgets
    assert budget.amount_nanos == usd * 10**9


@pytest.mark.parametrize(("timezone", "usd"), [("Pacific/Kiritimati", 50), ("Pacific/Pago_Pago", 100)])
def test_today_is_a_day_of_the_configured_time_zone(timezone: str, usd: int) -> None:
    # 25 hours lie between these two, so it is never the same day there
    begins = datetime.now(ZoneInfo("Pacific/Kiritimati")).date()
    text = f"providers: {{local: {{type: vllm}}}}\ntimezone: {timezone}\n"
    text += f"fx: {{usd_jpy: {{2026-01-01: 150, {begins}: 300}}}}\nbudgets: [{{scope: {{team: '*'}}, jpy: 15000}}]\n"
    (budget,) = parse(text, "sekisho.yaml", {}).budgets
    assert budget.amount_nanos == usd * 10**9


def test_the_server(settings: Settings) -> None:
    assert settings.server.max_body_bytes == 8 * 1024 * 1024
    assert (settings.server.keepalive_s, settings.server.shutdown_s) == (5.0, 12.5)
    assert settings.server.metrics_port is None


def test_budgets_and_limits_become_rules(settings: Settings) -> None:
    assert settings.budgets == (
        Budget(scope=(("team", "research"),), amount_nanos=100_000_000_000),
        # 15,000 yen at 151.25
        Budget(
            scope=(("user", "*"),),
            amount_nanos=99_173_553_719,
            period="day",
            on_exceed="degrade",
            degrade_to="small",
            strict=True,
        ),
    )
    assert settings.limits == (
        Limit(scope=(("key", "app"),), qpm=60, tpm=40000, concurrency=5, burst_s=10, wait_s=2.5),
    )
    assert settings.endpoints["chat"].limits == Limit(scope=(("endpoint", "chat"),), qpm=600, tpm=200000)
    assert settings.endpoints["small"].limits is None
    assert settings.defaults.limits == Limit(scope=(("endpoint", "*"),), qpm=10)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("memory://", None),
        ("redis://redis.example:6380/2", "redis://redis.example:6380/2"),
        ("rediss://me:${env:TOKEN}@redis.example", "rediss://me:token-secret-2@redis.example"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
    ],
)
def test_counters_live_where_state_says(read: Parse, complete: str, written: str, kept: str | None) -> None:
    settings = read(complete.replace("{url: memory://}", f'{{url: "{written}"}}'))

    assert (settings.state_url and settings.state_url.reveal()) == kept
    assert "token-secret-2" not in repr(settings)


def test_control_data_may_be_in_postgresql(read: Parse, complete: str) -> None:
    url = "postgresql://sekisho:${env:TOKEN}@db.example/sekisho"
    settings = read(complete.replace("sqlite:///${data_dir}/control.db", url))

    assert settings.database_url is not None
    assert settings.database_url.reveal() == "postgresql://sekisho:token-secret-2@db.example/sekisho"
    assert "token-secret-2" not in repr(settings)


def test_teams_may_be_declared_with_their_name_alone(settings: Settings) -> None:
    assert settings.teams["research"].department == "rd"
    assert settings.teams["sales"].department is None


def test_the_digest_follows_the_text_and_not_the_secrets(
    read: Parse, complete: str, environ: dict[str, str], settings: Settings
) -> None:
    environ["APP_KEY"] = "another-key-secret-0003"

    assert read(complete).digest == settings.digest
    assert read(complete + "# a remark\n").digest != settings.digest
    assert len(settings.digest) == 12


def test_what_is_not_written_has_a_default(read: Parse) -> None:
    settings = read("providers: {local: {type: openai, base_url: https://llm.example.com}}")

    assert (settings.timezone, settings.currency, settings.language, settings.log_level) == ("UTC", "USD", "en", "info")
    assert settings.unknown_price == "allow"
    assert (settings.keys, settings.endpoints, settings.warnings) == ((), {}, ())
    assert settings.data_dir.name == "sekisho-data"


def test_json_is_the_yaml_it_is(read: Parse, complete: str, settings: Settings) -> None:
    as_json = msgspec.json.format(msgspec.json.encode(yaml.safe_load(complete)), indent=2).decode()

    for style in (as_json, as_json.replace("\n  ", "\n\t"), as_json.replace("\n", "")):
        assert _comparable(read(style)) == _comparable(settings)


def test_anchors_and_merge_keys_stand_for_what_they_name(read: Parse) -> None:
    settings = read(
        "providers:\n  local: &local {type: openai, base_url: https://a.example.com}\n"
        "  other: {<<: *local, base_url: https://b.example.com}\n  third: *local\n"
    )

    assert [provider.base_url for provider in settings.providers.values()] == [
        "https://a.example.com",
        "https://b.example.com",
        "https://a.example.com",
    ]


def test_a_byte_order_mark_is_no_part_of_the_text(read: Parse, complete: str, settings: Settings) -> None:
    assert read("\ufeff" + complete).digest == settings.digest


def test_names_of_people_are_taken_in_their_normal_form(read: Parse) -> None:
    settings = read(
        "providers: {local: {type: openai, base_url: https://a.example.com}}\n"
        "teams: {Ａ１: {department: 研究　開発}}\n"
        "keys: [{name: ｋｅｙ, key: '${env:APP_KEY}', team: A1, user: 太郎}]\n"
    )

    assert list(settings.teams) == ["A1"]
    assert (settings.keys[0].name, settings.keys[0].team, settings.keys[0].user) == ("key", "A1", "太郎")


def _comparable(settings: Settings) -> str:
    same = msgspec.structs.replace(settings, digest="", warnings=())
    return repr(same).replace(settings.digest, "")


def test_a_feature_is_named_as_calls_have_it() -> None:
    text = 'providers: {local: {type: vllm}}\nlimits: [{scope: {feature: "要約（社内）\\u200b"}, qpm: 1}]\n'
    assert [limit.scope for limit in parse(text, "sekisho.yaml").limits] == [(("feature", "要約(社内)"),)]
