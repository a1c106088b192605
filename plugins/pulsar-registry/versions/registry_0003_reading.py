"""Registry: the texts of readmes, statistics of tables, words for search."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "registry_0003"
down_revision = "registry_0002"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
LONG = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


def exact(length: int) -> sa.String:
    """Text that compares and sorts by code point."""
    return (
        sa.String(length)
        .with_variant(sa.String(length, collation="utf8mb4_bin"), "mysql", "mariadb")
        .with_variant(sa.String(length, collation="C"), "postgresql")
    )


def upgrade() -> None:
    op.create_table(
        "registry_readmes",
        sa.Column("digest", exact(64), nullable=False),
        sa.Column("text", LONG, nullable=False),
        sa.ForeignKeyConstraint(
            ["digest"],
            ["core_blobs.digest"],
            name=op.f("fk_registry_readmes_digest_core_blobs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_registry_readmes")),
    )
    op.create_table(
        "registry_statistics",
        sa.Column("digest", exact(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content", LONG, nullable=False),
        sa.Column("head", LONG, nullable=False),
        sa.Column("computed_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["digest"],
            ["core_blobs.digest"],
            name=op.f("fk_registry_statistics_digest_core_blobs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_registry_statistics")),
    )
    op.create_table(
        "registry_words",
        sa.Column("word", exact(64), nullable=False),
        sa.Column("package_id", BIG, nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["registry_packages.id"],
            name=op.f("fk_registry_words_package_id_registry_packages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("word", "package_id", name=op.f("pk_registry_words")),
    )
    op.create_index(op.f("ix_registry_words_package_id"), "registry_words", ["package_id"], unique=False)
    op.add_column("registry_revisions", sa.Column("readme", exact(64), nullable=True))


def downgrade() -> None:
    op.drop_column("registry_revisions", "readme")
    op.drop_table("registry_words")
    op.drop_table("registry_statistics")
    op.drop_table("registry_readmes")
