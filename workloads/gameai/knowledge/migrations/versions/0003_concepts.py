"""Concepts and their versions."""

from pathlib import Path

from alembic import context, op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    dimensions = int(context.config.attributes["dimensions"])
    sql = Path(__file__).with_suffix(".sql").read_text()
    op.execute(sql.replace("DIMENSIONS", str(dimensions)))
