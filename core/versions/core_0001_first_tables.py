"""Core: accounts, sharing, blobs, jobs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "core_0001"
down_revision = None
branch_labels = ("core",)
depends_on = None

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
        "core_blobs",
        sa.Column("digest", exact(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("blake3", exact(64), nullable=False),
        sa.Column("crc32", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("idle_since", TIME, nullable=True),
        sa.Column("verified_at", TIME, nullable=True),
        sa.Column("condemned_at", TIME, nullable=True),
        sa.Column("damaged_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_core_blobs")),
    )
    with op.batch_alter_table("core_blobs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_core_blobs_condemned_at"), ["condemned_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_core_blobs_idle_since"), ["idle_since"], unique=False)
        batch_op.create_index(batch_op.f("ix_core_blobs_verified_at"), ["verified_at"], unique=False)

    op.create_table(
        "core_user_classes",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.String(length=24), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_core_user_classes")),
        sa.UniqueConstraint("name", name=op.f("uq_core_user_classes_name")),
    )
    # The first row gets the id 1, on every database: the class of every new user.
    op.execute("INSERT INTO core_user_classes (name) VALUES ('User')")
    op.create_table(
        "core_class_permissions",
        sa.Column("user_class_id", BIG, nullable=False),
        sa.Column("permission", exact(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_class_id"],
            ["core_user_classes.id"],
            name=op.f("fk_core_class_permissions_user_class_id_core_user_classes"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_class_id", "permission", name=op.f("pk_core_class_permissions")),
    )
    op.create_table(
        "core_users",
        sa.Column("id", BIG, nullable=False),
        sa.Column("username", exact(32), nullable=False),
        sa.Column("username_key", exact(64), nullable=False),
        sa.Column("email", sa.String(length=255), nullable=False),
        sa.Column("password", sa.String(length=255), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("locked", sa.Boolean(), nullable=False),
        sa.Column("user_class_id", BIG, nullable=False),
        sa.Column("generation", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_class_id"],
            ["core_user_classes.id"],
            name=op.f("fk_core_users_user_class_id_core_user_classes"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_core_users")),
        sa.UniqueConstraint("username_key", name=op.f("uq_core_users_username_key")),
    )
    with op.batch_alter_table("core_users", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_core_users_user_class_id"), ["user_class_id"], unique=False)

    op.create_table(
        "core_api_keys",
        sa.Column("hash", exact(10), nullable=False),
        sa.Column("user_id", BIG, nullable=False),
        sa.Column("digest", exact(64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("last_used_at", TIME, nullable=False),
        sa.Column("ip", sa.String(length=45), nullable=False),
        sa.Column("user_agent", sa.String(length=512), nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("permanent", sa.Boolean(), nullable=False),
        sa.Column("timeout", sa.Integer(), nullable=False),
        sa.Column("permissions", sa.JSON(), nullable=False),
        sa.CheckConstraint("timeout BETWEEN 60 AND 31536000", name=op.f("ck_core_api_keys_timeout_in_range")),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["core_users.id"],
            name=op.f("fk_core_api_keys_user_id_core_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_core_api_keys")),
    )
    with op.batch_alter_table("core_api_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_core_api_keys_user_id"), ["user_id"], unique=False)

    op.create_table(
        "core_blob_proofs",
        sa.Column("user_id", BIG, nullable=False),
        sa.Column("digest", exact(64), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["digest"],
            ["core_blobs.digest"],
            name=op.f("fk_core_blob_proofs_digest_core_blobs"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["core_users.id"],
            name=op.f("fk_core_blob_proofs_user_id_core_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_id", "digest", name=op.f("pk_core_blob_proofs")),
    )
    op.create_table(
        "core_grants",
        sa.Column("id", BIG, nullable=False),
        sa.Column("kind", exact(64), nullable=False),
        sa.Column("object_id", BIG, nullable=False),
        sa.Column("audience", exact(64), nullable=False),
        sa.Column("subject_id", BIG, nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("granted_by", BIG, nullable=True),
        sa.Column("granted_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["granted_by"],
            ["core_users.id"],
            name=op.f("fk_core_grants_granted_by_core_users"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_core_grants")),
        sa.UniqueConstraint(
            "kind",
            "object_id",
            "audience",
            "subject_id",
            name=op.f("uq_core_grants_kind_object_id_audience_subject_id"),
        ),
    )
    with op.batch_alter_table("core_grants", schema=None) as batch_op:
        batch_op.create_index(
            "ix_core_grants_audience",
            ["kind", "audience", "subject_id", "level", "object_id"],
            unique=False,
        )

    op.create_table(
        "core_jobs",
        sa.Column("id", BIG, nullable=False),
        sa.Column("kind", exact(64), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "running",
                "done",
                "failed",
                "cancelled",
                name="jobstate",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("owner_id", BIG, nullable=True),
        sa.Column("unique_key", exact(255), nullable=True),
        sa.Column("period", exact(128), nullable=True),
        sa.Column("retry_of", BIG, nullable=True),
        sa.Column("worker", exact(128), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("progress_done", sa.BigInteger(), nullable=False),
        sa.Column("progress_total", sa.BigInteger(), nullable=True),
        sa.Column("progress_unit", sa.String(length=32), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.Column("error", sa.String(length=500), nullable=True),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["owner_id"],
            ["core_users.id"],
            name=op.f("fk_core_jobs_owner_id_core_users"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["retry_of"], ["core_jobs.id"], name=op.f("fk_core_jobs_retry_of_core_jobs"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_core_jobs")),
        sa.UniqueConstraint("period", name=op.f("uq_core_jobs_period")),
        sa.UniqueConstraint("unique_key", name=op.f("uq_core_jobs_unique_key")),
    )
    with op.batch_alter_table("core_jobs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_core_jobs_owner_id"), ["owner_id"], unique=False)
        # The order in which workers take jobs; written by hand, for autogenerate skips expressions.
        batch_op.create_index("ix_core_jobs_claim", ["state", sa.text("priority DESC"), "due_at", "id"])
        batch_op.create_index(batch_op.f("ix_core_jobs_retry_of"), ["retry_of"], unique=False)

    op.create_table(
        "core_user_permissions",
        sa.Column("user_id", BIG, nullable=False),
        sa.Column("permission", exact(64), nullable=False),
        sa.Column("granted", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["core_users.id"],
            name=op.f("fk_core_user_permissions_user_id_core_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_id", "permission", name=op.f("pk_core_user_permissions")),
    )


def downgrade() -> None:
    op.drop_table("core_user_permissions")
    op.drop_table("core_jobs")
    op.drop_table("core_grants")
    op.drop_table("core_blob_proofs")
    op.drop_table("core_api_keys")
    op.drop_table("core_users")
    op.drop_table("core_class_permissions")
    op.drop_table("core_user_classes")
    op.drop_table("core_blobs")
