"""A provider's usage export beside our rows: what it says, and where the two differ.

In: the bytes of files in the documented shapes of OpenAI and Anthropic, or plain CSV; rows summed by the same buckets.
Out: `Export`, the same lines whatever the file was; `Check`s, each difference with its likely causes.
May import: domain, tables (as types), costs.reconcile. Pure: no file is opened here.
Tests: tests/unit/costs/exports, with example files in tests/golden/exports.
"""
