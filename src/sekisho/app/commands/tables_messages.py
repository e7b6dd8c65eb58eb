"""What the `tables` commands say, in English and Japanese. Must stay text: a test compares both languages."""

from __future__ import annotations

from sekisho.app.settings.messages import Say

BUSY = Say(
    "busy",
    "maintenance is at work on these tables just now (process {pid})",
    "このテーブルのメンテナンスが実行中です（プロセス {pid}）。",
    "try again when it has ended; a gateway starts it by itself, see `tables.maintenance` in the configuration",
    "終わってから、もう一度実行してください。"
    "メンテナンスはゲートウェイが自動で始めます（設定の `tables.maintenance`）。",
)
NO_TABLES = Say(
    "no_tables",
    "there are no tables in {data_dir}",
    "{data_dir} にテーブルがありません。",
    "give the folder by --data-dir, or a configuration by --config; the tables come with the first call",
    "--data-dir か --config で場所を指定してください。テーブルは最初の呼び出しで作られます。",
)
NOTHING_YET = Say(
    "",
    "nothing is in {place} yet",
    "{place} にはまだ何もありません。",
    "give the folder by --data-dir, or a configuration by --config; the tables come with the first call",
    "--data-dir か --config で場所を指定してください。テーブルは最初の呼び出しで作られます。",
)
FOLDERS_ONLY = Say(
    "unsupported",
    "the tables are in the bucket {url}, and this command works on folders only",
    "テーブルはバケット {url} にあります。このコマンドはフォルダーにしか使えません。",
    "use OPTIMIZE, DELETE and VACUUM of another Delta program; `sql`, `tables info` and `tables export` do work",
    "ほかの Delta 対応プログラムの OPTIMIZE、DELETE、VACUUM を使ってください。"
    "`sql`、`tables info`、`tables export` は使えます。",
)
BUCKET_NOT_MAINTAINED = Say(
    "",
    "maintenance: off, for the tables are in a bucket",
    "メンテナンス: なし（テーブルがバケットにあるため）",
)
DAYS_NEED_TABLE = Say(
    "wrong_usage",
    "--days needs --table: each table has a retention of its own",
    "--days には --table が必要です。保存期間はテーブルごとに異なります。",
    "write for example --table inference_log --days 30",
    "例: --table inference_log --days 30",
)
DRY_RUN = Say("", "Nothing was changed (--dry-run).", "何も変更していません（--dry-run）。")
FAILED = Say(
    "failed",
    "{error}",
    "{error}",
    "no row was lost; mend the cause and run the command again",
    "行は失われていません。原因を取り除いて、もう一度実行してください。",
)
CONFLICTS = Say(
    "",
    "{count} days were left as they are: another program changed them meanwhile. Run the command again.",
    "{count} 日分は、ほかのプログラムが同時に変更したため、そのままにしました。もう一度実行してください。",
)
LAST_RUN = Say("", "last {job}: {at}", "最後の {job}: {at}")
LAST_FAILED = Say("", "last {job}: {at}, failed: {error}", "最後の {job}: {at}、失敗: {error}")
LAST_CUT = Say("", "last {job}: began {at}, did not end", "最後の {job}: {at} 開始、未完了")
COMPACTING, ERASING = (
    Say("", "Merging files", "ファイルを統合中"),
    Say("", "Erasing", "消去中"),
)
STILL_ON_DISK = Say(
    "",
    "The old files are deleted by vacuum within {days} days; give --purge to delete them at once.",
    "古いファイルは {days} 日以内に vacuum で削除されます。すぐに削除するには --purge を付けてください。",
)
STILL_THERE = Say(
    "",
    "Not finished: {rows} rows of this person still wait in the spool, {files} files were being changed. "
    "Run the command again in a few seconds.",
    "未完了です。スプールに {rows} 行が残り、{files} 個のファイルが変更中でした。数秒後に、もう一度実行してください。",
)
NO_DAYS = Say(
    "",
    "--from {first} is after --to {last}.",
    "--from {first} が --to {last} より後です。",
    "Exchange them.",
    "入れ替えてください。",
)
BAD_DAY = Say(
    "bad_day",
    "{option} '{text}' is not a day",
    "{option} '{text}' は日付として読めません。",
    "write it as 2026-11-01",
    "2026-11-01 のように書いてください。",
)
WHICH_FORMAT = Say(
    "which_format",
    "the name '{name}' does not say which format",
    "ファイル名 '{name}' から形式がわかりません。",
    "end it with .parquet, .csv or .jsonl, or give --format",
    "末尾を .parquet、.csv、.jsonl のどれかにするか、--format を指定してください。",
)
FILE_EXISTS = Say(
    "file_exists",
    "'{name}' is already there",
    "'{name}' はすでにあります。",
    "choose another name, or remove the file",
    "別の名前にするか、ファイルを消してください。",
)
NOT_WRITTEN = Say(
    "not_written",
    "'{name}' was not written: {error}",
    "'{name}' を書き込めませんでした: {error}",
    "nothing is left of it; mend the cause and run the command again",
    "途中のファイルは残っていません。原因を取り除いて、もう一度実行してください。",
)
EXPORTED = Say("", "{rows} rows written to {name}", "{name} に {rows} 行を書き出しました。")
