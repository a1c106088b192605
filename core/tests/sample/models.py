"""A counter."""

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped

from core.db import PK, Base, BigInt


class Counter(Base):
    __tablename__ = "sample_counters"
    __table_args__ = (CheckConstraint("value >= 0", name="not_negative"),)
    id: Mapped[PK]
    value: Mapped[BigInt]
