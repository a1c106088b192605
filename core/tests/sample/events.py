"""One event."""

from core.events import EventsEnum


class SampleEvents(EventsEnum):
    HAPPENED = "sample.thing.happened", "Somebody asked for it."
