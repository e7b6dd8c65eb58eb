"""What `reconcile --export` says, in English and Japanese. Must stay text: a test compares both languages."""

from __future__ import annotations

from typing import Final

from sekisho.app.settings.messages import Say

# Files that cannot be used; by the code of BadExport
BAD: Final = {
    "empty": Say(
        "empty",
        "there is nothing in the file",
        "ファイルに内容がありません。",
        "export it again, or leave it out",
        "もう一度エクスポートするか、指定から外してください。",
    ),
    "too_large": Say(
        "too_large",
        "the file is larger than {most_mb} MB",
        "ファイルが {most_mb} MB を超えています。",
        "export fewer days at a time, or days instead of minutes",
        "期間を分けるか、分単位ではなく日単位でエクスポートしてください。",
    ),
    "same_file": Say(
        "same_file",
        "another file that was given has the very same content: it would be counted twice",
        "ほかに指定したファイルと内容がまったく同じです。二重に数えることになります。",
        "name each page once",
        "各ページを 1 回だけ指定してください。",
    ),
    "result_twice": Say(
        "result_twice",
        "a result of {day} stands there twice: it would be counted twice",
        "{day} の同じ結果が 2 回出てきます。二重に数えることになります。",
        "give each page of the export once, of one query only",
        "1 つの問い合わせの各ページを 1 回だけ指定してください。",
    ),
    "bad_encoding": Say(
        "bad_encoding",
        "the file is text in no known encoding (UTF-8, UTF-16, Shift_JIS)",
        "UTF-8、UTF-16、Shift_JIS のどれとしても読めません。",
        "save it as CSV UTF-8",
        "「CSV UTF-8」形式で保存し直してください。",
    ),
    "bad_json": Say(
        "bad_json",
        "this is no JSON: {error}",
        "JSON として読めません: {error}",
        "was the download cut off? Export it again",
        "ダウンロードが途中で切れていないか確認し、もう一度エクスポートしてください。",
    ),
    "bad_shape": Say(
        "bad_shape",
        "this is not as the provider documents it: {error}",
        "プロバイダーのドキュメントにある形式と違います: {error}",
        "give the answer of the usage or costs API as it came",
        "利用量または費用の API の応答を、そのまま渡してください。",
    ),
    "missing_member": Say(
        "missing_member",
        "the member is missing",
        "この項目がありません。",
        "give the answer of the usage or costs API as it came",
        "利用量または費用の API の応答を、そのまま渡してください。",
    ),
    "unknown_shape": Say(
        "unknown_shape",
        "this is no usage export of OpenAI or Anthropic",
        "OpenAI または Anthropic の利用量エクスポートではありません。",
        "the shapes that can be read stand in docs/how-to/compare-with-the-bill.md; anything else goes as CSV",
        "読める形式は docs/how-to/compare-with-the-bill.ja.md にあります。それ以外は CSV にしてください。",
    ),
    "error_answer": Say(
        "error_answer",
        "this is an error that the provider answered, and no export",
        "エクスポートではなく、プロバイダーのエラー応答です。",
        "read it: often the key is no admin key",
        "内容を確認してください。よくある原因は、管理用でないキーを使ったことです。",
    ),
    "other_format": Say(
        "other_format",
        "{wanted} is expected, and this is {found}",
        "{wanted} を指定しましたが、これは {found} です。",
        "give files of one provider at a time, and the right --format-of",
        "1 回に 1 つのプロバイダーのファイルだけを渡し、--format-of を確認してください。",
    ),
    "bad_csv": Say("bad_csv", "this is no CSV: {error}", "CSV として読めません: {error}"),
    "no_column": Say(
        "no_column",
        "the column {column} is missing; there are: {found}",
        "列 {column} がありません。ある列: {found}",
        "the first line names the columns: date, model, and what is to be compared",
        "1 行目に列名を書いてください。date と model、それに比べる列が必要です。",
    ),
    "column_twice": Say("column_twice", "the column {column} is there twice", "列 {column} が 2 つあります。"),
    "nothing_to_compare": Say(
        "nothing_to_compare",
        "there is no column to compare",
        "比べる列がありません。",
        "any of requests, input_tokens, cached_input_tokens, cache_write_input_tokens, output_tokens, cost_usd",
        "requests、input_tokens、cached_input_tokens、cache_write_input_tokens、output_tokens、cost_usd のどれかです。",
    ),
    "bad_width": Say(
        "bad_width",
        "{found} cells, and the first line has {wanted}",
        "セルが {found} 個ありますが、1 行目は {wanted} 個です。",
        "put numbers with thousands separators in quotes",
        "桁区切りのある数値は引用符で囲んでください。",
    ),
    "empty_cell": Say(
        "empty_cell",
        "the cell is empty",
        "セルが空です。",
        "write 0 if there was none, or leave the column out",
        "なかった場合は 0 と書き、不明なら列ごと外してください。",
    ),
    "bad_separators": Say(
        "bad_separators",
        "'{value}' has a comma where no thousands separator stands",
        "'{value}' のカンマは桁区切りの位置にありません。",
        "write 1234567 or 1,234,567; a decimal point is a point",
        "1234567 か 1,234,567 のように書いてください。小数点はピリオドです。",
    ),
    "bad_count": Say(
        "bad_count",
        "'{value}' is no number of requests or tokens",
        "'{value}' はリクエスト数やトークン数として読めません。",
        "whole numbers from 0 on; a spreadsheet may have shortened it (1E+05)",
        "0 以上の整数で書いてください。表計算ソフトが 1E+05 のように省略した可能性があります。",
    ),
    "bad_amount": Say(
        "bad_amount",
        "'{value}' is no amount of US dollars",
        "'{value}' は米ドルの金額として読めません。",
        "write it as 12.34",
        "12.34 のように書いてください。",
    ),
    "bad_currency": Say(
        "bad_currency",
        "the amount is in '{value}', and only US dollars can be compared",
        "金額の通貨が '{value}' です。米ドルだけを比べられます。",
    ),
    "bad_date": Say(
        "bad_date",
        "'{value}' is no day and no whole hour",
        "'{value}' は日付または正時として読めません。",
        "write 2026-11-20, 2026/11/20, or 2026-11-20T13:00Z; days are those of UTC",
        "2026-11-20、2026/11/20、2026-11-20T13:00Z のように書いてください。日付は UTC です。",
    ),
    "bad_bucket": Say(
        "bad_bucket",
        "the bucket does not end after its beginning, or lies outside of this century",
        "期間の終わりが始まりより後でないか、今世紀の日時ではありません。",
    ),
    "no_zone": Say(
        "no_zone",
        "the time does not say in which zone it is",
        "時刻にタイムゾーンがありません。",
        "write it like 2026-11-20T00:00:00Z",
        "2026-11-20T00:00:00Z の形で書いてください。",
    ),
    "mixed_buckets": Say(
        "mixed_buckets",
        "some dates are days and some are hours",
        "日単位と時間単位の行が混ざっています。",
        "one file, one width",
        "1 つのファイルでは、どちらかにそろえてください。",
    ),
    "too_long": Say(
        "too_long",
        "the dates span too long a time",
        "日付の範囲が広すぎます。",
        "is there a typing mistake in a year?",
        "年の打ち間違いがないか確認してください。",
    ),
    "cached_exceed": Say(
        "cached_exceed",
        "{cached} cached input tokens of {input}: input_tokens has to include them",
        "入力 {input} トークンに対してキャッシュが {cached} トークンあります。"
        "input_tokens にはキャッシュ分も含めます。",
        "add them up",
        "合計した値を書いてください。",
    ),
}

# Options
NO_EXPORT = Say(
    "missing",
    "--provider, --format-of and --tolerance go with --export",
    "--provider、--format-of、--tolerance は --export とともに指定します。",
    "name the file with --export",
    "ファイルを --export で指定してください。",
)
UNREADABLE = Say("unreadable", "--export {file}: {error}", "--export {file}: {error}")
BAD_TOLERANCE = Say(
    "bad_number",
    "--tolerance {text} is no percentage from 0 to 100",
    "--tolerance {text} は 0 から 100 の割合として読めません。",
)
NO_SUCH_PROVIDER = Say(
    "bad_choice",
    "no row and no configuration names a provider {name}; there are: {known}",
    "プロバイダー {name} は、行にも設定にもありません。あるもの: {known}",
)
WHICH_PROVIDER = Say(
    "missing",
    "whose export is this? There are rows of: {known}",
    "どのプロバイダーのエクスポートですか。行にあるもの: {known}",
    "name it with --provider; give it several times if they share one account",
    "--provider で指定してください。1 つのアカウントを共有しているなら、すべて指定します。",
)
NONE = Say("", "none", "なし")

# What was found
AGREES = Say(
    "",
    "export ({format}): {figures} figures of {models} models in {buckets} buckets of time agree with the rows",
    "エクスポート（{format}）: {buckets} 期間、{models} モデルの {figures} 個の値が行と一致しています。",
)
AGREES_WITHIN = Say(
    "",
    "export ({format}): {figures} figures of {models} models in {buckets} buckets of time agree with the rows, "
    "{within} of them within the tolerance",
    "エクスポート（{format}）: {buckets} 期間、{models} モデルの {figures} 個の値が行と一致しています。"
    "うち {within} 個は許容差の範囲内です。",
)
DIFFERS = Say("", "{day}, {model}: {figures}", "{day}、{model}: {figures}")
FIGURE = Say(
    "",
    "{name} {rows} in rows, {export} in the export ({more}, {percent})",
    "{name} 行 {rows}、エクスポート {export}（{more}、{percent}）",
)
ALL_MODELS = Say("", "all models", "全モデル")
MORE_DIFFERENCES = Say(
    "",
    "{count} more days and models differ: --format json has them all",
    "ほかに {count} 件の差があります。--format json ですべて見られます。",
)
FIGURES: Final = {
    "requests": Say("", "requests", "リクエスト"),
    "input_tokens": Say("", "input tokens", "入力トークン"),
    "uncached_input_tokens": Say("", "uncached input tokens", "キャッシュなし入力トークン"),
    "cache_read_input_tokens": Say("", "cached input tokens", "キャッシュ読み取りトークン"),
    "cache_creation_input_tokens": Say("", "cache write tokens", "キャッシュ書き込みトークン"),
    "output_tokens": Say("", "output tokens", "出力トークン"),
    "cost_nanos": Say("", "USD", "USD"),
}
NOTES: Final = {
    "export_estimated": Say(
        "",
        "{count} calls of that time are estimated, {tokens} tokens: the provider told no count of them",
        "その期間の {count} 件（{tokens} トークン）は推定値です。プロバイダーがトークン数を返していません。",
    ),
    "export_charges": Say(
        "",
        "not compared, since it is no tokens: {usd} USD for {names}",
        "トークン以外の費用は比べていません: {usd} USD（{names}）",
    ),
    "export_skipped": Say("", "not compared: {names}", "比べていないもの: {names}"),
    "export_unfinished": Say(
        "",
        "the export says that it has more pages: only what is here was compared",
        "エクスポートにはまだ続きのページがあります。渡された分だけを比べました。",
    ),
}
CAUSES: Final = {
    "other_name": Say(
        "",
        "the same model under another name: {model} has just these numbers on the other side",
        "同じモデルの別名と思われます: {model} に、反対側の同じ値があります。",
    ),
    "not_over": Say(
        "",
        "that time is not over, or ended within the last hour: the provider may still be counting",
        "期間が終わっていないか、終わって 1 時間以内です。プロバイダーの集計が終わっていない可能性があります。",
    ),
    "only_in_export": Say(
        "",
        "no row of that time has this model: calls that did not go through the gateway, rows that were deleted, or a "
        "model under another name",
        "その期間に、このモデルの行がありません。ゲートウェイを通らない呼び出し、行の削除、モデルの別名が考えられます。",
    ),
    "only_in_rows": Say(
        "",
        "the export has nothing of it: another account or project, a filter, or a model under another name",
        "エクスポートにありません。別のアカウントやプロジェクト、絞り込み、モデルの別名が考えられます。",
    ),
    "past_the_gateway": Say(
        "",
        "{count} requests that did not go through the gateway, or whose rows were deleted",
        "{count} 件のリクエストがゲートウェイを通っていないか、行が削除されています。",
    ),
    "perhaps_past_the_gateway": Say(
        "",
        "calls that did not go through the gateway, or whose rows were deleted",
        "ゲートウェイを通らない呼び出しがあるか、行が削除されています。",
    ),
    "unanswered": Say(
        "",
        "{count} attempts that failed: the provider may have counted some of them",
        "失敗した試行が {count} 件あります。プロバイダーが一部を数えている可能性があります。",
    ),
    "missing_in_export": Say(
        "",
        "{count} requests that the export leaves out: another account or project, a filter, or failed ones",
        "{count} 件のリクエストがエクスポートにありません。別のアカウントやプロジェクト、絞り込み、"
        "失敗したリクエストが考えられます。",
    ),
    "estimated": Say(
        "",
        "{count} of these calls are estimated, {tokens} tokens, since the provider told no count",
        "うち {count} 件（{tokens} トークン）は推定値です。プロバイダーがトークン数を返していません。",
    ),
    "cut_off": Say(
        "",
        "{count} calls were not read to the end: the provider may have written on",
        "{count} 件は最後まで受信していません。プロバイダー側では生成が続いた可能性があります。",
    ),
    "cached_apart": Say(
        "",
        "{tokens} input tokens that one side counts as cached and the other does not; the sum agrees",
        "{tokens} 入力トークンについて、キャッシュかどうかの数え方が違います。合計は一致しています。",
    ),
    "unpriced": Say(
        "",
        "{count} attempts have no price, and are in no cost of the rows",
        "価格不明の試行が {count} 件あり、行の費用に入っていません。",
    ),
    "price": Say(
        "",
        "everything else that was compared agrees: the price differs (discount, service tier, rounding, old price)",
        "ほかの値は一致しています。単価の違い（割引、処理区分、丸め、古い価格）が考えられます。",
    ),
    "cost_alone": Say(
        "",
        "costs alone do not say why: give the usage export beside them",
        "費用だけでは原因がわかりません。利用量のエクスポートも一緒に渡してください。",
    ),
    "across": Say(
        "",
        "{count} calls ran over the beginning or the end of that time, and may stand in the next bucket",
        "{count} 件は期間の境目をまたいでいるため、隣の期間に数えられている可能性があります。",
    ),
    "unknown": Say(
        "",
        "none of the known causes fits; the rows of that time show what was sent",
        "当てはまる原因が見つかりません。その期間の行で、送信した内容を確認してください。",
    ),
}
