"""The policies of a call, one file each. They do not know each other; their order stands in `gateway.pipeline`.

In: Call or Entry.
Out: a fact on the entry, or a Refusal.
May import: what `gateway` may, not each other.
Tests: tests/unit/gateway/policies.
"""
