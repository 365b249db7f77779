"""Alembic's entry: runs the revisions on the connection that holds the lock."""

from alembic import context

_connection = context.config.attributes["connection"]
_connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS memory_ops")
context.configure(
    connection=_connection,
    version_table_schema="memory_ops",
)
with context.begin_transaction():
    context.run_migrations()
