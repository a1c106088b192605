"""${message}"""
% if needs_sa or needs_op or imports:

% endif
% if needs_sa:
import sqlalchemy as sa
% endif
% if needs_op:
from alembic import op
% endif
% if imports:
${imports}
% endif

revision = ${quote(up_revision)}
down_revision = ${quote(down_revision)}
branch_labels = ${quote(branch_labels)}
depends_on = ${quote(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
