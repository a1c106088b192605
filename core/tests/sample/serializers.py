"""Boxes in boxes."""

from dataclasses import dataclass, field

from marshmallow import fields

from core.serializers import Attribute, EpochSeconds, Serializer

WEIGHED: list[int] = []  # ids of the boxes whose weight was computed


@dataclass
class Box:
    id: int
    user_id: int
    label: str = "a box"
    note: str = "for its owner"
    inside: "Box | None" = None
    boxes: list["Box"] = field(default_factory=list)

    @property
    def weight(self) -> int:
        WEIGHED.append(self.id)
        return self.id * 10


class SealSerializer(Serializer):
    id = Attribute(fields.Integer(), permission="sample_look", self_access=False)
    label = Attribute(fields.String(), permission="sample_look")


class BoxSerializer(Serializer):
    id = Attribute(fields.Integer())
    label = Attribute(fields.String())
    note = Attribute(fields.String(), permission="sample_look")
    weight = Attribute(fields.Integer(), permission="sample_look", self_access=False)
    inside = Attribute(fields.Nested(lambda: BoxSerializer))
    brief = Attribute(
        fields.Nested(lambda: BoxSerializer), attribute="inside", nested=("id", "note"), dump_only=True
    )
    boxes = Attribute(fields.Nested(lambda: BoxSerializer, many=True), nested=False)
    seals = Attribute(
        fields.Nested(SealSerializer, many=True), attribute="boxes", nested=False, dump_only=True
    )
    packed = EpochSeconds(load_only=True)
