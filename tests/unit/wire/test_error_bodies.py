"""Refusals as clients see them: the envelope of official SDKs, headers they obey, and values that cannot do harm."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sekisho.domain.errors import Refusal
from sekisho.wire import errors


def rendered(refusal: Refusal, language: Any = "en") -> dict[str, Any]:
    return json.loads(errors.render(refusal, "req_1", language))["error"]


def test_the_envelope_has_what_official_sdks_read() -> None:
    refusal = Refusal(404, "model_not_found", param="model", model="gpt-x", detail="row only")
    assert rendered(refusal) == {
        "message": "The model gpt-x does not exist, or this API key may not use it. "
        "GET /v1/models lists what it may use.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
        "request_id": "req_1",
    }


def test_the_message_is_in_the_language_of_the_caller() -> None:
    refusal = Refusal(401, "invalid_api_key", message="missing_api_key")
    assert rendered(refusal, "ja")["message"].startswith("API キーが送信されていません。")
    assert rendered(refusal, "ja")["code"] == "invalid_api_key"


def test_a_reason_is_filled_in_both_languages() -> None:
    refusal = Refusal(400, "invalid_value", param="n", reason="it must have at most {most} characters", most=9)
    assert "it must have at most 9 characters." in rendered(refusal)["message"]
    assert "9 文字以下で指定してください。" in rendered(refusal, "ja")["message"]


def test_kinds_of_things_are_named_in_the_language_of_the_caller_and_facts_for_programs_are_not() -> None:
    facts = dict.fromkeys(("limit_usd", "spent_usd", "reserved_usd", "wanted_usd"), "1")
    scope = "department 営業部, user key, feature team 要約"
    error = rendered(Refusal(429, "budget_exceeded", scope=scope, resets_at="2026-12-01", **facts), "ja")
    assert error["message"].startswith("部署 営業部、ユーザー key、機能 team 要約 の予算に")
    assert error["scope"] == scope
    missing = Refusal(404, "object_not_found", kind="team", name="team")
    assert rendered(missing, "ja")["message"].startswith("チーム team はありません。")
    assert rendered(missing)["message"].startswith("There is no team team.")


def test_a_reason_longer_than_a_value_is_not_cut() -> None:
    reason = "it must be a non-empty string, or a non-empty array of strings, tokens or arrays of tokens"
    assert reason in rendered(Refusal(400, "invalid_value", param="input", reason=reason))["message"]


def test_upstream_rejections_name_the_field_where_there_is_one() -> None:
    assert "`temperature`" in rendered(Refusal(400, "upstream_rejected", param="temperature"))["message"]
    assert "`" not in rendered(Refusal(400, "upstream_rejected"))["message"]


@pytest.mark.parametrize(
    "value", ["a\r\nb", "a\x00b", "\u202eevil", "x" * 5000, "{param}", "{model}", "%s", "関" * 200]
)
def test_a_value_of_the_caller_stays_one_short_printable_line(value: str) -> None:
    error = rendered(Refusal(400, "forbidden_field", param=value))
    assert error["message"].isprintable()
    assert len(error["message"]) < 400
    assert len(error["param"]) <= 80


def test_an_unknown_code_reads_as_our_mistake_and_keeps_its_code() -> None:
    error = rendered(Refusal(500, "never_heard_of"))
    assert error["code"] == "never_heard_of"
    assert error["message"].startswith("The gateway made a mistake.")


@pytest.mark.parametrize(
    ("after_s", "seconds", "milliseconds"),
    [(0.0, "1", "1"), (0.0042, "1", "5"), (1.0, "1", "1000"), (1.2, "2", "1200"), (1e300, "31622400", "31622400000")],
)
def test_retry_after_is_whole_seconds_rounded_up_and_at_least_one(
    after_s: float, seconds: str, milliseconds: str
) -> None:
    found = errors.headers(Refusal(429, "rate_limit_exceeded", retry_after_s=after_s))
    assert found == {"retry-after": seconds, "retry-after-ms": milliseconds}


@pytest.mark.parametrize(
    ("retry", "expected"), [(None, {}), (True, {"x-should-retry": "true"}), (False, {"x-should-retry": "false"})]
)
def test_sdks_are_told_whether_to_retry_only_where_it_was_decided(retry: bool | None, expected: dict[str, str]) -> None:
    assert errors.headers(Refusal(502, "upstream_error", retry=retry)) == expected


def test_headers_of_a_refusal_come_along_in_lower_case() -> None:
    refusal = Refusal(405, "method_not_allowed", headers={"Allow": "POST"}, method="GET", retry_after_s=float("nan"))
    assert errors.headers(refusal) == {"allow": "POST"}
