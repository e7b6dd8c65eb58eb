"""`/admin`: a JSON API of control data. Closed without an administrator's key; every route says which roles may use it.

In: HTTP requests with a key in one of four headers.
Out: JSON, and changes of the control database, each with its entry in the audit.
May import: what `entrypoints` may. Loaded with the first request to `/admin`, for the start must stay quick.
Tests: tests/unit/entrypoints, tests/component/http/test_admin*.
"""
