"""What the cart does later."""

from datetime import timedelta
from typing import Final

from cart.services import watching
from cart.services.staging import Staging
from core.jobs import Task, job

__all__ = ["stage", "watch"]

WATCH: Final = 60.0  # s
LEASE: Final = 30.0  # s; a cart whose worker was killed stands still for so long


@job("cart.stage", max_attempts=20, lease=LEASE)
def stage(task: Task, *, cart_id: int) -> None:
    """Fetch the files of a cart. Does some seconds of it at a time, and does not wait in a worker."""

    def progress(done: int, total: int) -> None:
        task.progress(done, total, "files")

    pause = Staging(cart_id, task.worker, task.checkpoint, progress).turn()
    if pause is not None:
        task.snooze(pause)


@job("cart.watch", every=WATCH)
def watch(task: Task) -> dict[str, int]:
    """Take up carts that nobody works on, and give up those that make no progress."""
    return watching.watch(timedelta(seconds=WATCH))
