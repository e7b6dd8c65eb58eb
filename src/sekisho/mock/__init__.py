"""The mock provider: a model server that does what the model name says, faults of the network included.

In: HTTP requests in a provider's wire format; the script in the model name.
Out: `server.MockProvider` (in-process) and `server.run` (blocking); answers that depend on the request alone.
May import: the standard library, httptools, msgspec, uvloop. Nothing of ours: the mirror must not share our mistakes.
Tests: tests/unit/mock (script, answers, samples), tests/component/mock (raw sockets, the official SDK).

A wire format is one file that reads a request into a `Question`, renders an `Answer`, and stands in `routes`.
OpenAI: openai_chat, openai_embeddings, openai_models, openai_errors. All others go beside them.
"""
