"""What the `keys` commands say, in English and Japanese. Must stay text: a test compares both languages."""

from __future__ import annotations

from sekisho.app.settings.messages import Say

# Wrong usage
NAME_EMPTY = Say("bad_name", "{what} must not be empty", "{what} が空です。")
NAME_LONG = Say("bad_name", "{what} is longer than {most} characters", "{what} が {most} 文字を超えています。")
NAME_CHARACTERS = Say(
    "bad_name",
    "{what} {name} holds a control or invisible character",
    "{what} {name} に制御文字か見えない文字が入っています。",
    "any visible characters are fine, Japanese too",
    "見える文字なら何でも使えます（日本語も可）。",
)
NAME_RESERVED = Say(
    "bad_name",
    "{what} {name} is reserved: '*' means each of them, and 'key_' and 'sk-seki-' begin ids and keys",
    "{what} {name} は予約されています。'*' は「それぞれ」を表し、'key_' と 'sk-seki-' は ID とキーの始まりです。",
    "choose another name",
    "別の名前にしてください。",
)
UNKNOWN = Say(
    "undefined",
    "there is no {kind} '{name}' in the configuration",
    "設定に{kind} '{name}' はありません。",
)
TEAM, ENDPOINT, PROVIDER = (
    Say("", "team", "チーム"),
    Say("", "endpoint", "エンドポイント"),
    Say("", "provider", "プロバイダー"),
)
NOTHING_DEFINED = Say(
    "",
    "none is defined under `{section}`; commands take the configuration by --config FILE",
    "`{section}` に 1 つも定義されていません。設定ファイルは --config FILE で指定します。",
)
ONE_MODEL = Say(
    "bad_choice",
    "'{name}' names one model of a provider",
    "'{name}' はプロバイダーのモデル 1 つを指しています。",
    "use '{provider}/*', or make an endpoint for the model",
    "'{provider}/*' を使うか、そのモデルのエンドポイントを作ってください。",
)
BAD_DURATION = Say(
    "bad_duration",
    "{option} '{text}' is not a duration",
    "{option} '{text}' は期間として読めません。",
    "write 30d (days), 24h (hours), 15m (minutes) or 45s (seconds)",
    "30d（日）、24h（時間）、15m（分）、45s（秒）のように書いてください。",
)
NO_LIFETIME = Say(
    "bad_duration",
    "--expires '{text}': the key would end at once",
    "--expires '{text}' では、キーが作られると同時に切れます。",
    "write at least 1s, such as 30d",
    "30d のように、1s 以上を指定してください。",
)
AMBIGUOUS = Say(
    "ambiguous",
    "more than one key is called '{name}': {ids}",
    "'{name}' という名前のキーが複数あります: {ids}",
    "give the id",
    "ID で指定してください。",
)

# The answer is no
NAME_TAKEN = Say(
    "name_taken",
    "the name '{name}' belongs to {holder}",
    "名前 '{name}' は {holder} が使っています。",
    "choose another name, `sekisho keys rotate {holder}` for a new secret, or `sekisho keys revoke {holder}` first",
    "別の名前にするか、キーを取り替えるなら `sekisho keys rotate {holder}`、"
    "使わないなら先に `sekisho keys revoke {holder}` を実行してください。",
)
NAME_DECLARED = Say(
    "name_taken",
    "the name '{name}' belongs to a key that is declared in {source}",
    "名前 '{name}' は {source} で宣言されたキーが使っています。",
    "choose another name",
    "別の名前にしてください。",
)
DECLARED_IN_FILE = Say(
    "declared_in_file",
    "declared_in_file: the key '{name}' is declared in {source} and cannot be changed here",
    "declared_in_file: キー '{name}' は {source} で宣言されているため、ここでは変更できません。",
    "change or remove it in the file; a running gateway takes the file over by itself",
    "ファイルの方を変更または削除してください。稼働中のゲートウェイは自動で読み直します。",
)
NO_KEY = Say(
    "not_found",
    "there is no key '{name}'",
    "キー '{name}' はありません。",
    "`sekisho keys list` shows all",
    "`sekisho keys list` で一覧を見られます。",
)
REVOKED_ALREADY = Say(
    "revoked",
    "the key {id} was revoked and cannot be rotated",
    "キー {id} は失効済みのため、取り替えられません。",
    "make a new one with `sekisho keys create`",
    "`sekisho keys create` で新しく作ってください。",
)
REPLACED_ALREADY = Say(
    "replaced",
    "the key {id} was replaced by {successor} already",
    "キー {id} はすでに {successor} に置き換えられています。",
    "rotate that one",
    "そちらを取り替えてください。",
)
ROTATED_MEANWHILE = Say(
    "replaced",
    "the key {id} was rotated or revoked by someone else at the same moment",
    "キー {id} は、同じときに別の人が取り替えたか失効させました。",
    "`sekisho keys list` shows how it stands now",
    "`sekisho keys list` で今の状態を確かめてください。",
)
EXPIRED_ALREADY = Say(
    "expired",
    "the key {id} has expired; a rotation keeps the end of a key",
    "キー {id} は期限切れです。取り替えても期限は変わりません。",
    "give a new one: --expires 30d",
    "新しい期限を --expires 30d のように指定してください。",
)

# Done
CREATED = Say(
    "",
    "Key {id} ({name}) is made. This is the only time its secret is shown:",
    "キー {id}（{name}）を作りました。キーの値が表示されるのは今回だけです:",
)
ROTATED = Say(
    "",
    "Key {id} ({name}) replaces {old}, which ends {end}. This is the only time its secret is shown:",
    "キー {id}（{name}）が {old} に代わります（{old} の期限は {end}）。キーの値が表示されるのは今回だけです:",
)
REVOKED = Say(
    "",
    "Key {id} ({name}) is revoked; running gateways refuse it within 5 seconds.",
    "キー {id}（{name}）を失効させました。稼働中のゲートウェイは 5 秒以内に拒否し始めます。",
)
REVOKED_BEFORE = Say(
    "",
    "Key {id} ({name}) was revoked already.",
    "キー {id}（{name}）はすでに失効しています。",
)
NO_KEYS = Say(
    "",
    "There are no keys yet; `sekisho keys create --name my-app` makes one.",
    "キーはまだありません。`sekisho keys create --name my-app` で作れます。",
)

# The table
HEADINGS = (
    Say("", "ID", "ID"),
    Say("", "NAME", "名前"),
    Say("", "TEAM", "チーム"),
    Say("", "USER", "ユーザー"),
    Say("", "ROLE", "ロール"),
    Say("", "ENDPOINTS", "エンドポイント"),
    Say("", "CREATED ({zone})", "作成（{zone}）"),
    Say("", "EXPIRES ({zone})", "期限（{zone}）"),
    Say("", "STATE", "状態"),
)
DECLARED = Say("", "{state} (declared)", "{state}（ファイルで宣言）")
STATES = {
    "active": Say("", "active", "有効"),
    "expired": Say("", "expired", "期限切れ"),
    "revoked": Say("", "revoked", "失効"),
}
