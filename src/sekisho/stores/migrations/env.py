"""Run by Alembic. Must not open a connection or commit: `stores.migrate` holds the lock and the transaction."""

from __future__ import annotations

from alembic import context

from sekisho.stores.sql_schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
