"""What `sekisho tables register` says, in English and Japanese. Must stay text: a test compares both languages."""

from __future__ import annotations

from sekisho.app.settings.messages import Say

#: where the token for the catalog is taken from: a secret is no option of a command, which every process can read
TOKEN_VARIABLE = "SEKISHO_UNITY_TOKEN"  # noqa: S105 - the name of a variable

BAD_NAME = Say(
    "bad_name",
    "{option} '{text}' cannot be a name in Unity Catalog",
    "{option} '{text}' は Unity Catalog の名前に使えません。",
    "1-255 visible characters, without spaces, dots and slashes",
    "空白、ピリオド、スラッシュを除く、見える文字で 1-255 文字にしてください。",
)
BAD_READER = Say(
    "bad_reader",
    "--reader '{text}' is not TABLE=GROUP",
    "--reader '{text}' は テーブル=グループ の形ではありません。",
    "write for example --reader usage=analysts; the tables are {tables}",
    "例: --reader usage=analysts（テーブルは {tables}）",
)
NOT_TEXT = Say(
    "bad_text",
    "a name or a path holds bytes that are no text in UTF-8",
    "名前かパスに、UTF-8 として読めないバイトが含まれています。",
    "write it in UTF-8, or rename the folder",
    "UTF-8 で書くか、フォルダーの名前を変えてください。",
)
NOT_WITH_URL = Say(
    "wrong_usage",
    "{option} is for the script, and --url sends no script",
    "{option} はスクリプト用です。--url を付けるとスクリプトは作られません。",
    "leave out one of them; grants are made by the script, or by the catalog's own tools",
    "どちらかを外してください。権限は、スクリプトかカタログ側のツールで付与します。",
)
WRITTEN = Say("", "Script written to {name}", "{name} にスクリプトを書き出しました。")
LOCAL_FOLDER = Say(
    "",
    "the tables lie in a folder of this machine. Databricks cannot reach it, "
    "only a Unity Catalog of your own whose engines see the same folder. "
    "For Databricks put them into a bucket: tables.url",
    "テーブルはこのマシンのフォルダーにあります。Databricks からは読めません。読めるのは、"
    "同じフォルダーが見える環境の自前の Unity Catalog だけです。"
    "Databricks で使うには、バケットに置いてください（tables.url）。",
)
OWN_STORE = Say(
    "",
    "the bucket is at {endpoint}. Databricks looks for s3:// addresses at AWS, and will not find it",
    "バケットは {endpoint} にあります。Databricks は s3:// を AWS で探すため、このバケットは見つかりません。",
)
NO_TABLE_YET = Say(
    "",
    "there is no table {table} in this place yet. It comes with the first call, and cannot be registered before",
    "テーブル {table} はまだありません。最初の呼び出しで作られ、それまでは登録できません。",
)

# -- the REST API
BAD_URL = Say(
    "bad_url",
    "--url {url} is no address",
    "--url {url} はアドレスとして読めません。",
    "write it as https://unity.example.com, without a path",
    "https://unity.example.com のように、パスなしで書いてください。",
)
PLAIN_HTTP = Say(
    "plain_http",
    "the token would go to {url} unencrypted",
    "トークンが暗号化されずに {url} へ送られてしまいます。",
    "write https://; http:// is for catalogs on this machine, and for those without a token",
    "https:// を使ってください。http:// は、このマシンのカタログか、トークンなしの場合だけ使えます。",
)
BAD_TOKEN = Say(
    "bad_token",
    "{variable} holds characters that no HTTP header may have",
    "{variable} に、HTTP ヘッダーでは送れない文字が入っています。",
    "copy the token again, without line breaks",
    "改行などを含めずに、もう一度コピーしてください。",
)
UNREACHED = Say(
    "unreached",
    "the catalog at {url} cannot be reached: {error}",
    "{url} のカタログに接続できません: {error}",
    "check --url, and the certificate of an https:// address",
    "--url と、https:// の場合は証明書を確認してください。",
)
NOT_A_CATALOG = Say(
    "unreached",
    "what answers at {url} is no Unity Catalog (HTTP {status})",
    "{url} の応答は Unity Catalog のものではありません（HTTP {status}）。",
    "check --url; the API is expected below /api/2.1/unity-catalog, and redirects are not followed",
    "--url を確認してください。API は /api/2.1/unity-catalog の下にあるものとし、リダイレクトには従いません。",
)
REFUSED = Say(
    "refused",
    "the catalog refused {what} (HTTP {status}): {reason}",
    "カタログが {what} を拒否しました（HTTP {status}）: {reason}",
    "the catalog must exist; {variable} must be a token that may make schemas and external tables in it",
    "カタログが存在すること、{variable} のトークンにスキーマと外部テーブルを作る権限があることを確認してください。",
)
SCHEMA_MADE = Say("", "{name}: schema made", "{name}: スキーマを作成しました。")
REGISTERED = Say("", "{name}: registered at {place}", "{name}: {place} を登録しました。")
ALREADY = Say("", "{name}: is registered already, at {place}", "{name}: すでに {place} で登録されています。")
ELSEWHERE = Say(
    "elsewhere",
    "{name}: is there already, and is not our table: {found} instead of {place}",
    "{name}: すでに別のテーブルがあります（{place} ではなく {found}）。",
    "choose another --schema, or drop that entry in the catalog",
    "別の --schema を指定するか、カタログでその登録を削除してください。",
)
LACKS_COLUMNS = Say(
    "lacks_columns",
    "{name}: was registered by an earlier version, and lacks the columns {columns}",
    "{name}: 以前のバージョンで登録されたため、次の列がありません: {columns}",
    "drop the entry in the catalog, which leaves the rows where they are, and register again",
    "カタログでその登録を削除し、もう一度登録してください（記録そのものは消えません）。",
)
