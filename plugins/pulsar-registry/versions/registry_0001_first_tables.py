"""Registry: packages, revisions, their objects, tags, versions, the log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "registry_0001"
down_revision = None
branch_labels = ("registry",)
depends_on = "core_0001"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
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
        "registry_packages",
        sa.Column("id", BIG, nullable=False),
        sa.Column("owner_id", BIG, nullable=False),
        sa.Column("name", exact(64), nullable=False),
        sa.Column("name_key", exact(192), nullable=False),
        sa.Column(
            "description", sa.Text().with_variant(mysql.LONGTEXT(), "mariadb", "mysql"), nullable=False
        ),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["core_users.id"], name=op.f("fk_registry_packages_owner_id_core_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registry_packages")),
        sa.UniqueConstraint("owner_id", "name_key", name=op.f("uq_registry_packages_owner_id_name_key")),
    )
    op.create_table(
        "registry_log",
        sa.Column("id", BIG, nullable=False),
        sa.Column("package_id", BIG, nullable=False),
        sa.Column("digest", exact(64), nullable=False),
        sa.Column("author_id", BIG, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["author_id"],
            ["core_users.id"],
            name=op.f("fk_registry_log_author_id_core_users"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["registry_packages.id"],
            name=op.f("fk_registry_log_package_id_registry_packages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registry_log")),
    )
    with op.batch_alter_table("registry_log", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_registry_log_package_id"), ["package_id"], unique=False)

    op.create_table(
        "registry_package_objects",
        sa.Column("package_id", BIG, nullable=False),
        sa.Column("digest", exact(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["digest"], ["core_blobs.digest"], name=op.f("fk_registry_package_objects_digest_core_blobs")
        ),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["registry_packages.id"],
            name=op.f("fk_registry_package_objects_package_id_registry_packages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("package_id", "digest", name=op.f("pk_registry_package_objects")),
    )
    with op.batch_alter_table("registry_package_objects", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_registry_package_objects_digest"), ["digest"], unique=False)

    op.create_table(
        "registry_revisions",
        sa.Column("id", BIG, nullable=False),
        sa.Column("package_id", BIG, nullable=False),
        sa.Column("digest", exact(64), nullable=False),
        sa.Column("tree", exact(64), nullable=False),
        sa.Column("created_by", BIG, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_by", BIG, nullable=True),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["created_by"],
            ["core_users.id"],
            name=op.f("fk_registry_revisions_created_by_core_users"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["registry_packages.id"],
            name=op.f("fk_registry_revisions_package_id_registry_packages"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tree"], ["core_blobs.digest"], name=op.f("fk_registry_revisions_tree_core_blobs")
        ),
        sa.ForeignKeyConstraint(
            ["updated_by"],
            ["core_users.id"],
            name=op.f("fk_registry_revisions_updated_by_core_users"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registry_revisions")),
        sa.UniqueConstraint("package_id", "digest", name=op.f("uq_registry_revisions_package_id_digest")),
    )
    with op.batch_alter_table("registry_revisions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_registry_revisions_tree"), ["tree"], unique=False)

    op.create_table(
        "registry_tags",
        sa.Column("package_id", BIG, nullable=False),
        sa.Column("name", exact(64), nullable=False),
        sa.Column("revision_id", BIG, nullable=False),
        sa.Column("created_by", BIG, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_by", BIG, nullable=True),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["created_by"],
            ["core_users.id"],
            name=op.f("fk_registry_tags_created_by_core_users"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["registry_packages.id"],
            name=op.f("fk_registry_tags_package_id_registry_packages"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["revision_id"],
            ["registry_revisions.id"],
            name=op.f("fk_registry_tags_revision_id_registry_revisions"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["updated_by"],
            ["core_users.id"],
            name=op.f("fk_registry_tags_updated_by_core_users"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("package_id", "name", name=op.f("pk_registry_tags")),
    )
    with op.batch_alter_table("registry_tags", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_registry_tags_revision_id"), ["revision_id"], unique=False)

    op.create_table(
        "registry_versions",
        sa.Column("package_id", BIG, nullable=False),
        sa.Column("key", exact(96), nullable=False),
        sa.Column("version", exact(64), nullable=False),
        sa.Column("revision_id", BIG, nullable=False),
        sa.Column("created_by", BIG, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["created_by"],
            ["core_users.id"],
            name=op.f("fk_registry_versions_created_by_core_users"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["registry_packages.id"],
            name=op.f("fk_registry_versions_package_id_registry_packages"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["revision_id"],
            ["registry_revisions.id"],
            name=op.f("fk_registry_versions_revision_id_registry_revisions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("package_id", "key", name=op.f("pk_registry_versions")),
    )
    with op.batch_alter_table("registry_versions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_registry_versions_revision_id"), ["revision_id"], unique=False)


def downgrade() -> None:
    op.drop_table("registry_versions")
    op.drop_table("registry_tags")
    op.drop_table("registry_revisions")
    op.drop_table("registry_package_objects")
    op.drop_table("registry_log")
    op.drop_table("registry_packages")
