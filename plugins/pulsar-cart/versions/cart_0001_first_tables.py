"""Carts, their files, what was fetched, connections."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "cart_0001"
down_revision = None
branch_labels = ("cart",)
depends_on = "core_0001"


BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def exact(length: int) -> sa.String:
    """Text that compares and sorts by code point."""
    return (
        sa.String(length)
        .with_variant(sa.String(length, collation="utf8mb4_bin"), "mysql", "mariadb")
        .with_variant(sa.String(length, collation="C"), "postgresql")
    )


def upgrade() -> None:
    op.create_table(
        "cart_slots",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("holder", exact(64), nullable=False),
        sa.Column("until", TIME, nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_cart_slots")),
    )
    op.create_table(
        "cart_carts",
        sa.Column("id", BIG, nullable=False),
        sa.Column("uid", exact(255), nullable=False),
        sa.Column("owner_id", BIG, nullable=True),
        sa.Column("living", exact(280), nullable=True),
        sa.Column("state", exact(8), nullable=False),
        sa.Column("message", exact(500), nullable=False),
        sa.Column("label", exact(200), nullable=False),
        sa.Column("bundle", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("document", exact(64), nullable=False),
        sa.Column("table_digest", exact(64), nullable=True),
        sa.Column("containers", TEXT, nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("files_done", sa.Integer(), nullable=False),
        sa.Column("files_failed", sa.Integer(), nullable=False),
        sa.Column("bytes", BIG, nullable=False),
        sa.Column("bytes_done", BIG, nullable=False),
        sa.Column("reserved", BIG, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("ready_at", TIME, nullable=True),
        sa.Column("used_at", TIME, nullable=False),
        sa.Column("reading_until", TIME, nullable=True),
        sa.Column("deleted_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["owner_id"],
            ["core_users.id"],
            name=op.f("fk_cart_carts_owner_id_core_users"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["table_digest"], ["core_blobs.digest"], name=op.f("fk_cart_carts_table_digest_core_blobs")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cart_carts")),
        sa.UniqueConstraint("living", name=op.f("uq_cart_carts_living")),
    )
    with op.batch_alter_table("cart_carts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_cart_carts_owner_id"), ["owner_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_cart_carts_state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_cart_carts_table_digest"), ["table_digest"], unique=False)
        batch_op.create_index(batch_op.f("ix_cart_carts_uid"), ["uid"], unique=False)
        batch_op.create_index(batch_op.f("ix_cart_carts_updated_at"), ["updated_at"], unique=False)

    op.create_table(
        "cart_files",
        sa.Column("key", exact(64), nullable=False),
        sa.Column("digest", exact(64), nullable=True),
        sa.Column("size", BIG, nullable=False),
        sa.Column("mtime", BIG, nullable=False),
        sa.Column("cart_id", BIG, nullable=True),
        sa.Column("until", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["digest"],
            ["core_blobs.digest"],
            name=op.f("fk_cart_files_digest_core_blobs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_cart_files")),
    )
    with op.batch_alter_table("cart_files", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_cart_files_digest"), ["digest"], unique=False)

    op.create_table(
        "cart_entries",
        sa.Column("cart_id", BIG, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("path_key", exact(64), nullable=False),
        sa.Column("source", exact(64), nullable=False),
        sa.Column("source_id", TEXT, nullable=False),
        sa.Column("hashtype", exact(32), nullable=False),
        sa.Column("hashsum", exact(128), nullable=False),
        sa.Column("size", BIG, nullable=True),
        sa.Column("mtime", BIG, nullable=True),
        sa.Column("state", exact(8), nullable=False),
        sa.Column("on_tape", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("error", exact(200), nullable=False),
        sa.Column("digest", exact(64), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("since", TIME, nullable=True),
        sa.Column("next_try", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["cart_id"],
            ["cart_carts.id"],
            name=op.f("fk_cart_entries_cart_id_cart_carts"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["digest"], ["core_blobs.digest"], name=op.f("fk_cart_entries_digest_core_blobs")
        ),
        sa.PrimaryKeyConstraint("cart_id", "position", name=op.f("pk_cart_entries")),
        sa.UniqueConstraint("cart_id", "path_key", name=op.f("uq_cart_entries_cart_id_path_key")),
    )
    with op.batch_alter_table("cart_entries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_cart_entries_digest"), ["digest"], unique=False)
        batch_op.create_index("ix_cart_entries_state", ["cart_id", "state", "position"], unique=False)


def downgrade() -> None:
    op.drop_table("cart_entries")
    op.drop_table("cart_files")
    op.drop_table("cart_carts")
    op.drop_table("cart_slots")
