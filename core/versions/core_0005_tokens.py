"""Tokens know the sign-in they belong to; accounts know whether their address is verified."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "core_0005"
down_revision = "core_0004"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
HASH = (
    sa.String(10)
    .with_variant(sa.String(10, collation="utf8mb4_bin"), "mysql", "mariadb")
    .with_variant(sa.String(10, collation="C"), "postgresql")
)


def upgrade() -> None:
    op.add_column("core_api_keys", sa.Column("family", HASH, server_default=sa.text("''"), nullable=False))
    op.add_column("core_users", sa.Column("email_verified_at", TIME, nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("core_users", schema=None) as batch_op:
        batch_op.drop_column("email_verified_at")
    # For the version before this one they would be ordinary keys.
    op.execute("DELETE FROM core_api_keys WHERE kind IN ('access', 'refresh', 'code')")
    with op.batch_alter_table("core_api_keys", schema=None) as batch_op:
        batch_op.drop_column("family")
