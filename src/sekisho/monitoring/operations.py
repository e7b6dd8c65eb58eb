"""The dashboard for those who keep the gateway running. Must only name metrics that /metrics has: a test compares."""

from __future__ import annotations

from typing import Final

from sekisho.monitoring.marks import (
    BURN_ALL,
    BURN_FAST,
    BURN_SLOW,
    ERROR_BUDGET,
    LATENCY_S,
    MAINTENANCE_S,
    SPOOL_S,
)
from sekisho.monitoring.panels import Colour, Dashboard, Panel, Query, Section
from sekisho.monitoring.words import Words

_CALLS: Final = 'llm_requests_total{model=~"$model"}'
# The caller's own faults (4xx) are in neither part: they are no failures, and many of them would hide some.
_FAILED: Final = 'llm_requests_total{model=~"$model",status=~"5.."}'
_SERVED: Final = 'llm_requests_total{model=~"$model",status!~"4.."}'


def _quantile(part: float, bucket: str, by: str) -> str:
    return f"histogram_quantile({part}, sum by ({by}, le) (rate({bucket}[$__rate_interval])))"


def _latency(part: float) -> str:
    return _quantile(part, 'llm_latency_seconds_bucket{model=~"$model"}', "model")


_TO_FIRST: Final = 'gen_ai_server_time_to_first_token_seconds_bucket{gen_ai_request_model=~"$model"}'
_UP: Final[tuple[tuple[int, Words, Colour], ...]] = (
    (0, Words("away", "応答なし"), "red"),
    (1, Words("up", "正常"), "green"),
)

_NOW: Final = Section(
    Words("Now", "現在の状態"),
    (
        Panel(
            title=Words("Gateways", "ゲートウェイ数"),
            about=Words(
                "Gateways that answered Prometheus just now. Workers of one gateway count as one.",
                "直近の収集に応答したゲートウェイの数です。1 つのゲートウェイのワーカーは、まとめて 1 と数えます。",
            ),
            queries=(Query("count(sekisho_calls_in_flight) or vector(0)"),),
            unit="short",
            look="stat",
            width=4,
        ),
        Panel(
            title=Words("Calls a second", "毎秒の呼び出し数"),
            about=Words(
                "All calls of the chosen models, refused ones too.", "選んだモデルの全呼び出しです。拒否も含みます。"
            ),
            queries=(Query(f"sum(rate({_CALLS}[$__rate_interval]))"),),
            unit="reqps",
            look="stat",
            width=4,
        ),
        Panel(
            title=Words("Error share", "エラー率"),
            about=Words(
                "Calls answered with 5xx, as a part of all that the caller did nothing wrong with: 4xx are left out. "
                "A stream that broke off after its first content was answered with 200 and is not here; the view "
                "`recent_errors` has it. Yellow from 0.1 %, red from 1 %.",
                "5xx で終わった呼び出しの割合です。呼び出し元に原因のある 4xx は、分母からも除きます。"
                "最初の内容のあとで途切れたストリームは 200 なので、ここには入りません。ビュー `recent_errors` で"
                "確認できます。0.1 % から黄、1 % から赤です。",
            ),
            queries=(
                Query(
                    f"(sum(rate({_FAILED}[$__rate_interval])) or vector(0)) / sum(rate({_SERVED}[$__rate_interval]))"
                ),
            ),
            unit="percentunit",
            look="stat",
            width=4,
            steps=((ERROR_BUDGET, "yellow"), (10 * ERROR_BUDGET, "red")),
        ),
        Panel(
            title=Words("Error budget burn, 1 h", "エラーバジェット消費速度（1 時間）"),
            about=Words(
                "How many times faster than 99.9 % allows calls failed in the last hour, all models together. "
                "Above 1 the budget does not last; above 14.4 an alert goes off at once.",
                "直近 1 時間の失敗が、99.9 % で許される速さの何倍かを、全モデルの合計で示します。"
                "1 を超え続けるとバジェットが尽き、14.4 を超えるとすぐにアラートが出ます。",
            ),
            queries=(
                Query(
                    '(sum(rate(llm_requests_total{status=~"5.."}[1h])) or vector(0))'
                    f' / sum(rate(llm_requests_total{{status!~"4.."}}[1h])) / {ERROR_BUDGET}'
                ),
            ),
            unit="short",
            look="stat",
            width=4,
            steps=((BURN_ALL, "yellow"), (BURN_SLOW, "orange"), (BURN_FAST, "red")),
        ),
        Panel(
            title=Words("Calls in flight", "処理中の呼び出し"),
            about=Words("Calls that have no row yet, all models.", "まだ行になっていない呼び出しです（全モデル）。"),
            queries=(Query("sum(sekisho_calls_in_flight)"),),
            unit="short",
            look="stat",
            width=4,
        ),
        Panel(
            title=Words("Stores", "ストア"),
            about=Words(
                "`database` has keys, teams and rules; `state` is Redis, where there is one. While the database is "
                "away the keys known last hold; while Redis is away calls under a blocking budget get 503.",
                "`database` はキー、チーム、ルール、`state` は（使っていれば）Redis です。データベースが応答しない間は"
                "最後に読み込んだキーが使われ、Redis が応答しない間は `block` の予算がある呼び出しが 503 になります。",
            ),
            queries=(Query("min by (store) (sekisho_store_up)", "{{store}}"),),
            unit="short",
            look="stat",
            width=4,
            named=_UP,
        ),
    ),
)

_TRAFFIC: Final = Section(
    Words("Calls", "呼び出し"),
    (
        Panel(
            title=Words("Calls a second by status", "ステータス別の毎秒の呼び出し数"),
            about=Words(
                "By the HTTP status that was sent; 499 is a client that left.",
                "返した HTTP ステータス別です。499 は、クライアントが途中で切断した呼び出しです。",
            ),
            queries=(Query(f"sum by (status) (rate({_CALLS}[$__rate_interval]))", "{{status}}"),),
            unit="reqps",
            stacked=True,
        ),
        Panel(
            title=Words("Calls a second by model", "モデル別の毎秒の呼び出し数"),
            about=Words(
                "`unknown`: refused calls, replayed answers, unknown models, and models addressed as provider/model.",
                "`unknown` は、拒否された呼び出し、リプレイした応答、不明なモデル、provider/model で直接指定された"
                "モデルです。",
            ),
            queries=(Query(f"sum by (model) (rate({_CALLS}[$__rate_interval]))", "{{model}}"),),
            unit="reqps",
            stacked=True,
        ),
        Panel(
            title=Words("Error share by model", "モデル別のエラー率"),
            about=Words(
                "5xx as a part of the calls that the caller did nothing wrong with. The line at 0.1 % is what "
                "99.9 % allows.",
                "呼び出し元に原因のある 4xx を除いた呼び出しのうち、5xx の割合です。0.1 % の線は、99.9 % で許される"
                "上限です。",
            ),
            queries=(
                Query(
                    f"(sum by (model) (rate({_FAILED}[$__rate_interval]))"
                    f" or 0 * sum by (model) (rate({_SERVED}[$__rate_interval])))"
                    f" / sum by (model) (rate({_SERVED}[$__rate_interval]))",
                    "{{model}}",
                ),
            ),
            unit="percentunit",
            steps=((ERROR_BUDGET, "red"),),
        ),
        Panel(
            title=Words("Latency by model", "モデル別の所要時間"),
            about=Words(
                "From request to last byte, streams included: median, 95th and 99th percentile, as exact as the "
                "buckets are (…, 2, 5, 10, 30 s). More than 30 s is shown as 30 s. The line is at 5 s.",
                "リクエストから最後の 1 バイトまでの時間の中央値、95 パーセンタイル、99 パーセンタイルです"
                "（ストリームも含む）。精度は区切り（…、2、5、10、30 秒）によります。30 秒を超えるものは 30 秒と"
                "表示されます。線は 5 秒です。",
            ),
            queries=(
                Query(_latency(0.5), "{{model}} p50"),
                Query(_latency(0.95), "{{model}} p95"),
                Query(_latency(0.99), "{{model}} p99"),
            ),
            unit="s",
            steps=((LATENCY_S, "red"),),
        ),
        Panel(
            title=Words("Time to first token, p95", "最初のトークンまでの時間（p95）"),
            about=Words(
                "Streams: from request to first content, 95th percentile. More than 10 s is shown as 10 s.",
                "ストリームで、リクエストから最初の内容が届くまでの時間の 95 パーセンタイルです。10 秒を超えるものは"
                " 10 秒と表示されます。",
            ),
            queries=(Query(_quantile(0.95, _TO_FIRST, "gen_ai_request_model"), "{{gen_ai_request_model}}"),),
            unit="s",
            steps=((LATENCY_S, "red"),),
        ),
        Panel(
            title=Words("In flight", "処理中"),
            about=Words(
                "Calls that have no row yet, and streams among them that are being sent. All models, all workers.",
                "まだ行になっていない呼び出しと、そのうち送信中のストリームです（全モデル、全ワーカー）。",
            ),
            queries=(
                Query("sum(sekisho_calls_in_flight)", Words("calls", "呼び出し")),
                Query("sum(sekisho_live_streams)", Words("streams", "ストリーム")),
            ),
            unit="short",
        ),
    ),
)

_ROWS: Final = Section(
    Words("Rows and tables", "行とテーブル"),
    (
        Panel(
            title=Words("Rows a second by state", "状態別の毎秒の行数"),
            about=Words(
                "`appended` to the spool and `committed` to the tables should agree over some time. `failed` are lost: "
                "look at the log. `dropped` are refusals that cost a caller nothing, beyond 200 a second.",
                "`appended`（スプールに書いた行）と `committed`（テーブルに入った行）は、しばらくすると一致します。"
                "`failed` は失われた行です。ログを確認してください。`dropped` は、費用のない拒否のうち、毎秒 200 件を"
                "超えた分です。",
            ),
            queries=(Query("sum by (state) (rate(sekisho_rows_total[$__rate_interval]))", "{{state}}"),),
            unit="short",
        ),
        Panel(
            title=Words("Oldest waiting row", "最も長く待っている行"),
            about=Words(
                "Age of the oldest row that is not in the tables yet: some five seconds when all is well. Above the "
                "line, at 60 s, the committer is failing or the disk may be full. Calls are not touched.",
                "まだテーブルに入っていない最も古い行の待ち時間です。正常なら 5 秒ほどです。60 秒の線を超えたら、"
                "コミッターが失敗しているか、ディスクがいっぱいのおそれがあります。呼び出しには影響しません。",
            ),
            queries=(Query("max by (instance) (sekisho_spool_oldest_seconds)", "{{instance}}"),),
            unit="s",
            steps=((SPOOL_S, "red"),),
        ),
        Panel(
            title=Words("Spool", "スプール"),
            about=Words("Bytes of rows in the spool, all workers.", "スプールにある行のバイト数です（全ワーカー）。"),
            queries=(Query("sum by (instance) (sekisho_spool_bytes)", "{{instance}}"),),
            unit="bytes",
        ),
        Panel(
            title=Words("Committer", "コミッター"),
            about=Words(
                "Whether the process runs that carries rows into the tables. While it does not, rows wait in the "
                "spool.",
                "行をテーブルに移すプロセスが動いているかどうかです。止まっている間、行はスプールで待ちます。",
            ),
            queries=(Query("min by (instance) (sekisho_committer_up)", "{{instance}}"),),
            unit="short",
            look="stat",
            width=4,
            named=_UP,
        ),
        Panel(
            title=Words("Committer restarts", "コミッターの再起動"),
            about=Words(
                "Committers that were replaced in the time shown: they `died`, or `hung` and were killed.",
                "表示期間に起動し直されたコミッターの数です。`died` は異常終了、`hung` は応答しなくなって強制終了"
                "されたものです。",
            ),
            queries=(Query("sum by (reason) (increase(sekisho_committer_restarts_total[$__range]))", "{{reason}}"),),
            unit="short",
            look="stat",
            width=4,
            steps=((1, "yellow"),),
        ),
        Panel(
            title=Words("Since the last maintenance", "前回のメンテナンスからの時間"),
            about=Words(
                "By job: `night` and `light` run by themselves, others were commands. Red from two days. Tables in a "
                "bucket have none. Prometheus calls the label `exported_job`, because `job` is its own.",
                "ジョブ別です。`night` と `light` は自動、ほかはコマンドで実行したものです。2 日から赤になります。"
                "バケット上のテーブルにはありません。`job` は Prometheus 自身のラベルなので、`exported_job` という"
                "名前になっています。",
            ),
            queries=(
                Query(
                    "time() - max by (exported_job) (sekisho_maintenance_last_success_timestamp_seconds)",
                    "{{exported_job}}",
                ),
            ),
            unit="s",
            look="stat",
            steps=((MAINTENANCE_S, "red"),),
        ),
        Panel(
            title=Words("Table files", "テーブルのファイル数"),
            about=Words(
                "Files of a table when maintenance last ended.", "前回のメンテナンスが終わったときのファイル数です。"
            ),
            queries=(Query("max by (table) (sekisho_table_files)", "{{table}}"),),
            unit="short",
            width=4,
        ),
        Panel(
            title=Words("Table size", "テーブルの大きさ"),
            about=Words("Their bytes.", "そのバイト数です。"),
            queries=(Query("max by (table) (sekisho_table_bytes)", "{{table}}"),),
            unit="bytes",
            width=4,
        ),
    ),
)

OPERATIONS: Final = Dashboard(
    uid="sekisho-operations",
    title=Words("Sekisho: operations", "Sekisho: 運用"),
    about=Words(
        "Does the gateway answer, how fast, and are its rows kept?",
        "ゲートウェイは応答しているか、速さはどうか、行は保存されているか。",
    ),
    since="now-6h",
    sections=(_NOW, _TRAFFIC, _ROWS),
)
