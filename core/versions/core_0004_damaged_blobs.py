"""An index of the damaged blobs, so that those of a package are found without reading all of its others."""

import sqlalchemy as sa
from alembic import op

revision = "core_0004"
down_revision = "core_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    damaged = sa.text("damaged_at IS NOT NULL")
    # MariaDB has no partial indexes and takes it as a plain one.
    op.create_index(
        op.f("ix_core_blobs_damaged_at"),
        "core_blobs",
        ["damaged_at"],
        unique=False,
        sqlite_where=damaged,
        postgresql_where=damaged,
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_core_blobs_damaged_at"), table_name="core_blobs")
