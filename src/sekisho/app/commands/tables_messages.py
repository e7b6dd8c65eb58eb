"""What the `tables` commands say, in English and Japanese. Must stay text: a test compares both languages."""

from __future__ import annotations

from sekisho.app.settings.messages import Say

BUSY = Say(
    "busy",
    "maintenance is at work on these tables just now (process {pid})",
    "このテーブルのメンテナンスが実行中です (プロセス {pid})。",
    "try again when it has ended; a gateway starts it by itself, see `tables.maintenance` in the configuration",
    "終わってから再度実行してください。ゲートウェイが自動で起動します (設定の `tables.maintenance`)。",
)
NO_TABLES = Say(
    "no_tables",
    "there are no tables in {data_dir}",
    "{data_dir} にテーブルがありません。",
    "give the folder by --data-dir, or a configuration by --config; the tables come with the first call",
    "--data-dir か --config で場所を指定してください。テーブルは最初の呼び出しで作られます。",
)
DAYS_NEED_TABLE = Say(
    "wrong_usage",
    "--days needs --table: each table has a retention of its own",
    "--days には --table が必要です。保存期間はテーブルごとに異なります。",
    "write for example --table inference_log --days 30",
    "例: --table inference_log --days 30",
)
DRY_RUN = Say("", "Nothing was changed (--dry-run).", "何も変更していません (--dry-run)。")
FAILED = Say(
    "failed",
    "{error}",
    "{error}",
    "no row was lost; mend the cause and run the command again",
    "行は失われていません。原因を取り除いて再度実行してください。",
)
CONFLICTS = Say(
    "",
    "{count} days were left as they are: another program changed them meanwhile. Run the command again.",
    "{count} 日分は他のプログラムが同時に変更したため、そのままです。再度実行してください。",
)
LAST_RUN = Say("", "last {job}: {at}", "最後の {job}: {at}")
LAST_FAILED = Say("", "last {job}: {at}, failed: {error}", "最後の {job}: {at}、失敗: {error}")
LAST_CUT = Say("", "last {job}: began {at}, did not end", "最後の {job}: {at} 開始、未完了")
COMPACTING, VACUUMING, EXPIRING, ERASING, EXPORTING = (
    Say("", "Merging files", "ファイルを統合中"),
    Say("", "Deleting files", "ファイルを削除中"),
    Say("", "Dropping days", "日を削除中"),
    Say("", "Erasing", "消去中"),
    Say("", "Exporting", "書き出し中"),
)
