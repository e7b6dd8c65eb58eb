"""What is said about a configuration, in English and Japanese. Must stay text: a test compares both languages."""

from __future__ import annotations

from typing import NamedTuple

from sekisho.app.settings.model import Language


class Say(NamedTuple):
    """One kind of problem. Words in braces are filled in; both languages name the same ones."""

    code: str
    en: str
    ja: str
    en_hint: str = ""
    ja_hint: str = ""

    def message(self, language: Language, **values: object) -> str:
        return (self.ja if language == "ja" else self.en).format(**values)

    def hint(self, language: Language, **values: object) -> str:
        return (self.ja_hint if language == "ja" else self.en_hint).format(**values)


DID_YOU_MEAN = Say("", "did you mean '{name}'?", "'{name}' の間違いではありませんか。")
ALLOWED = Say("", "allowed: {names}", "使えるもの: {names}")
FULL_WIDTH_HINT = Say(
    "",
    "it holds full-width characters; write '{name}' in half width",
    "全角文字が入っています。半角で '{name}' と書いてください。",
)

# Keys and types
BAD_CHARACTER = Say(
    "bad_character",
    "a character that cannot stand in a text (U+{code_point})",
    "文字列に使えない文字があります（U+{code_point}）。",
    "remove it, or type the text again",
    "その文字を消すか、書き直してください。",
)
DUPLICATE_KEY = Say(
    "duplicate_key",
    "'{name}' is given twice: on line {first} and on line {second}",
    "'{name}' が {first} 行目と {second} 行目の 2 か所にあります。",
    "keep one of them",
    "どちらかを消してください。",
)
UNKNOWN_KEY = Say("unknown_key", "unknown key '{name}'", "不明なキー '{name}' です。")
MISSING = Say(
    "missing", "'{name}' is missing", "'{name}' がありません。", "add `{example}`", "`{example}` を加えてください。"
)
NO_VALUE = Say(
    "no_value",
    "no value is given",
    "値がありません。",
    "give one, or remove the line",
    "値を書くか、行を消してください。",
)
WRONG_TYPE = Say("wrong_type", "expected {expected}, found {found}", "{expected}を書くところに、{found}があります。")
QUOTE_IT = Say("", "quote it if a text is meant", "文字列のつもりなら引用符で囲んでください。")
UNQUOTE_IT = Say("", "remove the quotation marks", "引用符を外してください。")
TRUE_OR_FALSE = Say("", "write true or false", "true か false と書いてください。")
FOR_EXAMPLE = Say("", "for example `{example}`", "例: `{example}`")
NOT_WHOLE = Say("bad_number", "{text} is not a whole number", "{text} は整数ではありません。")
TOO_SMALL = Say(
    "bad_number", "{text} is too small", "{text} は小さすぎます。", "at least {least}", "{least} 以上にしてください。"
)
NOT_POSITIVE = Say(
    "bad_number",
    "{text} is not positive",
    "{text} は正の数ではありません。",
    "give a number above 0",
    "0 より大きい数にしてください。",
)
TOO_LARGE = Say(
    "bad_number", "{text} is too large", "{text} は大きすぎます。", "at most {most}", "{most} 以下にしてください。"
)
BAD_CHOICE = Say("bad_choice", "'{text}' is not known here", "'{text}' は使えません。")
BAD_NAME = Say(
    "bad_name",
    "'{name}' cannot be a name",
    "'{name}' は名前に使えません。",
    "up to 100 ASCII letters, digits and . _ : @ -, and no '/'",
    "半角の英数字と . _ : @ - で 100 文字以内にしてください（'/' は使えません）。",
)
BAD_PERSON_NAME = Say(
    "bad_name",
    "'{name}' cannot be the name of a key, team, department or user",
    "'{name}' はキー・チーム・部署・ユーザーの名前に使えません。",
    "1 to {most} visible characters; not '*', and not beginning like a key",
    "見える文字で 1～{most} 文字にしてください（'*' と、キーのように始まる名前は使えません）。",
)
TOO_LONG = Say("too_long", "longer than {most} characters", "{most} 文字を超えています。")

# References and secrets
BAD_REFERENCE = Say(
    "bad_reference",
    "`${{` begins a reference that is not known",
    "`${{` の後の書き方が正しくありません。",
    "write {example}",
    "{example} と書いてください。",
)
ENV_UNSET = Say(
    "env_unset",
    "the environment variable {name} is not set",
    "環境変数 {name} が設定されていません。",
    "set it, for example `export {name}=...`{similar}",
    "`export {name}=...` のように設定してください。{similar}",
)
ENV_SIMILAR = Say("", " ({name} is set)", "（{name} は設定されています）")
ENV_EMPTY = Say(
    "env_empty",
    "the environment variable {name} is set, but empty",
    "環境変数 {name} は設定されていますが、空です。",
    "give it a value",
    "値を入れてください。",
)
FILE_MISSING = Say(
    "file_missing",
    "there is no file '{name}'",
    "ファイル '{name}' がありません。",
    "paths are relative to the folder of the configuration: {folder}",
    "設定ファイルのフォルダーからの相対パスで書きます: {folder}",
)
FILE_UNREADABLE = Say(
    "file_unreadable",
    "the file '{name}' cannot be read as text: {reason}",
    "ファイル '{name}' をテキストとして読めません: {reason}",
    "it has to be a UTF-8 text of at most 64 kB that this user may read",
    "このユーザーが読める、64 kB 以下の UTF-8 テキストにしてください。",
)
FILE_EMPTY = Say(
    "file_empty",
    "the file '{name}' is empty",
    "ファイル '{name}' は空です。",
    "write the value into it",
    "値を書き込んでください。",
)
LITERAL_SECRET = Say(
    "literal_secret",
    "a secret stands in the file",
    "秘密の値がファイルに直接書かれています。",
    "write it as ${{env:{name}}} or ${{file:PATH}}, and change the secret if others could read this file",
    "${{env:{name}}} か ${{file:PATH}} と書いてください。ほかの人が読めるファイルだったなら、値も変えてください。",
)
BAD_SECRET = Say(
    "bad_secret",
    "the secret holds a space, a line break or a character outside ASCII, which no HTTP header can carry",
    "秘密の値に空白・改行・ASCII 以外の文字があり、HTTP ヘッダーで送れません。",
    "look for a stray line break at its end, or for full-width characters",
    "末尾の改行や全角文字が入っていないか確かめてください。",
)
SHORT_SECRET = Say(
    "short_secret",
    "the key is shorter than {least} characters and could be guessed",
    "キーが {least} 文字より短く、推測されるおそれがあります。",
    "make one with `openssl rand -hex 24`",
    "`openssl rand -hex 24` などで作ってください。",
)
SAME_SECRET = Say(
    "same_secret",
    "the key is the same as that of {other}",
    "{other} と同じキーです。",
    "every key needs its own secret",
    "キーごとに別の値にしてください。",
)

# Providers and endpoints
UNDEFINED = Say(
    "undefined",
    "there is no {kind} '{name}' in this file",
    "{kind} '{name}' はこのファイルにありません。",
)
PROVIDER, ENDPOINT, TEAM = (
    Say("", "provider", "プロバイダー"),
    Say("", "endpoint", "エンドポイント"),
    Say("", "team", "チーム"),
)
NOTHING_DEFINED = Say("", "none is defined under `{section}`", "`{section}` に 1 つも定義されていません。")
TYPE_UNSUPPORTED = Say(
    "unsupported",
    "type '{name}' is not supported by this version",
    "type '{name}' はこのバージョンでは使えません。",
    "supported: {names}",
    "使えるもの: {names}",
)
BAD_URL = Say(
    "bad_url",
    "not an address that a provider can have: {reason}",
    "プロバイダーのアドレスとして使えません: {reason}",
    "write it like https://api.example.com/v1",
    "https://api.example.com/v1 のように書いてください。",
)
URL_SCHEME, URL_USERINFO, URL_QUERY, URL_HOST, URL_PORT = (
    Say("", "it has to begin with https:// or http://", "https:// か http:// で始めてください"),
    Say("", "no user name or password may stand in it", "ユーザー名やパスワードは入れられません"),
    Say("", "no '?' or '#' may stand in it", "'?' と '#' は入れられません"),
    Say("", "its host name is not valid", "ホスト名が正しくありません"),
    Say("", "its port is not valid", "ポート番号が正しくありません"),
)
PRIVATE_ADDRESS = Say(
    "private_address",
    "{host} is not an address on the internet",
    "{host} はインターネット上のアドレスではありません。",
    "add `allow_private: true` to the provider if that is meant",
    "意図したものなら、プロバイダーに `allow_private: true` を加えてください。",
)
BAD_HEADER = Say(
    "bad_header",
    "'{name}' cannot be given as a header",
    "'{name}' はヘッダーとして指定できません。",
    "header names are ASCII; host, content-length and the like are written by the gateway",
    "ヘッダー名は ASCII で書きます。host や content-length などはゲートウェイが付けます。",
)
NO_TARGETS = Say(
    "missing",
    "an endpoint needs at least one target",
    "エンドポイントにはターゲットが 1 つ以上必要です。",
    "for example `targets: [{{provider: openai, model: gpt-4o-mini}}]`",
    "例: `targets: [{{provider: openai, model: gpt-4o-mini}}]`",
)
MASK_UNSUPPORTED = Say(
    "unsupported",
    "`mask` is not supported by this version",
    "`mask` はこのバージョンでは使えません。",
    "remove the line; `log: metadata` keeps no bodies",
    "行を消してください。`log: metadata` なら本文は残りません。",
)
DUPLICATE_NAME = Say(
    "duplicate_name",
    "the name '{name}' is already used on line {first}",
    "名前 '{name}' は {first} 行目で使われています。",
    "give every key its own name",
    "キーごとに別の名前にしてください。",
)
NO_ENDPOINT_ALLOWED = Say(
    "missing",
    "the key may use no endpoint",
    "このキーで使えるエンドポイントがありません。",
    'name some, or write `endpoints: ["*"]` for all',
    'エンドポイントを書くか、すべて許すなら `endpoints: ["*"]` と書いてください。',
)
ONE_MODEL = Say(
    "bad_choice",
    "'{name}' names one model of a provider",
    "'{name}' はプロバイダーのモデル 1 つを指しています。",
    "write '{provider}/*', or make an endpoint for the model",
    "'{provider}/*' と書くか、そのモデルのエンドポイントを作ってください。",
)
BAD_EXPIRY = Say(
    "bad_date",
    "'{text}' is not a day or a time",
    "'{text}' は日付でも日時でもありません。",
    "write 2027-03-31 (through that day) or 2027-03-31T18:00:00+09:00",
    "2027-03-31（その日の終わりまで）か 2027-03-31T18:00:00+09:00 のように書いてください。",
)

# Installation
BAD_TIMEZONE = Say(
    "bad_timezone", "there is no time zone '{name}'", "タイムゾーン '{name}' はありません。", "{hint}", "{hint}"
)
TIMEZONE_EXAMPLE = Say("", "names look like Asia/Tokyo or UTC", "Asia/Tokyo や UTC のように書きます。")
HOME_PATH = Say(
    "bad_path",
    "'~' is not expanded",
    "'~' は展開されません。",
    "write the whole path, or ${{env:HOME}}/...",
    "完全なパスか ${{env:HOME}}/... と書いてください。",
)
STATE_UNSUPPORTED = Say(
    "unsupported",
    "state.url '{scheme}' cannot be used",
    "state.url の '{scheme}' は使えません。",
    "memory:// for one worker; redis://HOST:6379/0, rediss:// (TLS), valkey:// or unix:///PATH?db=0 for several",
    "1 ワーカーなら memory://、複数なら redis://ホスト:6379/0、rediss://（TLS）、valkey://、unix:///パス?db=0 です。",
)
ADDRESS_UNREADABLE = Say(
    "unsupported",
    "{name} is no address that can be read",
    "{name} はアドレスとして読めません。",
    "SCHEME://[USER:PASSWORD@]HOST[:PORT][/DATABASE]; in a user's name or password write %40 for @, %2F for /, "
    "%3A for : and %25 for %",
    "スキーム://[ユーザー:パスワード@]ホスト[:ポート][/データベース] です。ユーザー名とパスワードの中では "
    "@ を %40、/ を %2F、: を %3A、% を %25 と書いてください。",
)
LITERAL_PASSWORD = Say(
    "literal_secret",
    "a password stands in the file itself",
    "ファイルにパスワードが直接書かれています。",
    "write it as a reference, for example `{example}`",
    "`{example}` のように参照で書いてください。",
)
TABLES_URL = Say(
    "unsupported",
    "tables.url is neither a path nor the address of a bucket",
    "tables.url がパスでもバケットのアドレスでもありません。",
    "write a path, or s3://BUCKET/PREFIX with letters, digits and . _ - = in the prefix",
    "パスか s3://バケット/プレフィックスを書いてください（プレフィックスは英数字と . _ - = のみ）。",
)
S3_WITHOUT_URL = Say(
    "unused",
    "tables.s3 is given, but tables.url is no bucket",
    "tables.s3 がありますが、tables.url がバケットではありません。",
    "write `url: s3://BUCKET/PREFIX`, or remove `s3`",
    "`url: s3://バケット/プレフィックス` を書くか、`s3` を消してください。",
)
BUCKET_NOT_MAINTAINED = Say(
    "unsupported",
    "tables in a bucket are not maintained: files are not merged, and no row leaves after retention_days",
    "バケットのテーブルはメンテナンスされません。ファイルは統合されず、retention_days を過ぎた行も残ります。",
    "run OPTIMIZE, DELETE and VACUUM of another Delta program now and then; `maintenance: {{enabled: false}}` says "
    "that you know",
    "ほかの Delta 対応プログラムの OPTIMIZE、DELETE、VACUUM を定期的に実行してください。"
    "`maintenance: {{enabled: false}}` と書けば、この警告は出ません。",
)
PLAIN_HTTP = Say(
    "plain_http",
    "the endpoint is plain http: credentials and rows would travel readable",
    "エンドポイントが http です。認証情報と行が暗号化されずに送られます。",
    "use https, or write `allow_http: true` if the network in between is your own",
    "https にするか、経路が自社のネットワークなら `allow_http: true` を書いてください。",
)
BAD_REGION = Say(
    "bad_region",
    "not the name of a region",
    "リージョンの名前ではありません。",
    "write it like ap-northeast-1",
    "ap-northeast-1 のように書いてください。",
)
DATABASE_UNSUPPORTED = Say(
    "unsupported",
    "database.url '{scheme}' cannot be used",
    "database.url の '{scheme}' は使えません。",
    "sqlite:///PATH for one machine, postgresql://HOST/DATABASE for several",
    "1 台なら sqlite:///パス、複数台なら postgresql://ホスト/データベースです。",
)
TLS_PAIR = Say(
    "missing",
    "tls_certificate and tls_key come together",
    "tls_certificate と tls_key は両方書いてください。",
    "add `{name}`, or remove both",
    "`{name}` を加えるか、両方消してください。",
)
TLS_NO_CERTIFICATE = Say(
    "bad_tls",
    "there is no certificate in the file",
    "ファイルに証明書がありません。",
    "it has to be a PEM file with -----BEGIN CERTIFICATE-----",
    "-----BEGIN CERTIFICATE----- を含む PEM ファイルを指定してください。",
)
TLS_NO_KEY = Say(
    "bad_tls",
    "there is no private key in the file",
    "ファイルに秘密鍵がありません。",
    "it has to be a PEM file with -----BEGIN PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY----- を含む PEM ファイルを指定してください。",
)
TLS_ENCRYPTED = Say(
    "bad_tls",
    "the private key is protected by a passphrase",
    "秘密鍵がパスフレーズで保護されています。",
    "store it without one, readable for this user alone: `openssl pkey -in KEY -out KEY_WITHOUT`",
    "パスフレーズを外し、このユーザーだけが読めるようにしてください: `openssl pkey -in 鍵 -out 外した鍵`",
)
TLS_MISMATCH = Say(
    "bad_tls",
    "the key is not that of the certificate",
    "秘密鍵が証明書に対応していません。",
    "both have to come from the same request; of several certificates in the file the server's own comes first",
    "同じ申請で作った証明書と鍵を指定してください。証明書が複数あるときは、サーバーのものを先頭に置きます。",
)
TLS_REFUSED = Say("bad_tls", "OpenSSL does not take it: {reason}", "OpenSSL で使えません: {reason}")
TLS_EXPIRED = Say(
    "bad_tls",
    "the certificate expired on {day}",
    "証明書の有効期限が切れています（{day}）。",
    "callers will refuse it; renew it",
    "呼び出し側で拒否されます。証明書を更新してください。",
)
TLS_NOT_YET = Say(
    "bad_tls",
    "the certificate is not valid before {day}",
    "証明書はまだ有効ではありません（{day} から）。",
    "callers will refuse it; check the clock of this machine",
    "呼び出し側で拒否されます。このマシンの時計を確認してください。",
)

# What this version does not do
ENV_UNSUPPORTED = Say(
    "unsupported",
    "set, but type {type} is not supported by this version yet",
    "設定されていますが、type {type} はこのバージョンではまだ使えません。",
    "no calls go there",
    "そこへの呼び出しは行われません。",
)
