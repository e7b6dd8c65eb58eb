"""What `reconcile` says, in English and Japanese. Must stay text: a test compares both languages.

Of each check: what holds, what does not, and what to do then.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sekisho.app.settings.messages import Say


class Verdicts(NamedTuple):
    """`holds` and `fails` are the two sentences; the hint of `fails` says what to do."""

    holds: Say
    fails: Say


_USAGE_ONCE = Say("", "usage: each request id stands there once", "usage: どのリクエスト ID も 1 行だけです。")
_LOG_ONCE = Say(
    "", "inference_log: each request id stands there once", "inference_log: どのリクエスト ID も 1 行だけです。"
)
VERDICTS: Final = {
    "usage_doubled": Verdicts(
        _USAGE_ONCE,
        Say(
            "",
            "usage: {count} request ids stand there more than once",
            "usage: {count} 個のリクエスト ID が 2 行以上あります。",
            "Costs are counted twice. Look at the rows with `sekisho sql`, and report it: this must not happen.",
            "費用が二重に数えられています。`sekisho sql` で行を確認し、報告してください。起きてはならない状態です。",
        ),
    ),
    "usage_copied": Verdicts(
        _USAGE_ONCE,
        Say(
            "",
            "usage: {count} calls have a second row, `interrupted`",
            "usage: {count} 件の呼び出しに、もう 1 行 `interrupted` の行があります。",
            "A copy of a data folder, or one that was set back, makes such rows of the calls that were in flight when "
            "it was copied. Sums count them too: of two rows the one whose error_code is not 'interrupted' is true. If "
            "no folder was copied or set back, report it.",
            "データフォルダーのコピーや復元先では、コピー時に処理中だった呼び出しにこの行ができます。集計には両方が"
            "入ります。正しいのは error_code が 'interrupted' でない行です。コピーも復元もしていなければ"
            "報告してください。",
        ),
    ),
    "log_doubled": Verdicts(
        _LOG_ONCE,
        Say(
            "",
            "inference_log: {count} request ids stand there more than once",
            "inference_log: {count} 個のリクエスト ID が 2 行以上あります。",
            "Look at the rows with `sekisho sql`, and report it: this must not happen.",
            "`sekisho sql` で行を確認し、報告してください。起きてはならない状態です。",
        ),
    ),
    "log_copied": Verdicts(
        _LOG_ONCE,
        Say(
            "",
            "inference_log: {count} calls have a second row, `interrupted`",
            "inference_log: {count} 件の呼び出しに、もう 1 行 `interrupted` の行があります。",
            "As in usage: a copy of a data folder makes them. If no folder was copied or set back, report it.",
            "usage と同じく、データフォルダーのコピーでできる行です。コピーも復元もしていなければ報告してください。",
        ),
    ),
    "usage_missing": Verdicts(
        Say("", "every row of inference_log is in usage", "inference_log の行はすべて usage にもあります。"),
        Say(
            "",
            "{count} rows of inference_log are not in usage",
            "inference_log の {count} 行が usage にありません。",
            "Their cost is in no report. If somebody deleted rows of usage, restore them; else report it.",
            "その費用はどの集計にも入りません。usage の行を削除したのなら元に戻し、"
            "心当たりがなければ報告してください。",
        ),
    ),
    "log_missing": Verdicts(
        Say(
            "",
            "every call with bodies is in inference_log",
            "本文を記録する呼び出しはすべて inference_log にあります。",
        ),
        Say(
            "",
            "{count} calls whose bodies were kept are not in inference_log",
            "本文を記録した呼び出しのうち {count} 件が inference_log にありません。",
            "If somebody deleted rows of inference_log, that is the reason; else report it.",
            "inference_log の行を削除した場合はそれが原因です。心当たりがなければ報告してください。",
        ),
    ),
    "tables_differ": Verdicts(
        Say("", "both tables say the same of a call", "2 つのテーブルの内容は一致しています。"),
        Say(
            "",
            "{count} calls have another cost, status or token count in the other table",
            "{count} 件の呼び出しで、費用、ステータス、トークン数のいずれかが 2 つのテーブルで違います。",
            "One of the tables was changed by another program. Compare both rows with `sekisho sql`.",
            "どちらかのテーブルがほかのプログラムで書き換えられています。`sekisho sql` で両方の行を比べてください。",
        ),
    ),
    "cost_differs": Verdicts(
        Say(
            "",
            "the cost of every call is the sum of its attempts, to the nano-dollar",
            "どの呼び出しの費用も、試行の費用の合計とナノドルまで一致しています。",
        ),
        Say(
            "",
            "the cost of {count} calls is not the sum of their attempts",
            "{count} 件の呼び出しで、費用が試行の費用の合計と違います。",
            "Trust the attempts: `SELECT request_id, cost_usd, attempts FROM usage`. Then report it.",
            "試行の値が正しい値です: `SELECT request_id, cost_usd, attempts FROM usage`。そのうえで報告してください。",
        ),
    ),
    "wrong_day": Verdicts(
        Say("", "every row lies under the day of its call", "どの行も、呼び出しの日付の下にあります。"),
        Say(
            "",
            "{count} rows lie under another day than that of their call",
            "{count} 行が、呼び出しの日付と違う日付の下にあります。",
            "Questions by request_date miss them. Report it.",
            "request_date で絞るクエリから漏れます。報告してください。",
        ),
    ),
    "answers": Verdicts(
        Say("", "all {given} answers of the list have their row", "一覧の {given} 件の応答すべてに行があります。"),
        Say(
            "",
            "{count} of the {given} answers of the list have no row",
            "一覧の応答 {given} 件のうち {count} 件に行がありません。",
            "Answers to GET have none, nor have refusals that need no key (401, 404, 405, 413) beyond 200 a second. Of "
            "others look for 'row not recorded' and 'rows are being lost' in the gateway's log at the time of the "
            "answers; with --days N look further back.",
            "GET への応答と、キーのいらない拒否（401、404、405、413）のうち 1 秒に 200 件を超えた分には行がありません。"
            "それ以外は、応答の時刻のゲートウェイのログで 'row not recorded' と 'rows are being lost' を"
            "探してください。--days N でさらに過去を調べられます。",
        ),
    ),
    "rows_failed": Verdicts(
        Say("", "no row was lost since the gateway started", "ゲートウェイの起動後に失われた行はありません。"),
        Say(
            "",
            "{count} rows could not be stored since the gateway started",
            "ゲートウェイの起動後、{count} 行を保存できませんでした。",
            "Their ids stand in the gateway's log, or it says that the disk is full. Make room, and see why.",
            "ゲートウェイのログに、その ID か、ディスクに空きがないことが出ています。"
            "空きを作り、原因を確認してください。",
        ),
    ),
    "rows_appended": Verdicts(
        Say(
            "",
            "{rows} rows since the gateway started, as many as it says it stored",
            "ゲートウェイの起動後の行は {rows} 行で、ゲートウェイが数えた保存数と一致しています。",
        ),
        Say(
            "",
            "{rows} rows since the gateway started, and it says it stored {counted}",
            "ゲートウェイの起動後の行は {rows} 行ですが、ゲートウェイが数えた保存数は {counted} 行です。",
            "More than one gateway writes these tables, or rows were deleted, or the clock was set back. If none of "
            "these, rows are lost or doubled: report it.",
            "複数のゲートウェイが書き込んでいる、行が削除された、時計が戻された、のどれかが考えられます。"
            "どれでもなければ行の欠落か重複です。報告してください。",
        ),
    ),
    "calls_accounted": Verdicts(
        Say(
            "",
            "all {calls} calls are accounted for: {appended} rows, {dropped} refused without a row, {failed} failed",
            "{calls} 件の呼び出しはすべて説明できます: 行 {appended}、行を残さず拒否 {dropped}、保存失敗 {failed}。",
        ),
        Say(
            "",
            "{calls} calls, but {appended} rows, {dropped} refused without a row and {failed} failed",
            "呼び出しは {calls} 件ですが、行 {appended}、行を残さず拒否 {dropped}、保存失敗 {failed} です。",
            "A call was counted and left no row. Report it.",
            "数えられたのに行のない呼び出しがあります。報告してください。",
        ),
    ),
    "calls": Verdicts(
        Say(
            "",
            "calls by model and status: {rows} rows, {counted} counted",
            "モデルとステータス別の呼び出し: 行 {rows}、カウンター {counted}。",
        ),
        Say(
            "",
            "model {model}, status {status}: {rows} rows, {counted} counted",
            "モデル {model}、ステータス {status}: 行 {rows}、カウンター {counted}。",
            "Look at the rows: `SELECT * FROM usage WHERE status_code = {status} ORDER BY event_time DESC`.",
            "行を確認してください: `SELECT * FROM usage WHERE status_code = {status} ORDER BY event_time DESC`。",
        ),
    ),
    "cost": Verdicts(
        Say(
            "",
            "cost since the gateway started: {rows} nano-dollars in rows, {counted} counted",
            "ゲートウェイの起動後の費用: 行 {rows} ナノドル、カウンター {counted} ナノドル。",
        ),
        Say(
            "",
            "cost of model {model}: {rows} nano-dollars in rows, {counted} counted",
            "モデル {model} の費用: 行 {rows} ナノドル、カウンター {counted} ナノドル。",
            "Rows are the truth for bills. If their number agrees, a price was changed in the rows; else see above.",
            "請求の根拠は行です。行数が一致していれば行の価格が変更されています。一致しなければ上を見てください。",
        ),
    ),
    "unpriced": Verdicts(
        Say(
            "",
            "calls without a price: {rows} in rows, {counted} counted",
            "価格不明の呼び出し: 行 {rows}、カウンター {counted}。",
        ),
        Say(
            "",
            "calls of model {model} without a price: {rows} in rows, {counted} counted",
            "モデル {model} の価格不明の呼び出し: 行 {rows}、カウンター {counted}。",
            "Look at the rows: `SELECT * FROM usage WHERE cost_usd IS NULL`.",
            "行を確認してください: `SELECT * FROM usage WHERE cost_usd IS NULL`。",
        ),
    ),
    "tokens": Verdicts(
        Say(
            "",
            "tokens of all attempts: {rows} in rows, {counted} counted",
            "全試行のトークン: 行 {rows}、カウンター {counted}。",
        ),
        Say(
            "",
            "tokens of model {model}: {rows} in rows, {counted} counted",
            "モデル {model} のトークン: 行 {rows}、カウンター {counted}。",
            "Look at `attempts` of the rows. If the number of rows agrees, report it.",
            "行の `attempts` を確認してください。行数が一致していれば報告してください。",
        ),
    ),
    "budgets": Verdicts(
        Say(
            "",
            "budgets: what {count} of them say is spent stands on the rows, {counted} nano-dollars in all",
            "予算: {count} 件の使用済み額が行と一致しています（合計 {counted} ナノドル）。",
        ),
        Say(
            "",
            "budgets: {count} of them differ",
            "予算: {count} 件に差があります。",
            "See the lines about each of them.",
            "それぞれの行を確認してください。",
        ),
    ),
    "budget": Verdicts(
        Say(
            "",
            "budget {budget}: {rows} nano-dollars in rows, {counted} counted",
            "予算 {budget}: 行 {rows} ナノドル、カウンター {counted} ナノドル。",
        ),
        Say(
            "",
            "budget {budget}: {rows} nano-dollars in rows, {counted} counted",
            "予算 {budget}: 行 {rows} ナノドル、カウンター {counted} ナノドル。",
            "A budget that was set while calls ran does not count those calls; rows of another machine come when they "
            "are committed; deleted rows are in no sum. If none of these, report it: the rows are right for bills.",
            "実行中の呼び出しがある間に設定した予算は、その呼び出しを数えません。別のマシンの行はコミットまで見えません。"
            "削除した行は合計に入りません。どれでもなければ報告してください。請求の根拠は行です。",
        ),
    ),
    "committer": Verdicts(
        Say("", "rows reach the tables in time", "行は遅れずにテーブルに入っています。"),
        Say(
            "",
            "the oldest row has waited {oldest_s} s for its table",
            "最も古い行が {oldest_s} 秒待っています。",
            "Nothing is lost: the rows are in the spool. See 'commit failed' in the gateway's log, and "
            "`sekisho tables info`.",
            "行はスプールにあり、失われていません。ゲートウェイのログの 'commit failed' と "
            "`sekisho tables info` を見てください。",
        ),
    ),
}

AGREE = Say("", "The books agree.", "帳簿は一致しています。")
DISAGREE = Say("", "The books do not agree: {count} of {all} checks.", "帳簿が一致しません: {all} 件中 {count} 件。")
NO_GATEWAY = Say(
    "",
    "No gateway answers at {url}: the tables were compared with each other only. Name it with --gateway URL.",
    "{url} でゲートウェイが応答しません。テーブル同士だけを比べました。--gateway URL で指定できます。",
)
OTHER_GATEWAY = Say(
    "",
    "The gateway at {url} writes into another data folder: the tables of {data_dir} were compared with each other "
    "only.",
    "{url} のゲートウェイは別のデータフォルダーに書いています。{data_dir} のテーブル同士だけを比べました。",
)
UNREACHABLE = Say(
    "",
    "{url} does not answer as a gateway: {error}. Is it running, and is this the port of /metrics?",
    "{url} がゲートウェイとして応答しません: {error}。起動しているか、/metrics のポートかを確認してください。",
)
IDS = Say("", "request ids: {ids}", "リクエスト ID: {ids}")
IDS_AND_MORE = Say("", "request ids: {ids} and {more} more", "リクエスト ID: {ids} ほか {more} 件")
RESTARTED = Say("", "it was restarted in the meantime", "途中で再起動しました")

# Notes: neither agreement nor disagreement
NOTES: Final = {
    "rows_of_others": Say(
        "",
        "{rows} rows since the gateway started, {counted} of its own: others write into these tables too, and of each "
        "figure the rows have to hold at least what this one counted",
        "ゲートウェイの起動後の行は {rows} 行、うちこのゲートウェイの行は {counted} 行です。"
        "ほかのゲートウェイも書き込んでいるため、このゲートウェイのカウンター以上の行があることを確かめました。",
    ),
    "budgets_no_key": Say(
        "",
        "budgets were not compared: that takes the admin key (--key, SEKISHO_ADMIN_KEY, or admin.key of the file)",
        "予算は比べていません。管理キーが必要です（設定の admin.key、SEKISHO_ADMIN_KEY、--key のどれか）。",
    ),
    "budgets_not_asked": Say("", "budgets were not compared: {reason}", "予算は比べていません: {reason}"),
    "budgets_uncounted": Say(
        "",
        "budgets were not compared: the counters do not answer just now",
        "予算は比べていません。カウンターが応答していません。",
    ),
    "budgets_other_zone": Say(
        "",
        "budgets were not compared: their periods do not end with those of {zone}; name the gateway's file by --config",
        "予算は比べていません。予算の期間が {zone} の区切りと合いません。"
        "ゲートウェイの設定を --config で指定してください。",
    ),
    "budget_erased": Say(
        "",
        "budget {budget} was not compared: {rows} nano-dollars in rows, {counted} counted; rows of {erased} "
        "nano-dollars in its period were erased, and nobody can say whose they were",
        "予算 {budget} は比べていません（行 {rows} ナノドル、カウンター {counted} ナノドル）。この期間の行のうち "
        "{erased} ナノドル分は消去されており、だれの行だったかはわかりません。",
    ),
    "budgets_rows_failed": Say(
        "",
        "budgets were not compared: {count} rows could not be stored, and their money is in the budgets alone",
        "予算は比べていません。保存できなかった行が {count} 件あり、その費用は予算にしかありません。",
    ),
}
#: what explains a difference of budgets
CAUSES: Final = {
    "charged_as_reserved": Say(
        "",
        "{count} attempts without a price on their row were charged what had been reserved: {more} nano-dollars more",
        "行に価格のない {count} 件の試行を予約額で計上したため、{more} ナノドル多くなっています。",
    ),
    "interrupted": Say(
        "",
        "{count} calls died with a gateway: a budget is charged when their leases have run out, after a minute, "
        "and with what the last attempt had reserved; {more} nano-dollars apart",
        "ゲートウェイとともに中断した呼び出しが {count} 件あります。予算には、約 1 分後にリースが切れてから、"
        "最後の試行の予約額を計上します。差は {more} ナノドルです。",
    ),
}
