"""HTTP: the hot protocol class on uvicorn, the same core as an ASGI application, health and metrics.

In: HTTP/1.1.
Out: answers with the headers of the contract.
May import: what `entrypoints` may.
Tests: tests/component/http.
"""
