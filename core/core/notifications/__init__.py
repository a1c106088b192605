"""What the site has to tell its users.

A plugin says it with :func:`notify`, in the transaction in which it happens::

    notify(task.owner_id, "annotate_task_done", {"task_id": task.id})
"""

from core.notifications.services import notify

__all__ = ["notify"]
