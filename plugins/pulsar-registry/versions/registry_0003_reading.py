"""Registry: the texts of readmes, statistics of tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "registry_0003"
down_revision = "registry_0002"
branch_labels = None
depends_on = None

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
    op.add_column("registry_revisions", sa.Column("readme", exact(64), nullable=True))


def downgrade() -> None:
    op.drop_column("registry_revisions", "readme")
    op.drop_table("registry_statistics")
    op.drop_table("registry_readmes")
