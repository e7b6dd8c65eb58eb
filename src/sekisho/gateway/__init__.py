"""The way of one call, from a parsed request to a settled row.

In: Call.
Out: Reply, and exactly one closed Entry.
May import: ledger, tables, providers, wire, guards, tokens, formats, stores, domain. Only `transport` opens sockets.
Tests: tests/component/gateway, tests/unit/gateway, tests/property.
"""
