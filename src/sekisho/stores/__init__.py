"""What must be remembered: ports named by what the caller wants, and their adapters.

In: domain nouns.
Out: ports (at most five methods each) and adapters for memory, SQL and Redis.
May import: domain. SQLAlchemy and Alembic only in the SQL adapters and migrations.
Tests: tests/contract, one suite per port over every adapter; tests/unit/stores for what only one adapter does.
"""
