"""What is said on `/admin` and about stops, in English and Japanese. Must stay text; `messages` takes it in."""

from __future__ import annotations

from sekisho.wire.bilingual import Message

MESSAGES: dict[str, Message] = {
    "stopped": Message(
        "An administrator has stopped these calls. Ask the gateway's operator why, and when they go on.",
        "管理者がこの呼び出しを停止しています。理由と再開の時期をゲートウェイの管理者に確認してください。",
    ),
    "admin_closed": Message(
        "Administration is closed: no administrator's key exists. Set `admin: {key: …}` in the configuration, or make "
        "a key with `sekisho keys create --role admin`.",
        "管理 API は閉じています。管理者のキーがありません。設定ファイルに `admin: {key: …}` を書くか、"
        "`sekisho keys create --role admin` でキーを作成してください。",
    ),
    "role_not_allowed": Message(
        "The role {role} may not use this route. Use a key with a role that may, or ask an administrator.",
        "ロール {role} ではこの操作を行えません。権限のあるロールのキーを使用するか、管理者に依頼してください。",
    ),
    "not_granted": Message(
        "Your role does not reach so far: {reason}. Ask an administrator to do it.",
        "この操作はロールの権限を超えています。{reason}必要な場合は管理者に依頼してください。",
    ),
    "declared_in_file": Message(
        "{name} is declared in the configuration file {source}, and what stands there is changed only there. Edit the "
        "file; a running gateway takes it over by itself.",
        "{name} は設定ファイル {source} で宣言されているため、ここでは変更できません。"
        "ファイルを編集してください。稼働中のゲートウェイは自動で読み直します。",
    ),
    "rule_in_file": Message(
        "This {kind} is declared in the configuration file {source}, and is changed only there. Edit the file; a "
        "running gateway takes it over by itself.",
        "この{kind}は設定ファイル {source} で宣言されているため、ここでは変更できません。"
        "ファイルを編集してください。稼働中のゲートウェイは自動で読み直します。",
    ),
    "body_not_taken": Message(
        "This route takes no request body. Send the request again without one.",
        "このパスでは、リクエスト本文を受け付けません。本文を付けずに、もう一度送信してください。",
    ),
    "object_not_found": Message(
        "There is no {kind} {name}. The list of the same route shows which there are.",
        "{kind} {name} はありません。同じパスの一覧で確認してください。",
    ),
    "name_taken": Message(
        "The name {name} belongs to the key {holder}. Choose another name, or revoke or rotate that key.",
        "名前 {name} はキー {holder} が使用しています。別の名前にするか、そのキーを失効させるか取り替えてください。",
    ),
    "key_not_current": Message(
        "The key {key} was revoked or replaced already. The list of keys shows its successor.",
        "キー {key} はすでに失効しているか、置き換えられています。キーの一覧で新しいキーを確認してください。",
    ),
    "in_use": Message(
        "The team {name} still has members: {users}. Give them another team or remove them first.",
        "チーム {name} にはまだメンバーがいます: {users}。先に別のチームへ移すか、削除してください。",
    ),
    "admin_request_too_large": Message(
        "The request body is larger than {limit_kb} KiB. Send less.",
        "リクエスト本文が上限の {limit_kb} KiB を超えています。サイズを小さくしてください。",
    ),
}

#: what limits, budgets and stops name, and what `/admin` keeps, as it stands in a Japanese sentence
NOUNS: dict[str, str] = {
    "organisation": "会社全体",
    "department": "部署",
    "team": "チーム",
    "key": "キー",
    "user": "ユーザー",
    "endpoint": "エンドポイント",
    "model": "モデル",
    "feature": "機能",
    "budget": "予算",
    "limit": "制限",
    "stop": "停止",
}

#: English reason -> a Japanese sentence
REASONS: dict[str, str] = {
    "there is no such field; there are {names}": "このフィールドはありません。使用できるのは {names} です。",
    "there is no such parameter": "このパラメーターはありません。",
    "there is no such scope; there are {names}": "この範囲はありません。使用できるのは {names} です。",
    "there is no such name; there are {names}": "この名前はありません。使用できるのは {names} です。",
    "there is no such name": "この名前はありません。",
    "there is no such name, and none is known yet": "この名前はありません。まだ 1 つも登録されていません。",
    "it names nothing": "何も指定されていません。",
    "it means the same as `team`; keep one of them": "`team` と同じ意味です。どちらか一方にしてください。",
    "it must have 1 to {most} visible characters, not be `*`, and not begin like a key": (
        "見える文字で 1 文字以上 {most} 文字以下にしてください（`*` と、キーのように始まる名前は使えません）。"
    ),
    "it must have at most {most} visible characters": "見える文字で {most} 文字以下にしてください。",
    "it must have at most {most} entries": "{most} 件以下にしてください。",
    "exactly one amount is needed, in `usd` or in `jpy`": "金額は `usd` か `jpy` のどちらか 1 つで指定してください。",
    "the configuration has no rate `fx.usd_jpy`; give the amount in `usd`": (
        "設定に換算レート `fx.usd_jpy` がありません。`usd` で指定してください。"
    ),
    "it must be an amount in ASCII digits, with at most nine decimals": (
        "半角数字の金額（小数点以下 9 桁まで）で指定してください。"
    ),
    "it must be above 0": "0 より大きい値にしてください。",
    "it must be at most {most}": "{most} 以下にしてください。",
    "it must be above 0 and at most {most}": "0 より大きく {most} 以下の値にしてください。",
    "it must be from 0 to {most}": "0 以上 {most} 以下の値にしてください。",
    "it must be a whole number from 1 to {most}": "1 以上 {most} 以下の整数で指定してください。",
    "it must be a whole number": "整数で指定してください。",
    "it must be what `next_after` of this list said": "この一覧の `next_after` の値で指定してください。",
    "it must be a number": "数値で指定してください。",
    "it must be one of {names}": "{names} のいずれかを指定してください。",
    "it has a value that it cannot have": "使用できない値です。",
    "no limit is given: give `qpm`, `tpm` or `concurrency`": (
        "制限の値がありません。`qpm`、`tpm`、`concurrency` のどれかを指定してください。"
    ),
    "it must be a duration like 30d, 24h, 15m or 45s": "30d、24h、15m、45s のような期間で指定してください。",
    "the key has expired, and a rotation keeps its end; give a new one": (
        "キーは期限切れで、取り替えても期限は変わりません。新しい期限を指定してください。"
    ),
    "everything is stopped: leave it out": "すべてを停止する場合は指定しないでください。",
    "it does not belong to your team": "所属チームのものではありません。",
    "the user belongs to another team": "ユーザーは別のチームに所属しています。",
    "a user of another team has this name": "この名前は別のチームのユーザーのものです。",
    "it was set for your team": "管理者がチームに設定したものです。",
    "the role is above your own": "自分より上のロールです。",
    "your own key may not act for others": "自分のキーではほかのユーザーの代理はできません。",
    "your own key may not use {endpoint}": "自分のキーでは {endpoint} を使用できません。",
    "{given} was set for your team; you can set less": (
        "管理者がチームに {given} を設定しています。それ以下にしてください。"
    ),
}
