"""The dashboard for those who answer for the money. Must only name metrics that /metrics has: a test compares.

Prometheus reckons increases from samples, so its sums are near; the rows are exact, and the panels say so.
"""

from __future__ import annotations

from typing import Final

from sekisho.monitoring.marks import BUDGET_HALF, BUDGET_WARNS
from sekisho.monitoring.panels import Colour, Dashboard, Panel, Query, Section
from sekisho.monitoring.words import Words

_COST: Final = 'llm_cost_dollars_total{model=~"$model"}'
_CALLS: Final = 'llm_requests_total{model=~"$model"}'
_UNPRICED: Final = 'sekisho_unpriced_total{model=~"$model"}'
_TOKENS: Final = 'llm_tokens_used_total{model=~"$model"}'
_BUDGET_STEPS: Final[tuple[tuple[float, Colour], ...]] = (
    (BUDGET_HALF, "yellow"),
    (BUDGET_WARNS, "orange"),
    (1.0, "red"),
)

_NEAR: Final = Words(
    "Reckoned from samples: what was spent before the first one, or between the last one and a restart, is missing. "
    "`sekisho sql` on the view `cost_by_day` has the exact sum.",
    "収集した値からの概算です。最初の収集より前や、最後の収集から再起動までの費用は入りません。正確な合計は、"
    "`sekisho sql` でビュー `cost_by_day` を見てください。",
)
_KEEP: Final = Words(
    " Prometheus keeps 15 days unless told otherwise (--storage.tsdb.retention.time).",
    "Prometheus が値を保存するのは、指定がなければ 15 日分です（--storage.tsdb.retention.time）。",
)
_TODAY: Final = Words("Today", "今日")
_WEEK: Final = Words("Last 7 days", "直近 7 日間")
_MONTH: Final = Words("Last 30 days", "直近 30 日間")


def _more(one: Words, other: Words) -> Words:
    return Words(one.en + other.en, one.ja + other.ja)


def _sum(title: Words, span: str, *, since: str | None = None, about: Words = _NEAR) -> Panel:
    return Panel(
        title=title,
        about=about,
        queries=(Query(f"sum(increase({_COST}[{span}]))"),),
        unit="currencyUSD",
        look="stat",
        width=4,
        since=since,
    )


def _by_model(title: Words, span: str, *, since: str | None = None, about: Words = _NEAR) -> Panel:
    return Panel(
        title=_more(title, Words(" by model", "のモデル別費用")),
        about=about,
        queries=(Query(f"sum by (model) (increase({_COST}[{span}]))", "{{model}}"),),
        unit="currencyUSD",
        look="bargauge",
        since=since,
    )


_TOTALS: Final = Section(
    Words("US dollars", "費用（米ドル）"),
    (
        _sum(_TODAY, "$__range", since="now/d"),
        _sum(_WEEK, "7d"),
        _sum(_MONTH, "30d", about=_more(_NEAR, _KEEP)),
        _sum(Words("Last hour", "直近 1 時間"), "1h"),
        Panel(
            title=Words("Calls without a price", "価格のわからない呼び出し"),
            about=Words(
                "In the time shown. Their cost is unknown and in none of these sums: give their models a price in "
                "`prices` of the configuration.",
                "表示期間の件数です。費用がわからないため、どの合計にも入っていません。設定の `prices` でモデルの価格を"
                "指定してください。",
            ),
            queries=(Query(f"sum(increase({_UNPRICED}[$__range]))"),),
            unit="short",
            look="stat",
            width=4,
            steps=((0.5, "red"),),
        ),
        Panel(
            title=Words("Replayed answers", "リプレイした応答"),
            about=Words(
                "Calls with an Idempotency-Key that got the answer of the first one again, for nothing, in the time "
                "shown; all models.",
                "`Idempotency-Key` により、最初の応答を費用なしで再び返した呼び出しの数です（表示期間、全モデル）。",
            ),
            queries=(Query('sum(increase(sekisho_idempotency_total{outcome="replayed"}[$__range]))'),),
            unit="short",
            look="stat",
            width=4,
        ),
        _by_model(_TODAY, "$__range", since="now/d"),
        _by_model(_WEEK, "7d"),
        _by_model(_MONTH, "30d", about=_more(_NEAR, _KEEP)),
        Panel(
            title=Words("US dollars an hour by model", "モデル別の 1 時間あたりの費用"),
            about=_more(
                Words("What the hour before each moment cost. ", "各時点までの 1 時間にかかった費用です。"), _NEAR
            ),
            queries=(Query(f"sum by (model) (increase({_COST}[1h]))", "{{model}}"),),
            unit="currencyUSD",
            width=16,
            stacked=True,
        ),
        Panel(
            title=Words("US dollars per 1,000 calls", "1,000 回あたりの費用"),
            about=Words(
                "By model, in the time shown, over calls with a known price; failed ones count as calls too.",
                "表示期間の、モデル別の値です。価格のわかる呼び出しについて計算し、失敗した呼び出しも 1 回と数えます。",
            ),
            queries=(
                Query(
                    f"1000 * sum by (model) (increase({_COST}[$__range])) / (sum by (model) "
                    f"(increase({_CALLS}[$__range])) - sum by (model) (increase({_UNPRICED}[$__range])) > 0)",
                    "{{model}}",
                ),
            ),
            unit="currencyUSD",
            look="bargauge",
        ),
    ),
)

_USAGE: Final = Section(
    Words("Tokens", "トークン"),
    (
        Panel(
            title=Words("Tokens a second by type", "種類別の毎秒のトークン数"),
            about=Words(
                "The types do not overlap: cached tokens are not in `input`, reasoning is not in `output`.",
                "種類は重なりません。キャッシュ分は `input` に、推論分は `output` に含みません。",
            ),
            queries=(Query(f"sum by (token_type) (rate({_TOKENS}[$__rate_interval]))", "{{token_type}}"),),
            unit="short",
            stacked=True,
        ),
        Panel(
            title=Words("Tokens by model", "モデル別のトークン数"),
            about=Words("All types, in the time shown.", "表示期間の、全種類の合計です。"),
            queries=(Query(f"sum by (model) (increase({_TOKENS}[$__range]))", "{{model}}"),),
            unit="short",
            look="bargauge",
        ),
        Panel(
            title=Words("Calls without a price by model", "モデル別の、価格のわからない呼び出し"),
            about=Words(
                "In the hour before each moment. A model whose first calls are unpriced shows from the second sample.",
                "各時点までの 1 時間の件数です。初めてのモデルは、2 回目の収集から表示されます。",
            ),
            queries=(Query(f"sum by (model) (increase({_UNPRICED}[1h]))", "{{model}}"),),
            unit="short",
        ),
    ),
)

_BUDGETS: Final = Section(
    Words("Budgets and repeated calls", "予算と再送"),
    (
        Panel(
            title=Words("Budgets", "予算の使用率"),
            about=Words(
                "Spent and reserved as a part of each budget; of those that share a label the fullest one. Yellow from "
                "50 %, orange from 80 %, red from 100 %. A blocking budget refuses calls that do not fit, so it may "
                "refuse a little below 100 %. Nothing is shown where there are no budgets.",
                "各予算のうち、使った額と予約した額の割合です。同じラベルの予算が複数あれば、最も進んだものを示します。"
                "50 % から黄、80 % から橙、100 % から赤です。`block` の予算は、収まらない呼び出しを拒否するので、"
                "100 % の少し手前でも拒否することがあります。予算がなければ何も表示されません。",
            ),
            queries=(Query("max by (budget) (sekisho_budget_ratio)", "{{budget}}"),),
            unit="percentunit",
            look="bargauge",
            steps=_BUDGET_STEPS,
            most=1.0,
        ),
        Panel(
            title=Words("Budgets over time", "予算の使用率の推移"),
            about=Words(
                "It falls when a period begins anew, and a little when reservations are settled.",
                "新しい期間が始まると下がり、予約が精算されたときにも少し下がります。",
            ),
            queries=(Query("max by (budget) (sekisho_budget_ratio)", "{{budget}}"),),
            unit="percentunit",
            steps=_BUDGET_STEPS,
        ),
        Panel(
            title=Words("Bound on overspending", "予算の上限超過幅"),
            about=Words(
                "By how much the calls in flight can exceed a budget at most. Gateways that share a Redis count "
                "together and tell the same number; of several the largest is shown.",
                "処理中の呼び出しが予算を超えうる最大の額です。Redis を共有するゲートウェイはまとめて数え、同じ値を"
                "示すので、複数あれば最大の値を表示します。",
            ),
            queries=(Query("max by (budget) (sekisho_budget_bound_dollars)", "{{budget}}"),),
            unit="currencyUSD",
        ),
        Panel(
            title=Words("Calls with an Idempotency-Key", "Idempotency-Key 付きの呼び出し"),
            about=Words(
                "A second, by what became of it: `claimed` did the work, `replayed` got the first answer again.",
                "毎秒の件数を結果別に示します。`claimed` は実際に処理したもの、`replayed` は最初の応答を再び返した"
                "ものです。",
            ),
            queries=(Query("sum by (outcome) (rate(sekisho_idempotency_total[$__rate_interval]))", "{{outcome}}"),),
            unit="reqps",
        ),
    ),
)

SPENDING: Final = Dashboard(
    uid="sekisho-costs",
    title=Words("Sekisho: costs", "Sekisho: 費用"),
    about=Words(
        "What do the calls cost, which models cost it, and what is left of the budgets?",
        "費用はいくらか、どのモデルの費用か、予算はどれだけ残っているか。",
    ),
    since="now-24h",
    sections=(_TOTALS, _USAGE, _BUDGETS),
)
