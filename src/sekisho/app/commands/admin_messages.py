"""What the commands say that talk to a running gateway, in English and Japanese. Must stay text."""

from __future__ import annotations

from sekisho.app.settings.messages import Say

# The way to the gateway
UNREACHED = Say(
    "unreached",
    "the gateway at {url} cannot be reached: {error}",
    "{url} のゲートウェイに接続できません: {error}",
    "is it running? `sekisho serve` starts it; --gateway URL names another one",
    "起動していますか。`sekisho serve` で起動できます。別のゲートウェイは --gateway URL で指定してください。",
)
NOT_A_GATEWAY = Say(
    "unreached",
    "what answers at {url} is no Sekisho gateway with an admin API (HTTP {status})",
    "{url} の応答は、管理 API のある Sekisho ゲートウェイのものではありません（HTTP {status}）。",
    "check --gateway, and that the gateway is of this version",
    "--gateway の指定と、ゲートウェイのバージョンを確認してください。",
)
BAD_URL = Say(
    "bad_url",
    "--gateway {url} is no address",
    "--gateway {url} はアドレスとして読めません。",
    "write it as http://127.0.0.1:4000",
    "http://127.0.0.1:4000 のように書いてください。",
)
NO_KEY = Say(
    "no_key",
    "there is no key for the admin API",
    "管理 API のキーがありません。",
    'set `admin: {{key: "${{env:SEKISHO_ADMIN_KEY}}"}}` in the configuration, or SEKISHO_ADMIN_KEY, or give --key',
    '設定に `admin: {{key: "${{env:SEKISHO_ADMIN_KEY}}"}}` を書くか、SEKISHO_ADMIN_KEY か --key で指定してください。',
)
BAD_KEY = Say(
    "bad_key",
    "the key holds characters that no HTTP header may have",
    "キーに、HTTP ヘッダーでは送れない文字が入っています。",
    "copy it again, without line breaks",
    "改行などを含めずに、もう一度コピーしてください。",
)

# Wrong usage
NOT_TEXT = Say(
    "bad_text",
    "an argument holds bytes that are no text in UTF-8",
    "引数に UTF-8 として読めないバイトが含まれています。",
)
ONE_TARGET = Say(
    "bad_choice",
    "name one of --user, --team, --model and --all",
    "--user、--team、--model、--all のどれか 1 つを指定してください。",
)
LIST_OR_LIFT = Say(
    "bad_choice",
    "--list stands alone; --lift takes no --reason",
    "--list は単独で指定してください。--lift と --reason は併用できません。",
)
NO_SCOPE = Say(
    "missing",
    "say whom it holds for",
    "だれに適用するかを指定してください。",
    "such as --team research, --user '*' (each user), --endpoint chat, or --organisation for all",
    "--team research、--user '*'（各ユーザー）、--endpoint chat、会社全体なら --organisation のように指定します。",
)
ONE_AMOUNT = Say(
    "missing",
    "give the amount, either --usd or --jpy",
    "金額を --usd か --jpy のどちらかで指定してください。",
    "such as --usd 100 or --jpy 15000",
    "--usd 100 や --jpy 15000 のように指定します。",
)
BAD_ON_EXCEED = Say(
    "bad_choice",
    "--on-exceed '{text}' is none of block, warn and degrade:ENDPOINT",
    "--on-exceed '{text}' は block、warn、degrade:エンドポイントのどれでもありません。",
)
NO_QUANTITY = Say(
    "missing",
    "a limit limits something",
    "制限する量を指定してください。",
    "give --qpm (calls a minute), --tpm (tokens a minute) or --concurrency (calls at once)",
    "--qpm（毎分の呼び出し数）、--tpm（毎分のトークン数）、--concurrency（同時呼び出し数）のどれかを指定します。",
)
BAD_QUANTITY = Say(
    "bad_number",
    "{option} {text} is neither a whole number from 1 nor none",
    "{option} {text} は 1 以上の整数でも none でもありません。",
)
NOTHING_LIMITED = Say(
    "missing",
    "limit {id} would limit nothing",
    "制限 {id} に、制限する量が残りません。",
    "`sekisho limits remove {id}` takes it away",
    "`sekisho limits remove {id}` で削除できます。",
)

# Done, and what there is not
COUNTERS_AWAY = Say(
    "",
    "The counters do not answer just now, so what was spent and used is not shown.",
    "カウンターが応答していないため、使用状況は表示できません。",
)
NOTHING = Say("", "There is none yet.", "まだ 1 件もありません。")
BUDGET_SET = Say(
    "",
    "Budget {id} is set. It holds within 5 seconds.",
    "予算 {id} を設定しました。5 秒以内に有効になります。",
)
LIMIT_SET = Say(
    "",
    "Limit {id} is set. It holds within 5 seconds.",
    "制限 {id} を設定しました。5 秒以内に有効になります。",
)
REMOVED = Say("", "{id} is removed.", "{id} を削除しました。")
TEAM_SET = Say("", "Team {name} is set.", "チーム {name} を設定しました。")
USER_SET = Say("", "User {name} is set.", "ユーザー {name} を設定しました。")
USER_REMOVED = Say(
    "",
    "User {name} is removed; keys that end with it: {revoked}",
    "ユーザー {name} を削除しました。失効したキー: {revoked}",
)
KEYS_REMAIN = Say(
    "",
    "Keys of the file still name {name}: {remaining}. Remove them there, or stop the user: sekisho stop --user {name}",
    "設定ファイルのキーがまだ {name} を指しています: {remaining}。"
    "ファイルから削除するか、sekisho stop --user {name} で停止してください。",
)
STOPPED = Say(
    "",
    "Stopped: {what}. It holds within 5 seconds, for running streams too. To let it go on: sekisho stop --lift {words}",
    "停止しました: {what}。実行中のストリームを含め、5 秒以内に有効になります。"
    "再開するには: sekisho stop --lift {words}",
)
LIFTED = Say("", "May go on: {what}.", "再開しました: {what}。")
NOT_STOPPED = Say(
    "not_found",
    "{what} is not stopped",
    "{what} は停止されていません。",
    "`sekisho stop --list` shows what is",
    "`sekisho stop --list` で、停止中のものを確認できます。",
)
EVERYTHING = Say("", "everything", "すべて")
NONE = Say("", "none", "なし")

# Columns, by the names they have in CSV
HEADINGS = {
    "id": Say("", "ID", "ID"),
    "name": Say("", "NAME", "名前"),
    "team": Say("", "TEAM", "チーム"),
    "department": Say("", "DEPARTMENT", "部署"),
    "keys": Say("", "KEYS", "キー"),
    "stopped": Say("", "STOPPED", "停止"),
    "scope": Say("", "SCOPE", "範囲"),
    "period": Say("", "PERIOD", "期間"),
    "on_exceed": Say("", "ON EXCEED", "超過時"),
    "limit_usd": Say("", "LIMIT USD", "上限 USD"),
    "spent_usd": Say("", "SPENT USD", "使用済み USD"),
    "reserved_usd": Say("", "RESERVED USD", "予約中 USD"),
    "remaining_usd": Say("", "REMAINING USD", "残り USD"),
    "percent": Say("", "%", "%"),
    "limit_jpy": Say("", "LIMIT JPY", "上限 円"),
    "spent_jpy": Say("", "SPENT JPY", "使用済み 円"),
    "remaining_jpy": Say("", "REMAINING JPY", "残り 円"),
    "resets_at": Say("", "RESETS AT ({zone})", "リセット日時（{zone}）"),
    "qpm": Say("", "QPM", "QPM"),
    "remaining_requests": Say("", "LEFT", "残り"),
    "tpm": Say("", "TPM", "TPM"),
    "remaining_tokens": Say("", "LEFT", "残り"),
    "concurrency": Say("", "AT ONCE", "同時"),
    "running": Say("", "RUNNING", "実行中"),
    "burst_s": Say("", "BURST S", "バースト秒"),
    "wait_s": Say("", "WAIT S", "待機秒"),
    "source": Say("", "FROM", "設定元"),
    "kind": Say("", "KIND", "種類"),
    "value": Say("", "VALUE", "対象"),
    "reason": Say("", "REASON", "理由"),
    "by": Say("", "BY", "実行者"),
    "at": Say("", "AT ({zone})", "日時（{zone}）"),
}
#: values that are words of ours; shown to people in their language, English in CSV
WORDS = {
    "file": Say("", "file", "ファイル"),
    "database": Say("", "database", "データベース"),
    "yes": Say("", "yes", "はい"),
    "no": Say("", "no", "いいえ"),
    "all": Say("", "all", "すべて"),
}
