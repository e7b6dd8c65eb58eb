"""Crash tests: real gateways that are killed, whose power is cut, whose disk is full or away.

The campaigns (`kills`, `cuts`, `outages`) are functions with a seed, so that `make test` runs a few rounds of what
`make endurance` runs many of. Must not look inside a process: what counts is what clients were told and what the
tables hold.
"""
