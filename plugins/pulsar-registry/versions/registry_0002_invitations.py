"""Packages are offered to addresses that have no account yet."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "registry_0002"
down_revision = "registry_0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
EMAIL = (
    sa.String(255)
    .with_variant(sa.String(255, collation="utf8mb4_bin"), "mysql", "mariadb")
    .with_variant(sa.String(255, collation="C"), "postgresql")
)


def upgrade() -> None:
    op.create_table(
        "registry_invitations",
        sa.Column("id", BIG, nullable=False),
        sa.Column("package_id", BIG, nullable=False),
        sa.Column("email", EMAIL, nullable=False),
        sa.Column("invited_by", BIG, nullable=True),
        sa.Column("invited_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["invited_by"],
            ["core_users.id"],
            name=op.f("fk_registry_invitations_invited_by_core_users"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["registry_packages.id"],
            name=op.f("fk_registry_invitations_package_id_registry_packages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registry_invitations")),
        sa.UniqueConstraint("package_id", "email", name=op.f("uq_registry_invitations_package_id_email")),
    )
    with op.batch_alter_table("registry_invitations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_registry_invitations_email"), ["email"], unique=False)


def downgrade() -> None:
    op.drop_table("registry_invitations")
