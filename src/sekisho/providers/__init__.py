"""Domain types to what upstreams speak, and back.

In: ChatRequest, EmbeddingRequest, Target; bytes of an answer.
Out: HttpRequest, ChatEvents, UpstreamError.
May import: formats, stores, domain. Pure: no I/O, no clock, no logging; dialects do not know each other.
Tests: tests/golden, one file a case; tests/unit/providers.
"""
