"""A version knows to whom it may be released."""

import sqlalchemy as sa
from alembic import op

revision = "b0002"
down_revision = "b0001"


def upgrade() -> None:
    """Versions decided before have none."""
    op.add_column("versions", sa.Column("audience", sa.String()))
