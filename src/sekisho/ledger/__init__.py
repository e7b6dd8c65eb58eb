"""The books: what a call may spend, what it spent, and the one row and the metrics that say so.

In: Call, Entry, Attempt; the rules of limits and budgets, and the Counters they are counted on.
Out: one InferenceRow into the RowSink for each Entry, whatever happened; tallies for /metrics; a Reservation or a
Denial for each attempt.
May import: formats, stores, domain. No I/O of its own; the sink and the clock are handed in.
Tests: tests/unit/ledger, tests/property.
"""
