"""Registry: messages, provenance and a chain of hashes in the log; the bytes of each owner."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "registry_0004"
down_revision = "registry_0003"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mariadb", "mysql")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def exact(length: int) -> sa.String:
    """Text that compares and sorts by code point."""
    return (
        sa.String(length)
        .with_variant(sa.String(length, collation="utf8mb4_bin"), "mysql", "mariadb")
        .with_variant(sa.String(length, collation="C"), "postgresql")
    )


FILLED = {"author": exact(64), "message": TEXT, "provenance": TEXT, "entry": exact(64)}


def upgrade() -> None:
    with op.batch_alter_table("registry_packages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("log_head", exact(64), nullable=True))
    with op.batch_alter_table("registry_log", schema=None) as batch_op:
        batch_op.add_column(sa.Column("previous", exact(64), nullable=True))
        for name, kind in FILLED.items():
            batch_op.add_column(sa.Column(name, kind, nullable=True))
    op.create_table(
        "registry_usage",
        sa.Column("owner_id", BIG, nullable=False),
        sa.Column("bytes", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"],
            ["core_users.id"],
            name=op.f("fk_registry_usage_owner_id_core_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("owner_id", name=op.f("pk_registry_usage")),
    )
    op.execute(
        """
        INSERT INTO registry_usage (owner_id, bytes)
        SELECT owned.owner_id, SUM(core_blobs.size)
        FROM (
            SELECT DISTINCT registry_packages.owner_id, registry_package_objects.digest
            FROM registry_package_objects
            JOIN registry_packages ON registry_packages.id = registry_package_objects.package_id
        ) AS owned
        JOIN core_blobs ON core_blobs.digest = owned.digest
        GROUP BY owned.owner_id
        """
    )
    if not op.get_context().as_sql:  # statements on paper are for an empty database
        _chain()
    with op.batch_alter_table("registry_log", schema=None) as batch_op:
        for name, kind in FILLED.items():
            batch_op.alter_column(name, existing_type=kind, nullable=False)


def _chain() -> None:
    """Give the entries that are there what new ones have: author, hashes, empty messages."""
    packages = sa.table("registry_packages", sa.column("id"), sa.column("log_head"))
    users = sa.table("core_users", sa.column("id"), sa.column("username"))
    log = sa.table(
        "registry_log",
        *map(sa.column, ("id", "package_id", "digest", "author_id", "previous", *FILLED)),
        sa.column("created_at", TIME),
    )
    connection = op.get_bind()
    name_of = dict(connection.execute(sa.select(users.c.id, users.c.username)).all())
    columns = sa.select(log.c.id, log.c.package_id, log.c.digest, log.c.author_id, log.c.created_at)
    heads: dict[int, str] = {}
    for number, package_id, digest, author_id, created_at in connection.execute(
        columns.order_by(log.c.package_id, log.c.id)
    ).all():
        if created_at.tzinfo is None:
            created_at = created_at.replace(tzinfo=UTC)
        values = {
            "author": name_of.get(author_id, "anonymous"),
            "created": (created_at - EPOCH) // timedelta(microseconds=1),
            "hash": digest,
            "message": "",
            "previous": heads.get(package_id),
            "provenance": {},
        }
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        entry = hashlib.sha256(text.encode("ascii")).hexdigest()
        connection.execute(
            log.update()
            .where(log.c.id == number)
            .values(
                author=values["author"],
                message="",
                provenance="{}",
                previous=heads.get(package_id),
                entry=entry,
            )
        )
        heads[package_id] = entry
    for package_id, head in heads.items():
        connection.execute(packages.update().where(packages.c.id == package_id).values(log_head=head))


def downgrade() -> None:
    op.drop_table("registry_usage")
    with op.batch_alter_table("registry_log", schema=None) as batch_op:
        for name in ("previous", *FILLED):
            batch_op.drop_column(name)
    with op.batch_alter_table("registry_packages", schema=None) as batch_op:
        batch_op.drop_column("log_head")
