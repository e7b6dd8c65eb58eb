"""The doors: HTTP today; chat front ends and the in-process library later.

In: bytes from sockets.
Out: Calls to the gateway, its Replies to the sockets.
May import: gateway and everything under it. The only room, beside `mock`, that knows the web framework.
Tests: tests/component, one suite against the hot protocol and the plain ASGI route.
"""
