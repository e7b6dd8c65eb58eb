"""What calls cost: prices now, later rollups, alerts, simulation and reconciliation.

In: a provider's id in the price library and a model's name; a file to keep answers in.
Out: `Rates` in whole nano-dollars, None where no price is known; `Check`s of whether rows and counters agree.
May import: domain, ledger, tables. genai-prices only in `lookup`, which runs in a process of its own.
Tests: tests/unit/costs, also against genai-prices' own calculation for every model it knows.
"""
