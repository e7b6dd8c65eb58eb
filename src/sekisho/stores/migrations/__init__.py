"""Alembic's history of the control database.

In: an open connection, handed over by `stores.migrate`.
Out: the schema of `stores.sql_schema`.
May import: SQLAlchemy and Alembic. Nothing of ours but the schema: an old migration must not change with the code.
Tests: tests/unit/stores/test_migrate.py.
"""
