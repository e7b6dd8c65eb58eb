"""What clients speak, to domain types and back.

In: bytes of a request; ChatEvents or a Refusal.
Out: ChatRequest; frames and bodies in the client's own protocol, messages in the client's language.
May import: formats, stores, domain. Pure: no I/O, no clock, no logging.
Tests: tests/unit/wire, tests/golden.
"""
