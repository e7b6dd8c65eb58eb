"""When somebody should look, as data: an expression, how long it has to hold, and what to do. Must only name metrics
that /metrics has, and pages of this repository: tests compare.

`critical` is for a person at once, `warning` for the next working day.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from sekisho.monitoring.marks import (
    BUDGET_USED_UP,
    BUDGET_WARNS,
    DEATHS_AN_HOUR,
    FEWEST_TIMED,
    LATENCY_S,
    MAINTENANCE_S,
    SPOOL_S,
)
from sekisho.monitoring.words import Words

Severity = Literal["critical", "warning"]

_METRICS: Final = Words("docs/reference/metrics.md", "docs/reference/metrics.md")
_WATCH: Final = Words("docs/how-to/watch-with-prometheus.md", "docs/how-to/watch-with-prometheus.ja.md")
_SMALL: Final = Words("docs/how-to/keep-the-tables-small.md", "docs/how-to/keep-the-tables-small.ja.md")
_SURVIVES: Final = Words("docs/how-to/choose-what-a-row-survives.md", "docs/how-to/choose-what-a-row-survives.ja.md")
_WORKERS: Final = Words("docs/how-to/run-several-workers.md", "docs/how-to/run-several-workers.ja.md")
_SPENDING: Final = Words("docs/how-to/watch-and-stop-spending.md", "docs/how-to/watch-and-stop-spending.ja.md")
_COST: Final = Words("docs/explanation/what-a-call-costs.md", "docs/explanation/what-a-call-costs.md")


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """`lasts`: how long `expr` has to hold. `page` is what to read on, a path in Sekisho's repository."""

    name: str
    expr: str
    lasts: str
    severity: Severity
    summary: Words
    description: Words
    page: Words


_BUDGET: Final = "max by (budget) (sekisho_budget_ratio)"

GATEWAY: Final = (
    Alert(
        name="SekishoGatewayDown",
        expr='up{job="sekisho"} == 0 or absent(up{job="sekisho"})',
        lasts="2m",
        severity="critical",
        summary=Words(
            "The gateway {{ $labels.instance }} does not answer Prometheus",
            "ゲートウェイ {{ $labels.instance }} が Prometheus に応答していません",
        ),
        description=Words(
            "Ask its /health/ready; if nothing answers, look at the log of the process and start it again. Without an "
            "instance in this message no target has the job `sekisho`: name the job so in prometheus.yml.",
            "/health/ready を確認してください。応答がなければ、プロセスのログを見て起動し直します。このメッセージに"
            "インスタンスの名前がなければ、ジョブ `sekisho` の収集先がありません。prometheus.yml の job_name を"
            "確認してください。",
        ),
        page=_WATCH,
    ),
    Alert(
        name="SekishoLatencyHigh",
        expr=f"histogram_quantile(0.95, sum by (model, le) (rate(llm_latency_seconds_bucket[10m]))) > {LATENCY_S:g}"
        f" and sum by (model) (increase(llm_latency_seconds_count[10m])) >= {FEWEST_TIMED}",
        lasts="5m",
        severity="warning",
        summary=Words(
            "Model {{ $labels.model }}: 5 % of the calls take longer than {{ $value | humanizeDuration }}",
            "モデル {{ $labels.model }}: 呼び出しの 5 % に {{ $value | humanizeDuration }} 以上かかっています",
        ),
        description=Words(
            "Is it the provider or long answers? Compare the time to the first token on the dashboard of operations; "
            "put a faster target first, or limit max_tokens. Streams count until their last byte.",
            "プロバイダーが遅いのか、応答が長いのか、運用のダッシュボードの「最初のトークンまでの時間」と比べて"
            "ください。速いターゲットを先にするか、max_tokens を制限します。ストリームは最後の 1 バイトまで数えます。",
        ),
        page=Words("docs/how-to/fall-back-to-another-model.md", "docs/how-to/fall-back-to-another-model.ja.md"),
    ),
    Alert(
        name="SekishoStoreDown",
        expr="sekisho_store_up == 0",
        lasts="1m",
        severity="critical",
        summary=Words(
            "{{ $labels.instance }}: the store `{{ $labels.store }}` does not answer",
            "{{ $labels.instance }}: ストア `{{ $labels.store }}` が応答していません",
        ),
        description=Words(
            "`database`: calls go on with the keys known last, changes fail; start the database. `state`: limits are "
            "counted by each worker alone, and calls under a blocking budget get 503; start Redis or Valkey.",
            "`database` の場合、最後に読み込んだキーで呼び出しは続きますが、変更は失敗します。データベースを起動して"
            "ください。`state` の場合、制限はワーカーごとに数えられ、`block` の予算がある呼び出しは 503 になります。"
            "Redis か Valkey を起動してください。",
        ),
        page=_WORKERS,
    ),
)

ROWS: Final = (
    Alert(
        name="SekishoRowsLost",
        expr='increase(sekisho_rows_total{state="failed"}[5m]) > 0',
        lasts="0m",
        severity="critical",
        summary=Words("{{ $labels.instance }}: rows are being lost", "{{ $labels.instance }}: 行が失われています"),
        description=Words(
            "The spool cannot be written. Make room on the disk of data_dir, and read the log for the reason. To take "
            "no calls whose rows cannot be kept, set `spool: {on_error: closed}`.",
            "スプールに書けません。data_dir のディスクに空きを作り、ログで理由を確認してください。行を保存できない"
            "呼び出しを受け付けないようにするには、`spool: {on_error: closed}` を設定します。",
        ),
        page=_SURVIVES,
    ),
    Alert(
        name="SekishoRowsWait",
        expr=f"sekisho_spool_oldest_seconds > {SPOOL_S:g}",
        lasts="2m",
        severity="warning",
        summary=Words(
            "{{ $labels.instance }}: rows have waited for the tables for {{ $value | humanizeDuration }}",
            "{{ $labels.instance }}: 行が {{ $value | humanizeDuration }} の間テーブルに入っていません",
        ),
        description=Words(
            "Rows are safe in the spool as long as it has room. The log says why the committer fails: often the disk "
            "is full, or the folder or bucket of the tables is away. Where tables.commit.every_s is set to minutes, "
            "raise the number of this rule.",
            "スプールに空きがある限り、行は無事です。コミッターが失敗する理由はログでわかります。多くは、ディスクが"
            "いっぱいか、テーブルのフォルダーやバケットに接続できないことが原因です。tables.commit.every_s を分単位に"
            "している場合は、このルールの秒数を増やしてください。",
        ),
        page=_METRICS,
    ),
    Alert(
        name="SekishoCommitterDown",
        expr="sekisho_committer_up == 0",
        lasts="1m",
        severity="critical",
        summary=Words(
            "{{ $labels.instance }}: the committer does not run", "{{ $labels.instance }}: コミッターが動いていません"
        ),
        description=Words(
            "It does not stay alive, or hangs and cannot be killed because its disk or network folder does not answer. "
            "Rows are safe in the spool. Look at the log and at the folder of the tables.",
            "起動してもすぐに落ちているか、ディスクやネットワークのフォルダーが応答せず、止まったまま強制終了も"
            "できません。行はスプールに無事に残っています。ログと、テーブルのフォルダーを確認してください。",
        ),
        page=_METRICS,
    ),
    Alert(
        name="SekishoCommitterHung",
        expr='increase(sekisho_committer_restarts_total{reason="hung"}[1d]) > 0',
        lasts="0m",
        severity="warning",
        summary=Words(
            "{{ $labels.instance }}: a committer hung within the last day and was replaced",
            "{{ $labels.instance }}: 直近 1 日に、コミッターが応答しなくなって起動し直されました",
        ),
        description=Words(
            "It gave no sign of life for three minutes. Nothing was lost. Look at the disk or the network folder of "
            "the tables.",
            "3 分間応答がありませんでした。失われた行はありません。テーブルのあるディスクかネットワークのフォルダーを"
            "確認してください。",
        ),
        page=_METRICS,
    ),
    Alert(
        name="SekishoCommitterDies",
        expr=f'increase(sekisho_committer_restarts_total{{reason="died"}}[1h]) > {DEATHS_AN_HOUR}',
        lasts="0m",
        severity="warning",
        summary=Words(
            "{{ $labels.instance }}: the committer dies again and again",
            "{{ $labels.instance }}: コミッターが繰り返し落ちています",
        ),
        description=Words(
            "More than 3 times within an hour. Rows are safe in the spool. The log says with what it ended: often too "
            "little memory.",
            "1 時間に 3 回を超えました。行はスプールに無事に残っています。終了の理由はログでわかります。多くはメモリ"
            "不足です。",
        ),
        page=_METRICS,
    ),
    Alert(
        name="SekishoMaintenanceLate",
        # Prometheus names a label of ours `exported_job` where it has a `job` of its own. A job that never ended well
        # has no series, and neither has a gateway whose tables are in a bucket: both are silent here.
        expr=f'time() - sekisho_maintenance_last_success_timestamp_seconds{{exported_job="night"}} > {MAINTENANCE_S:g}',
        lasts="10m",
        severity="warning",
        summary=Words(
            "{{ $labels.instance }}: no nightly maintenance has ended well for {{ $value | humanizeDuration }}",
            "{{ $labels.instance }}: 夜間のメンテナンスが {{ $value | humanizeDuration }} 成功していません",
        ),
        description=Words(
            "Small files pile up, and days beyond retention stay. `sekisho tables info` names the error of the last "
            "job; `sekisho tables compact`, `expire` and `vacuum` do it by hand.",
            "小さなファイルが増え、保存期間を過ぎた日も残ったままになります。`sekisho tables info` で前回のエラーが"
            "わかります。手動では `sekisho tables compact`、`expire`、`vacuum` を実行します。",
        ),
        page=_SMALL,
    ),
)

MONEY: Final = (
    Alert(
        name="SekishoBudgetNearlyUsed",
        expr=f"{_BUDGET} >= {BUDGET_WARNS} < {BUDGET_USED_UP}",
        lasts="1m",
        severity="warning",
        summary=Words(
            "The budget `{{ $labels.budget }}` is used to {{ $value | humanizePercentage }}",
            "予算 `{{ $labels.budget }}` の {{ $value | humanizePercentage }} を使いました",
        ),
        description=Words(
            "`sekisho budgets list` says what is left and when it begins anew; `sekisho budgets set` raises it, "
            "`sekisho stop` ends calls. A blocking budget already refuses a call that is larger than what is left.",
            "残額と次の期間の開始は `sekisho budgets list` でわかります。増額は `sekisho budgets set`、"
            "呼び出しの停止は `sekisho stop` です。`block` の予算は、残額より大きな呼び出しをすでに拒否しています。",
        ),
        page=_SPENDING,
    ),
    Alert(
        name="SekishoBudgetUsedUp",
        expr=f"{_BUDGET} >= {BUDGET_USED_UP}",
        lasts="1m",
        severity="warning",
        summary=Words(
            "The budget `{{ $labels.budget }}` is used up ({{ $value | humanizePercentage }})",
            "予算 `{{ $labels.budget }}` を使い切りました（{{ $value | humanizePercentage }}）",
        ),
        description=Words(
            "99 % or more is spent or reserved. The end of the name says what happens: `block` refuses calls with 429, "
            "`degrade` sends them to a cheaper endpoint, `warn` lets them in. `sekisho budgets list` says when it "
            "begins anew; `sekisho budgets set` raises it.",
            "99 % 以上が使用済みか予約済みです。名前の最後が動作を示します。`block` は 429 で拒否し、`degrade` は安い"
            "エンドポイントに回し、`warn` は通します。次の期間の開始は `sekisho budgets list` でわかり、増額は "
            "`sekisho budgets set` です。",
        ),
        page=_SPENDING,
    ),
    Alert(
        name="SekishoCallsUnpriced",
        # A counter whose first sample is not 0 has no increase: the second half sees a model that is new.
        expr="sum by (model) (increase(sekisho_unpriced_total[1h])) > 0 or "
        "(sum by (model) (sekisho_unpriced_total) > 0 unless sum by (model) (sekisho_unpriced_total offset 1h))",
        lasts="0m",
        severity="warning",
        summary=Words(
            "Calls of {{ $labels.model }} have no price", "{{ $labels.model }} の呼び出しの価格がわかりません"
        ),
        description=Words(
            "The sums of money and the budgets leave them out. Give the model a price in `prices` of the "
            "configuration; `unknown_price: block` refuses such calls.",
            "費用の合計にも予算にも入っていません。設定の `prices` でモデルの価格を指定してください。"
            "`unknown_price: block` にすると、そうした呼び出しを拒否します。",
        ),
        page=_COST,
    ),
)
