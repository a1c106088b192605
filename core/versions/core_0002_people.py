"""Core: secondary classes, invites, sessions, notifications, events."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "core_0002"
down_revision = "core_0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
# What class 1 may do from now on; a new site gives it these anyway.
FOR_USERS = (
    "users_change_password", "users_edit_settings", "invites_view", "invites_revoke", "api_keys_view",
    "api_keys_revoke", "notifications_view", "notifications_modify",
)  # fmt: skip


def exact(length: int) -> sa.String:
    """Text that compares and sorts by code point."""
    return (
        sa.String(length)
        .with_variant(sa.String(length, collation="utf8mb4_bin"), "mysql", "mariadb")
        .with_variant(sa.String(length, collation="C"), "postgresql")
    )


def upgrade() -> None:
    op.create_table(
        "core_events",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", exact(64), nullable=False),
        sa.Column("happened_at", TIME, nullable=False),
        sa.Column("actor_id", BIG, nullable=True),
        sa.Column("actor", exact(32), nullable=False),
        sa.Column("key_hash", exact(10), nullable=False),
        sa.Column("ip", sa.String(length=45), nullable=False),
        sa.Column("request_id", exact(64), nullable=False),
        sa.Column("target", exact(128), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("delivered_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_core_events")),
    )
    with op.batch_alter_table("core_events", schema=None) as batch_op:
        batch_op.create_index("ix_core_events_actor", ["actor", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_core_events_delivered_at"), ["delivered_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_core_events_happened_at"), ["happened_at"], unique=False)
        batch_op.create_index("ix_core_events_name", ["name", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_core_events_request_id"), ["request_id"], unique=False)
        batch_op.create_index("ix_core_events_target", ["target", "id"], unique=False)

    op.create_table(
        "core_login_failures",
        sa.Column("subject", exact(64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("ends_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_core_login_failures")),
    )
    with op.batch_alter_table("core_login_failures", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_core_login_failures_ends_at"), ["ends_at"], unique=False)

    op.create_table(
        "core_notification_types",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", exact(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_core_notification_types")),
        sa.UniqueConstraint("name", name=op.f("uq_core_notification_types_name")),
    )
    op.create_table(
        "core_secondary_classes",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", exact(24), nullable=False),
        sa.Column("name_key", exact(24), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_core_secondary_classes")),
        sa.UniqueConstraint("name_key", name=op.f("uq_core_secondary_classes_name_key")),
    )
    op.create_table(
        "core_secondary_class_permissions",
        sa.Column("secondary_class_id", BIG, nullable=False),
        sa.Column("permission", exact(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["secondary_class_id"],
            ["core_secondary_classes.id"],
            name="fk_core_secondary_class_permissions_class",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "secondary_class_id", "permission", name=op.f("pk_core_secondary_class_permissions")
        ),
    )
    op.create_table(
        "core_invites",
        sa.Column("code", exact(24), nullable=False),
        sa.Column("inviter_id", BIG, nullable=False),
        sa.Column("email", sa.String(length=255), nullable=False),
        sa.Column("sent_at", TIME, nullable=False),
        sa.Column("from_ip", sa.String(length=45), nullable=False),
        sa.Column("expired", sa.Boolean(), nullable=False),
        sa.Column("invitee_id", BIG, nullable=True),
        sa.ForeignKeyConstraint(
            ["invitee_id"],
            ["core_users.id"],
            name=op.f("fk_core_invites_invitee_id_core_users"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["inviter_id"],
            ["core_users.id"],
            name=op.f("fk_core_invites_inviter_id_core_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_core_invites")),
        sa.UniqueConstraint("invitee_id", name=op.f("uq_core_invites_invitee_id")),
    )
    with op.batch_alter_table("core_invites", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_core_invites_inviter_id"), ["inviter_id"], unique=False)

    op.create_table(
        "core_notifications",
        sa.Column("id", BIG, nullable=False),
        sa.Column("user_id", BIG, nullable=False),
        sa.Column("type_id", BIG, nullable=False),
        sa.Column("sent_at", TIME, nullable=False),
        sa.Column("contents", sa.JSON(), nullable=False),
        sa.Column("read", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["type_id"],
            ["core_notification_types.id"],
            name=op.f("fk_core_notifications_type_id_core_notification_types"),
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["core_users.id"],
            name=op.f("fk_core_notifications_user_id_core_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_core_notifications")),
    )
    with op.batch_alter_table("core_notifications", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_core_notifications_type_id"), ["type_id"], unique=False)
        batch_op.create_index(
            "ix_core_notifications_user_id", ["user_id", "type_id", "read", "id"], unique=False
        )

    op.create_table(
        "core_secondary_class_members",
        sa.Column("user_id", BIG, nullable=False),
        sa.Column("secondary_class_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["secondary_class_id"],
            ["core_secondary_classes.id"],
            name="fk_core_secondary_class_members_class",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["core_users.id"],
            name=op.f("fk_core_secondary_class_members_user_id_core_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "user_id", "secondary_class_id", name=op.f("pk_core_secondary_class_members")
        ),
    )
    with op.batch_alter_table("core_secondary_class_members", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_core_secondary_class_members_secondary_class_id"),
            ["secondary_class_id"],
            unique=False,
        )

    with op.batch_alter_table("core_api_keys", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kind", exact(16), server_default=sa.text("'key'"), nullable=False))

    with op.batch_alter_table("core_user_classes", schema=None) as batch_op:
        batch_op.add_column(sa.Column("name_key", exact(24), nullable=True))
    op.execute("UPDATE core_user_classes SET name_key = lower(name)")
    with op.batch_alter_table("core_user_classes", schema=None) as batch_op:
        batch_op.alter_column("name_key", existing_type=exact(24), nullable=False)
        batch_op.drop_constraint(batch_op.f("uq_core_user_classes_name"), type_="unique")
        batch_op.create_unique_constraint(batch_op.f("uq_core_user_classes_name_key"), ["name_key"])

    with op.batch_alter_table("core_users", schema=None) as batch_op:
        batch_op.add_column(sa.Column("uploaded", BIG, server_default=sa.text("0"), nullable=False))
        batch_op.add_column(sa.Column("downloaded", BIG, server_default=sa.text("0"), nullable=False))
        batch_op.add_column(sa.Column("invites", sa.Integer(), server_default=sa.text("0"), nullable=False))
        batch_op.add_column(sa.Column("inviter_id", BIG, nullable=True))
        batch_op.create_index(batch_op.f("ix_core_users_inviter_id"), ["inviter_id"], unique=False)
        batch_op.create_foreign_key(
            batch_op.f("fk_core_users_inviter_id_core_users"),
            "core_users",
            ["inviter_id"],
            ["id"],
            ondelete="SET NULL",
        )

    classes = sa.table(
        "core_class_permissions", sa.column("user_class_id", BIG), sa.column("permission", exact(64))
    )
    op.bulk_insert(classes, [{"user_class_id": 1, "permission": name} for name in FOR_USERS])


def downgrade() -> None:
    classes = sa.table(
        "core_class_permissions", sa.column("user_class_id", BIG), sa.column("permission", exact(64))
    )
    op.execute(classes.delete().where(classes.c.permission.in_(FOR_USERS)))
    with op.batch_alter_table("core_users", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_core_users_inviter_id_core_users"), type_="foreignkey")
        batch_op.drop_index(batch_op.f("ix_core_users_inviter_id"))
        batch_op.drop_column("inviter_id")
        batch_op.drop_column("invites")
        batch_op.drop_column("downloaded")
        batch_op.drop_column("uploaded")

    with op.batch_alter_table("core_user_classes", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("uq_core_user_classes_name_key"), type_="unique")
        batch_op.create_unique_constraint(batch_op.f("uq_core_user_classes_name"), ["name"])
        batch_op.drop_column("name_key")

    with op.batch_alter_table("core_api_keys", schema=None) as batch_op:
        batch_op.drop_column("kind")

    op.drop_table("core_secondary_class_members")
    op.drop_table("core_notifications")
    op.drop_table("core_invites")
    op.drop_table("core_secondary_class_permissions")
    op.drop_table("core_secondary_classes")
    op.drop_table("core_notification_types")
    op.drop_table("core_login_failures")
    op.drop_table("core_events")
