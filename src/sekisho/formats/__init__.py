"""Shapes that both sides of the house speak: server-sent events, OpenAI's JSON, splicing of JSON.

In: bytes; messages, answers and events of the domain.
Out: the same, the other way round; a stream folded into its answer.
May import: domain, stores. Pure: no I/O, no clock, no logging.
Tests: tests/unit/formats.
"""
