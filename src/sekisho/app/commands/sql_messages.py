"""What `sql` and `tables` say, in English and Japanese. Must stay text."""

from __future__ import annotations

from sekisho.app.settings.messages import Say

NOTHING_YET = Say(
    "",
    "Nothing has been recorded in {data_dir} yet; the tables are empty.",
    "{data_dir} にはまだ何も記録されていません。テーブルは空です。",
)
#: by `NotAQuery.kind`
NOT_A_QUERY = {
    "nothing": Say("", "there is no statement", "SQL 文がありません。"),
    "several": Say("", "one statement at a time", "SQL 文は 1 つだけにしてください。"),
}
NOT_A_SELECT = Say("", "only SELECT is allowed, not {kind}", "{kind} は使えません。使えるのは SELECT だけです。")
ONE_SELECT = Say(
    "",
    "This command reads: give one SELECT (WITH, FROM, DESCRIBE, SHOW, SUMMARIZE and EXPLAIN are fine too).",
    "読み取り専用です。SELECT を 1 つ書いてください（WITH、FROM、DESCRIBE、SHOW、SUMMARIZE、EXPLAIN も使えます）。",
)
NAMES = Say("", "Tables and views: {names}", "テーブルとビュー: {names}")
NOT_A_PLACE = Say(
    "",
    "--catalog {given}: give a catalog and a schema with a dot between them, for example main.sekisho.",
    "--catalog {given}: カタログとスキーマをドットでつないで指定してください（例: main.sekisho）。",
)
