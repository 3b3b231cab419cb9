"""How many of a part are in stock."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("part", sa.Column("in_stock", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("part", "in_stock")
