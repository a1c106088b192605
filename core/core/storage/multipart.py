"""A multipart upload to S3 that begins when the first part is full, and can be given up."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from core.errors import TooLarge

__all__ = ["MAX_PARTS", "Upload"]

MAX_PARTS = 10_000  # S3's limit for one object


class Store(Protocol):
    """What an upload needs of the back end."""

    def call(self, operation: str, key: str, **more: Any) -> Any: ...
    def abort_upload(self, key: str, upload_id: str) -> None: ...
    def delete_quietly(self, key: str) -> None: ...


@dataclass(slots=True)
class Upload:
    """A multipart upload that begins when the first part is full; until then, bytes in memory."""

    store: Store
    key: str
    part: int
    id: str = ""
    buffer: bytearray = field(default_factory=bytearray)
    parts: list[dict[str, Any]] = field(default_factory=list)

    def write(self, piece: bytes | memoryview) -> None:
        self.buffer += piece
        while len(self.buffer) > self.part:
            self._send(self.buffer[: self.part])
            del self.buffer[: self.part]

    def finish(self) -> None:
        """Send the rest, if anything was sent before."""
        if self.id:
            self._send(self.buffer)
            self.buffer = bytearray()

    def begin(self) -> None:
        self.id = self.store.call("create_multipart_upload", self.key)["UploadId"]

    def add_copy(self, source: dict[str, str], first: int, last: int) -> None:
        """Add the bytes ``first`` to ``last`` of another object, without them coming here."""
        asked = {"CopySource": source, "CopySourceRange": f"bytes={first}-{last}"}
        number = len(self.parts) + 1
        answer = self.store.call("upload_part_copy", self.key, UploadId=self.id, PartNumber=number, **asked)
        self.parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})

    def abort(self) -> None:
        """Give up. Never raises."""
        if self.id:
            self.store.abort_upload(self.key, self.id)
            self.id = ""

    def _send(self, data: bytearray) -> None:
        if not self.id:
            self.begin()
        number = len(self.parts) + 1
        if number > MAX_PARTS:
            raise TooLarge("The size must be announced for an upload this large.")
        answer = self.store.call(
            "upload_part", self.key, UploadId=self.id, PartNumber=number, Body=bytes(data)
        )
        self.parts.append({"PartNumber": number, "ETag": answer["ETag"]})
