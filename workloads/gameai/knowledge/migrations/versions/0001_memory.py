"""The six tables of the memory, and the tables that its processes need."""

from pathlib import Path

from alembic import context, op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run the SQL beside this file; the number of dimensions is fixed when a database is first migrated."""
    dimensions = int(context.config.attributes["dimensions"])
    sql = Path(__file__).with_suffix(".sql").read_text()
    op.execute(sql.replace("DIMENSIONS", str(dimensions)))
