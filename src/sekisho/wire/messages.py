"""What callers are told, in English and Japanese: what was wrong, and what to do. Must not hold provider text.

A message is found by the name in `Refusal.message`, which is its code unless one code needs several. Blanks are
filled by name from `Refusal.values`, and `{param}` from `Refusal.param`. `{reason}` is English text that `REASONS`
knows in Japanese; it may hold blanks itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sekisho.domain.call import Language
from sekisho.wire import admin_messages
from sekisho.wire.bilingual import Message

MAX_VALUE_CHARS = 80
_BLANK = re.compile(r"\{([a-z_]+)\}")
_NOUN = re.compile(rf"(?:^|(, ))({'|'.join(admin_messages.NOUNS)})(?= |, |$)")


MESSAGES: dict[str, Message] = {
    # The request itself
    "invalid_json": Message(
        "The request body could not be read: {reason}. Send one JSON object in UTF-8.",
        "リクエスト本文を読み取れませんでした。{reason}UTF-8 の JSON オブジェクトを 1 つ送ってください。",
    ),
    "invalid_value": Message(
        "The value of `{param}` is not valid: {reason}. Correct it and send the request again.",
        "`{param}` の値が正しくありません。{reason}修正して、もう一度送信してください。",
    ),
    "forbidden_field": Message(
        "The field `{param}` is not allowed: the address and the credentials of a provider are set by the gateway's "
        "operator. Remove the field; name an endpoint in `model` instead.",
        "フィールド `{param}` は指定できません。接続先と認証情報はゲートウェイの管理者が設定しています。"
        "このフィールドを削除し、`model` でエンドポイント名を指定してください。",
    ),
    "context_length_exceeded": Message(
        "The input is longer than the context window of the model. Shorten the messages, lower the maximum number of "
        "output tokens, or use an endpoint with a longer window.",
        "入力がモデルのコンテキスト長を超えています。メッセージを短くするか、最大出力トークン数を下げるか、"
        "コンテキスト長の大きいエンドポイントを使用してください。",
    ),
    "input_too_long": Message(
        "The input is longer than the context window of the model. Shorten the texts in `input`, or use an endpoint "
        "with a longer window.",
        "入力がモデルのコンテキスト長を超えています。`input` のテキストを短くするか、コンテキスト長の大きい"
        "エンドポイントを使用してください。",
    ),
    "message_too_long": Message(
        "The input is longer than the context window of the model. Shorten the message or its history, or use an "
        "endpoint with a longer window.",
        "入力がモデルのコンテキスト長を超えています。メッセージまたは履歴を短くするか、コンテキスト長の大きい"
        "エンドポイントを使用してください。",
    ),
    "content_policy_violation": Message(
        "The request was refused by a content policy. Change the content and send it again.",
        "コンテンツポリシーによりリクエストが拒否されました。内容を変更して、もう一度送信してください。",
    ),
    "bad_http": Message(
        "The HTTP request could not be read. Check the client or the proxy in front of it.",
        "HTTP リクエストを解釈できませんでした。クライアントまたは経路上のプロキシを確認してください。",
    ),
    "not_found": Message(
        "There is no route {path}. Check the path; the base URL of OpenAI clients ends with /v1.",
        "パス {path} は存在しません。パスを確認してください。OpenAI クライアントのベース URL は /v1 で終わります。",
    ),
    "method_not_allowed": Message(
        "This route does not accept {method}. Use the method named in the `allow` header.",
        "このパスでは {method} を使用できません。`allow` ヘッダーに示されたメソッドを使用してください。",
    ),
    "request_too_large": Message(
        "The request body is larger than {limit_mb} MiB. Send less, or ask the gateway's operator to raise the limit.",
        "リクエスト本文が上限の {limit_mb} MiB を超えています。サイズを小さくするか、"
        "ゲートウェイの管理者に上限の引き上げを依頼してください。",
    ),
    "unsupported_media_type": Message(
        "The content type is not supported. Send `content-type: application/json`.",
        "この Content-Type には対応していません。`content-type: application/json` で送信してください。",
    ),
    "unsupported_encoding": Message(
        "The content encoding {encoding} is not supported. Send the body as it is or with gzip.",
        "Content-Encoding {encoding} には対応していません。無圧縮または gzip で送信してください。",
    ),
    "header_too_large": Message(
        "The request headers are larger than {limit_kb} KiB. Send fewer or shorter headers.",
        "リクエストヘッダーが上限の {limit_kb} KiB を超えています。ヘッダーの数または長さを減らしてください。",
    ),
    "idempotency_key_in_use": Message(
        "Another call with this Idempotency-Key is still running. Wait as long as the `retry-after` header says and "
        "send the request again: once it is answered you get its answer.",
        "同じ Idempotency-Key のリクエストを処理中です。`retry-after` ヘッダーに示された時間だけ待ってから、"
        "もう一度送信してください。処理が終わっていれば、その応答をお返しします。",
    ),
    "idempotency_key_reused": Message(
        "This Idempotency-Key was used with another request body within the last 24 hours. Use a new key for a new "
        "request; send the same body to get the answer again.",
        "この Idempotency-Key は、過去 24 時間以内に別のリクエスト本文で使用されています。"
        "新しいリクエストには新しいキーを使用してください。同じ本文を送信すると、以前の応答を受け取れます。",
    ),
    # Keys and models
    "missing_api_key": Message(
        "No API key was sent. Send one as `Authorization: Bearer <key>`, or in `x-api-key`, `x-goog-api-key` or "
        "`api-key`.",
        "API キーが送信されていません。`Authorization: Bearer <キー>`、または `x-api-key`、`x-goog-api-key`、"
        "`api-key` のいずれかのヘッダーで送信してください。",
    ),
    "repeated_api_key": Message(
        "The same header was sent twice with different API keys or credentials. Send it once.",
        "同じヘッダーが、異なる API キーまたは認証情報で 2 回送信されています。1 回だけ送信してください。",
    ),
    "invalid_api_key": Message(
        "The API key is not valid. Check it, or ask the gateway's operator for a new one.",
        "API キーが正しくありません。キーを確認するか、ゲートウェイの管理者に新しいキーの発行を依頼してください。",
    ),
    "expired_api_key": Message(
        "The API key has expired. Ask the gateway's operator for a new one.",
        "API キーの有効期限が切れています。ゲートウェイの管理者に新しいキーの発行を依頼してください。",
    ),
    "conflicting_credentials": Message(
        "Two different API keys were sent in different headers. Send only one.",
        "異なるヘッダーで異なる API キーが送信されました。キーは 1 つだけ送信してください。",
    ),
    "model_not_allowed": Message(
        "This API key may not use the model {model}. Use another model, or ask the gateway's operator for access.",
        "この API キーではモデル {model} を使用できません。別のモデルを指定するか、"
        "ゲートウェイの管理者に利用権限を依頼してください。",
    ),
    "model_not_found": Message(
        "The model {model} does not exist, or this API key may not use it. GET /v1/models lists what it may use.",
        "モデル {model} は存在しないか、この API キーでは使用できません。"
        "使用できるモデルは GET /v1/models で確認できます。",
    ),
    "price_unknown": Message(
        "The price of {model} is not known, and this gateway refuses calls without a price. Use another model, or ask "
        "the gateway's operator to enter a price.",
        "{model} の価格が不明なため、このゲートウェイでは呼び出しを受け付けていません。"
        "別のモデルを使用するか、ゲートウェイの管理者に価格の登録を依頼してください。",
    ),
    # Limits
    "rate_limit_exceeded": Message(
        "The rate limit is exceeded. Wait as long as the `retry-after` header says and try again.",
        "レート制限を超えました。`retry-after` ヘッダーに示された時間だけ待ってから、もう一度お試しください。",
    ),
    "budget_exceeded": Message(
        "The budget of {scope} has no room for this call: of {limit_usd} USD, {spent_usd} are spent and {reserved_usd} "
        "reserved for running calls, and this call wants {wanted_usd}. A smaller `max_tokens` or a shorter input wants "
        "less. The budget begins anew at {resets_at}.",
        "{scope} の予算に、この呼び出しの分が残っていません。{limit_usd} USD のうち {spent_usd} USD を使用済み、"
        "{reserved_usd} USD を実行中の呼び出しのために予約しており、"
        "この呼び出しには {wanted_usd} USD の予約が必要です。"
        "`max_tokens` を小さくするか入力を短くすると、必要な額は減ります。予算は {resets_at} にリセットされます。",
    ),
    "upstream_rate_limit": Message(
        "The provider of the model is limiting requests at present. Wait as long as the `retry-after` header says and "
        "try again.",
        "現在、モデルのプロバイダーでリクエストが制限されています。"
        "`retry-after` ヘッダーに示された時間だけ待ってから、もう一度お試しください。",
    ),
    # Providers
    "upstream_rejected": Message(
        "The provider of the model did not accept the request. Check the parameters that this model supports.",
        "モデルのプロバイダーがリクエストを受け付けませんでした。このモデルで使用できるパラメーターを確認してください。",
    ),
    "upstream_rejected_param": Message(
        "The provider of the model did not accept `{param}`. Check which parameters and values this model supports.",
        "モデルのプロバイダーが `{param}` を受け付けませんでした。"
        "このモデルで使用できるパラメーターと値を確認してください。",
    ),
    "upstream_request_too_large": Message(
        "The request is larger than the provider of the model accepts. Send less, above all fewer or smaller images.",
        "リクエストがモデルのプロバイダーの上限サイズを超えています。画像を減らすなどして、サイズを小さくしてください。",
    ),
    "upstream_credentials": Message(
        "The provider did not accept the gateway's own credentials. Your API key is not the cause; tell the gateway's "
        "operator the request id.",
        "モデルのプロバイダーがゲートウェイ側の認証情報を受け付けませんでした。お使いの API キーの問題ではありません。"
        "リクエスト ID を添えてゲートウェイの管理者に連絡してください。",
    ),
    "upstream_model_not_found": Message(
        "The provider does not know the model that this endpoint is configured with. Tell the gateway's operator the "
        "request id.",
        "このエンドポイントに設定されたモデルが、プロバイダーに存在しません。"
        "リクエスト ID を添えてゲートウェイの管理者に連絡してください。",
    ),
    "upstream_error": Message(
        "The provider of the model failed. Try again later; if it goes on, tell the gateway's operator the request id.",
        "モデルのプロバイダーでエラーが発生しました。しばらくしてからもう一度お試しください。"
        "解消しない場合は、リクエスト ID を添えてゲートウェイの管理者に連絡してください。",
    ),
    "upstream_timeout": Message(
        "The provider of the model did not answer in time. Try again, or use a shorter input.",
        "モデルのプロバイダーから時間内に応答がありませんでした。もう一度お試しいただくか、入力を短くしてください。",
    ),
    "no_healthy_target": Message(
        "No provider behind this endpoint is available at present. Wait as long as the `retry-after` header says and "
        "try again.",
        "現在、このエンドポイントで利用できるプロバイダーがありません。"
        "`retry-after` ヘッダーに示された時間だけ待ってから、もう一度お試しください。",
    ),
    # Streams that had begun
    "stream_truncated": Message(
        "The provider ended the answer before it was complete. What has arrived is not the whole answer; try again.",
        "モデルのプロバイダーからの応答が途中で終了しました。受信済みの内容は完全ではありません。もう一度お試しください。",
    ),
    "stream_failed": Message(
        "The provider reported an error in the middle of the answer. What has arrived is not the whole answer; try "
        "again.",
        "応答の途中でモデルのプロバイダーにエラーが発生しました。受信済みの内容は完全ではありません。"
        "もう一度お試しください。",
    ),
    "stream_interrupted": Message(
        "The gateway is being stopped and had to end the answer. What has arrived is not the whole answer; try again.",
        "ゲートウェイの停止に伴い、応答を中断しました。受信済みの内容は完全ではありません。もう一度お試しください。",
    ),
    # The gateway
    "shutting_down": Message(
        "The gateway is being stopped. Try again in a moment.",
        "ゲートウェイを停止しています。しばらくしてからもう一度お試しください。",
    ),
    "metrics_unavailable": Message(
        "The counters of all workers cannot be had just now, and those of one would mislead. Try again in a moment.",
        "全ワーカーの集計を今は取得できません。1 ワーカーの値では誤解を招くため返しません。"
        "しばらくしてからもう一度お試しください。",
    ),
    "rows_unavailable": Message(
        "The gateway cannot keep its records just now and takes no calls until it can. Try again in a moment.",
        "ゲートウェイが記録を保存できない状態のため、呼び出しを受け付けていません。"
        "しばらくしてからもう一度お試しください。",
    ),
    "store_unavailable": Message(
        "A store that the gateway needs does not answer. Try again later; if it goes on, tell the gateway's operator "
        "the request id.",
        "ゲートウェイが使用するデータストアが応答していません。しばらくしてからもう一度お試しください。"
        "解消しない場合は、リクエスト ID を添えてゲートウェイの管理者に連絡してください。",
    ),
    "internal_error": Message(
        "The gateway made a mistake. Tell its operator the request id.",
        "ゲートウェイで内部エラーが発生しました。リクエスト ID を添えて管理者に連絡してください。",
    ),
    **admin_messages.MESSAGES,
}

#: English reason -> a Japanese sentence
REASONS: dict[str, str] = {
    "it is missing": "必須ですが、指定されていません。",
    "it must be a string": "文字列で指定してください。",
    "it must be a non-empty string": "空でない文字列で指定してください。",
    "it must be true or false": "true または false で指定してください。",
    "it must be an object": "オブジェクトで指定してください。",
    "it must be an array": "配列で指定してください。",
    "it must have 1 to {most} printable characters": "表示可能な 1 文字以上 {most} 文字以下で指定してください。",
    "it must have 1 to {most} visible ASCII characters, and be sent once": (
        "表示可能な ASCII 文字 1 文字以上 {most} 文字以下で、1 回だけ指定してください。"
    ),
    "it must have at most {most} characters": "{most} 文字以下で指定してください。",
    "it must have at most {most} pairs": "{most} 組以下で指定してください。",
    "it is longer than {most} pairs can be": "長すぎます。{most} 組以下で指定してください。",
    "it must be an object of strings": "値がすべて文字列のオブジェクトで指定してください。",
    "its keys may have {name_chars} and its values {value_chars} characters at most": (
        "キーは {name_chars} 文字以下、値は {value_chars} 文字以下で指定してください。"
    ),
    "it must be an array with at least one message": "1 件以上のメッセージを含む配列で指定してください。",
    "it must be a string or an array of content parts": "文字列、またはコンテンツパートの配列で指定してください。",
    "it must be an object whose `include_usage` is true or false": (
        "`include_usage` が true または false のオブジェクトで指定してください。"
    ),
    "it must be a non-empty string, or a non-empty array of strings, tokens or arrays of tokens": (
        "空でない文字列、または文字列・トークン・トークン配列からなる空でない配列で指定してください。"
    ),
    "it must be `float` or `base64`": "`float` または `base64` を指定してください。",
    "there is no such field; there are `message`, `model`, `history` and `system`": (
        "このフィールドはありません。使用できるのは `message`、`model`、`history`、`system` です。"
    ),
    'it must be an array of {"role": "user" or "assistant", "content": "…"}': (
        '{"role": "user" または "assistant", "content": "…"} の配列で指定してください。'
    ),
    "not a JSON object of strings": "値がすべて文字列の JSON オブジェクトで指定してください。",
    'not a JSON object of strings, as {"feature":"summary"}': (
        '{"feature":"summary"} のように、値がすべて文字列の JSON オブジェクトで指定してください。'
    ),
    "the key calls on behalf of this user, and the name has a character that cannot be seen: {char}": (
        "このキーはユーザーの代理で呼び出すため、この値がユーザー名になります。"
        "目に見えない文字 {char} を取り除いてください。"
    ),
    "the key calls on behalf of this user: 1 to {most} characters, not `*`, and not beginning like a key": (
        "このキーはユーザーの代理で呼び出すため、この値がユーザー名になります。1 文字以上 {most} 文字以下で、"
        "キーのような書き出しや `*` を避けて指定してください。"
    ),
    "not a valid URL": "URL の形式が正しくありません。",
    "longer than {limit} bytes": "{limit} バイト以下にしてください。",
    "it is empty": "本文が空です。",
    "it is not valid UTF-8": "UTF-8 として正しくない文字が含まれています。",
    "a character stands there by half, as \\ud83d without its other half": (
        "\\ud83d の後半がないなど、片方だけのサロゲート文字が含まれています。"
    ),
    "it is nested too deeply": "入れ子が深すぎます。",
    "it has more than {most} members": "メンバーが {most} 個を超えています。",
    "it must be a JSON object": "JSON オブジェクトではありません。",
    "it ends too early": "本文が途中で終わっています。",
    "there is a mistake at byte {byte}": "{byte} バイト目に誤りがあります。",
    "a number in it is too large": "大きすぎる数値が含まれています。",
    "the gzip body is damaged": "gzip の本文が壊れています。",
    "the gzip body is cut short": "gzip の本文が途中で切れています。",
    "the body is incomplete": "本文の一部が届いていません。",
    **admin_messages.REASONS,
}


def say(name: str, language: Language, param: str | None, values: Mapping[str, Any]) -> str:
    """The message of that name with its blanks filled; a name nobody wrote a message for reads as our mistake."""
    if param is not None and f"{name}_param" in MESSAGES:
        name = f"{name}_param"
    message = MESSAGES.get(name) or MESSAGES["internal_error"]
    known = {"param": param, **values}
    if language == "ja":
        known |= {name: nouns_in_japanese(str(values[name])) for name in ("kind", "scope") if name in values}
    reason = values.get("reason")
    if isinstance(reason, str):
        text = REASONS.get(reason, reason + "。") if language == "ja" else reason
        # a reason is our own text: only what is filled into it is cleaned and cut
        known["reason"] = _Ours(_fill(text, known))
    return _fill(message.ja if language == "ja" else message.en, known)


def nouns_in_japanese(text: str) -> str:
    """`department 営業部, feature 要約` as `部署 営業部、機能 要約`: the first word of each part is ours."""
    return _NOUN.sub(lambda part: ("、" if part[1] else "") + admin_messages.NOUNS[part[2]], text)


def blanks(text: str) -> frozenset[str]:
    """The names to be filled into a text."""
    return frozenset(_BLANK.findall(text))


def clean(value: object) -> str:
    """A value that may stand in a message: one line, printable, not longer than 80 characters."""
    if isinstance(value, _Ours):
        return value
    text = "".join(char if char.isprintable() else " " for char in str(value)[: MAX_VALUE_CHARS + 1])
    return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 1] + "…"


def language_of(accept_language: bytes | None, default: Language) -> Language:
    """Which of our languages the caller prefers by its Accept-Language header (RFC 9110, 12.5.4).

    The higher quality wins, among equals the first named; `*` and other languages leave the default.
    """
    if not accept_language:
        return default
    best: Language | None = None
    best_quality = 0.0
    for item in accept_language[:1024].decode("latin-1").split(","):
        tag, _, rest = item.partition(";")
        primary = tag.strip().lower().partition("-")[0]
        quality = _quality(rest)
        if (primary == "ja" or primary == "en") and quality > best_quality:
            best, best_quality = primary, quality
    return best or default


class _Ours(str):
    """Text of this file, already filled."""

    __slots__ = ()


def _fill(text: str, values: Mapping[str, Any]) -> str:
    return _BLANK.sub(lambda blank: clean(values.get(blank[1], "?")), text)


def _quality(parameters: str) -> float:
    """The q of one item; 1 where there is none, 0 where it cannot be read."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            value = value.strip()
            return float(value) if re.fullmatch(r"[01](\.\d{0,3})?", value) else 0.0
    return 1.0
