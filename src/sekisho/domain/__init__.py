"""The nouns of the house.

In: nothing of ours.
Out: frozen types that every room may name.
May import: the standard library and msgspec. No I/O, no clock, no logging.
Tests: tests/domain, sockets blocked.
"""
