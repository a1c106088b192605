"""Many small blobs share a file."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "core_0003"
down_revision = "core_0002"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
NAME = (
    sa.String(32)
    .with_variant(sa.String(32, collation="utf8mb4_bin"), "mysql", "mariadb")
    .with_variant(sa.String(32, collation="C"), "postgresql")
)


def upgrade() -> None:
    op.create_table(
        "core_packs",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("idle_since", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_core_packs")),
        sa.UniqueConstraint("name", name=op.f("uq_core_packs_name")),
    )
    with op.batch_alter_table("core_blobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("pack_id", BIG, nullable=True))
        batch_op.add_column(sa.Column("pack_start", sa.BigInteger(), nullable=True))
        batch_op.create_index(batch_op.f("ix_core_blobs_pack_id"), ["pack_id"], unique=False)
        batch_op.create_foreign_key(
            batch_op.f("fk_core_blobs_pack_id_core_packs"), "core_packs", ["pack_id"], ["id"]
        )


def downgrade() -> None:
    if op.get_bind().scalar(sa.text("SELECT 1 FROM core_blobs WHERE pack_id IS NOT NULL LIMIT 1")):
        raise RuntimeError("some blobs are in packs, where the version before this one would not find them")
    with op.batch_alter_table("core_blobs", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_core_blobs_pack_id_core_packs"), type_="foreignkey")
        batch_op.drop_index(batch_op.f("ix_core_blobs_pack_id"))
        batch_op.drop_column("pack_start")
        batch_op.drop_column("pack_id")
    op.drop_table("core_packs")
