"""Tokens know the sign-in they belong to."""

import sqlalchemy as sa
from alembic import op

revision = "core_0005"
down_revision = "core_0004"
branch_labels = None
depends_on = None

HASH = (
    sa.String(10)
    .with_variant(sa.String(10, collation="utf8mb4_bin"), "mysql", "mariadb")
    .with_variant(sa.String(10, collation="C"), "postgresql")
)


def upgrade() -> None:
    op.add_column("core_api_keys", sa.Column("family", HASH, server_default=sa.text("''"), nullable=False))


def downgrade() -> None:
    # For the version before this one they would be ordinary keys.
    op.execute("DELETE FROM core_api_keys WHERE kind IN ('access', 'refresh', 'code')")
    with op.batch_alter_table("core_api_keys", schema=None) as batch_op:
        batch_op.drop_column("family")
