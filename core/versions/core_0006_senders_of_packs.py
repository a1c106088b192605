"""Who has sent a pack has one row for all blobs in it; proofs of one blob are found when it goes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "core_0006"
down_revision = "core_0005"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    op.create_table(
        "core_pack_proofs",
        sa.Column("pack_id", BIG, nullable=False),
        sa.Column("user_id", BIG, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["pack_id"],
            ["core_packs.id"],
            name=op.f("fk_core_pack_proofs_pack_id_core_packs"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["core_users.id"],
            name=op.f("fk_core_pack_proofs_user_id_core_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("pack_id", "user_id", name=op.f("pk_core_pack_proofs")),
    )
    op.create_index(op.f("ix_core_blob_proofs_digest"), "core_blob_proofs", ["digest"], unique=False)


def downgrade() -> None:
    op.execute(
        "INSERT INTO core_blob_proofs (user_id, digest, created_at)"
        " SELECT p.user_id, b.digest, p.created_at"
        " FROM core_pack_proofs p JOIN core_blobs b ON b.pack_id = p.pack_id"
        " WHERE NOT EXISTS"
        " (SELECT 1 FROM core_blob_proofs o WHERE o.user_id = p.user_id AND o.digest = b.digest)"
    )
    op.drop_table("core_pack_proofs")
    with op.batch_alter_table("core_blob_proofs", schema=None) as batch_op:
        # MariaDB lets no foreign key be without an index.
        batch_op.drop_constraint(batch_op.f("fk_core_blob_proofs_digest_core_blobs"), type_="foreignkey")
        batch_op.drop_index(batch_op.f("ix_core_blob_proofs_digest"))
        batch_op.create_foreign_key(
            batch_op.f("fk_core_blob_proofs_digest_core_blobs"),
            "core_blobs",
            ["digest"],
            ["digest"],
            ondelete="CASCADE",
        )
