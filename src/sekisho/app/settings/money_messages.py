"""What is said about prices, rates, budgets and limits, in English and Japanese. Must stay text."""

from __future__ import annotations

from sekisho.app.settings.messages import Say

PRICE_NAME = Say(
    "bad_name",
    "'{name}' is not of the form provider/model",
    "'{name}' は provider/model の形ではありません。",
    "for example openai/gpt-4o-mini, or openai/* for all its models",
    "例: openai/gpt-4o-mini。プロバイダーの全モデルなら openai/*。",
)
PRICE_DIGITS = Say(
    "bad_number",
    "{text} has more than nine decimals",
    "{text} は小数点以下が 9 桁を超えています。",
    "prices are US dollars per million tokens, exact to nine decimals",
    "価格は 100 万トークンあたりの米ドルで、小数点以下 9 桁までです。",
)
AMOUNT_DIGITS = Say(
    "bad_number",
    "{text} has more than nine decimals",
    "{text} は小数点以下が 9 桁を超えています。",
    "amounts are exact to nine decimals",
    "金額は小数点以下 9 桁までです。",
)
AMOUNT_TINY = Say(
    "bad_number",
    "{text} yen are less than a billionth of a US dollar",
    "{text} 円は 10 億分の 1 米ドル未満です。",
    "give a larger amount",
    "もっと大きな金額を書いてください。",
)
SIZE_TWICE = Say(
    "duplicate_key",
    "two sizes begin above {text} input tokens",
    "{text} 入力トークンを超える段階料金が 2 つあります。",
    "keep one of them",
    "どちらかを消してください。",
)
BAD_DAY = Say(
    "bad_date",
    "'{text}' is not a day",
    "'{text}' は日付ではありません。",
    "write it like 2026-11-01",
    "2026-11-01 のように書いてください。",
)
FX_MISSING = Say(
    "fx_missing",
    "currency JPY without a rate: amounts stay in US dollars",
    "currency が JPY ですが為替レートがないため、金額は米ドルのままです。",
    "add `fx: {{usd_jpy: 150.0}}`",
    "`fx: {{usd_jpy: 150.0}}` を加えてください。",
)
ONE_AMOUNT = Say(
    "missing",
    "a budget needs exactly one amount",
    "予算の金額は 1 つだけ書いてください。",
    "`usd: 100` or `jpy: 15000`",
    "`usd: 100` か `jpy: 15000` と書いてください。",
)
EMPTY_SCOPE = Say(
    "missing",
    "the scope names nothing",
    "scope に何も書かれていません。",
    "for example `scope: {{team: research}}`",
    "例: `scope: {{team: research}}`",
)
EMPTY_LIMITS = Say(
    "missing",
    "no limit is given",
    "制限の値がありません。",
    "give qpm (calls a minute), tpm (tokens a minute) or concurrency (calls at once)",
    "qpm（毎分の呼び出し数）、tpm（毎分のトークン数）、concurrency（同時呼び出し数）のどれかを書いてください。",
)
NO_RATE = Say(
    "missing",
    "a budget in yen needs a rate",
    "円の予算には換算レートが必要です。",
    "add `fx: {{usd_jpy: 150.0}}`, or give the amount in usd",
    "`fx: {{usd_jpy: 150.0}}` を加えるか、usd で書いてください。",
)
NO_DEPARTMENT = Say(
    "undefined",
    "no team of this file belongs to the department '{name}': this holds for nobody, unless teams that belong to it "
    "are made in the database",
    "部署 '{name}' に属するチームはこのファイルにありません。この部署のチームをデータベースに作らないかぎり、"
    "だれにも適用されません。",
    "departments of this file: {known}",
    "このファイルにある部署: {known}",
)
TEAM_TWICE = Say(
    "duplicate_key",
    "'group' and 'team' mean the same",
    "'group' と 'team' は同じ意味です。",
    "keep one of them",
    "どちらかを消してください。",
)
RULE_TWICE = Say(
    "duplicate_rule",
    "the same stands on line {line} already; both hold, and the smaller one is felt",
    "同じものが {line} 行目にもあります。両方が有効で、小さい方が効きます。",
    "keep one of them",
    "どちらかを消してください。",
)
