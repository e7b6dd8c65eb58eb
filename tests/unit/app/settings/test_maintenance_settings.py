"""`tables.retention_days`, `vacuum_days` and `maintenance`: the usual values, given ones, and mistakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sekisho.app.settings import ConfigError, Settings
from sekisho.tables.maintenance.policy import Plan, Policy

Parse = Callable[..., Settings]

BASE = 'timezone: Asia/Tokyo\nproviders: {a: {type: openai, base_url: "https://a.example/v1"}}\n'


@pytest.mark.parametrize("text", ["", "tables: {}\n", "tables: {retention_days: {}, maintenance: {}}\n"])
def test_without_a_word_about_it_the_usual_holds_in_the_time_zone_of_the_file(read: Parse, text: str) -> None:
    assert read(BASE + text).maintenance == Plan(timezone="Asia/Tokyo")
    assert Plan().policy == Policy(retention_days={"inference_log": 30, "usage": 400}, vacuum_days=7)


def test_everything_can_be_said(read: Parse) -> None:
    text = """
tables:
  retention_days: {inference_log: 7}
  vacuum_days: 2
  maintenance: {enabled: false, hour: 0, every_s: 60}
"""
    assert read(BASE + text).maintenance == Plan(
        enabled=False,
        hour=0,
        timezone="Asia/Tokyo",
        every_s=60.0,
        policy=Policy(retention_days={"inference_log": 7, "usage": 400}, vacuum_days=2),
    )


BUCKET = """
  url: s3://rows
  s3: {region: ap-northeast-1, access_key_id: "${env:S3_KEY}", secret_access_key: "${env:S3_SECRET}"}
"""


def test_a_bucket_is_not_maintained_and_that_is_said_until_the_file_says_it_too(read: Parse) -> None:
    settings = read(BASE + "tables:" + BUCKET + "  retention_days: {usage: 9}\n")
    assert settings.maintenance.enabled is False
    assert settings.maintenance.policy.retention_days["usage"] == 9
    assert [(problem.path, problem.code) for problem in settings.warnings] == [("tables.url", "unsupported")]
    assert "not maintained" in settings.warnings[0].message
    assert read(BASE + "tables:" + BUCKET + "  maintenance: {enabled: false}\n").warnings == ()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("tables: {maintenance: {hour: 24}}", "tables.maintenance.hour"),
        ("tables: {maintenance: {hours: 3}}", "tables.maintenance.hours"),
        ("tables: {maintenance: {enabled: maybe}}", "tables.maintenance.enabled"),
        ("tables: {retention_days: {usage: 0}}", "tables.retention_days.usage"),
        ("tables: {retention_days: {scores: 9}}", "tables.retention_days.scores"),
        ("tables: {retention_days: 30}", "tables.retention_days"),
        ("tables: {vacuum_days: 0}", "tables.vacuum_days"),
        ("tables: {vacuum: 7}", "tables.vacuum"),
    ],
)
def test_mistakes_have_their_place(read: Parse, text: str, path: str) -> None:
    with pytest.raises(ConfigError) as found:
        read(BASE + text)
    assert [problem.path for problem in found.value.problems] == [path]
