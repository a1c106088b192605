"""The audit log: what happened, who did it, when and from where. Rows are only ever added."""
