"""One file a wire format.

In: ChatRequest and Target.
Out: HttpRequest; ChatEvents out of bytes; UpstreamError out of an error answer.
May import: what `providers` may; not each other.
Tests: tests/golden/<dialect>.
"""
