"""What is seen of objects and of those that lie in them, and what may be sent."""

import sys

import pytest
from marshmallow import fields

from core.conftest import KEY_OF_USER_1, KEY_OF_USER_2, add_permissions
from core.serializers import Attribute


@pytest.fixture
def box_of(sample):
    """``box_of(key, depth)``: a box with so many in each other, as this caller sees it."""
    sys.modules["sample.serializers"].WEIGHED.clear()

    def get(key, depth=1):
        answer = sample.test_client().get(f"/sample/boxes/{depth}", headers={"Authorization": f"Token {key}"})
        assert answer.status_code == 200
        return answer.json["response"]

    return get


def weighed():
    return sys.modules["sample.serializers"].WEIGHED


def test_what_is_hidden_is_null_and_not_computed(box_of, sample):
    stranger, owner = box_of(KEY_OF_USER_1), box_of(KEY_OF_USER_2)
    assert (stranger["note"], stranger["weight"]) == (None, None)
    assert (owner["note"], owner["weight"]) == ("for its owner", None)
    assert weighed() == []
    add_permissions(sample, "sample_look")
    looker = box_of(KEY_OF_USER_1)
    assert (looker["note"], looker["weight"]) == ("for its owner", 10)
    assert weighed() == [1, 100, 101]
    assert list(stranger) == list(looker)


def test_the_scope_of_a_key_hides_what_its_user_may_see(box_of, sample):
    add_permissions(sample, "sample_look")
    assert box_of("abcdefghij" + "abcdefghijklmnopqrstuvwx")["weight"] is None


def test_an_object_in_another_is_seen_by_its_own_rules(box_of):
    box = box_of(KEY_OF_USER_1, 2)
    assert box["inside"]["note"] == "for its owner"  # the inner one belongs to this caller
    assert [inner["id"] for inner in box["boxes"]] == [100, 101]
    assert [inner["note"] for inner in box["boxes"]] == ["for its owner", None]


def test_what_is_shown_at_the_top_alone_is_null_inside(box_of):
    box = box_of(KEY_OF_USER_1, 2)
    assert box["boxes"]
    assert box["inside"]["boxes"] is None
    assert box["boxes"][0]["seals"] is None


def test_a_value_may_be_cut_down_to_some_attributes(box_of):
    assert box_of(KEY_OF_USER_1, 2)["brief"] == {"id": 2, "note": "for its owner"}
    assert box_of(KEY_OF_USER_2, 2)["brief"] == {"id": 2, "note": None}
    assert box_of(KEY_OF_USER_2, 1)["brief"] is None


def test_only_an_object_can_be_cut_down():
    with pytest.raises(TypeError, match="cut down"):
        Attribute(fields.String(), nested=("id",))


def test_an_object_of_which_nothing_is_seen_is_null(box_of, sample):
    assert box_of(KEY_OF_USER_1)["seals"] == [{"id": None, "label": "a box"}, None]
    add_permissions(sample, "sample_look")
    assert box_of(KEY_OF_USER_1)["seals"][1] == {"id": 101, "label": "a box"}


def test_objects_lie_in_each_other_five_deep_and_no_deeper(box_of, sample):
    box = box_of(KEY_OF_USER_1, 5)
    assert box["inside"]["inside"]["inside"]["inside"]["id"] == 5
    headers = {"Authorization": f"Token {KEY_OF_USER_1}"}
    assert sample.test_client().get("/sample/boxes/6", headers=headers).status_code == 500
    sample.testing = False  # a site in use would rather leave something out
    box = box_of(KEY_OF_USER_1, 6)
    assert box["inside"]["inside"]["inside"]["inside"]["inside"] is None


def test_who_lacks_the_permission_of_an_attribute_cannot_send_it(sample):
    def post(**body):
        headers = {"Authorization": f"Token {KEY_OF_USER_1}"}
        return sample.test_client().post("/sample/boxes", json=body, headers=headers)

    assert post(label="mine").json["response"] == {"label": "mine"}
    refused = post(label="mine", note="x")
    assert refused.status_code == 400
    assert list(refused.json["error"]["details"]) == ["note"]
    assert refused.json["response"] == post(colour="x").json["response"].replace("colour", "note")
    add_permissions(sample, "sample_look")
    assert post(note="x").json["response"] == {"note": "x"}


def test_attributes_are_described_with_their_types(sample):
    described = sample.test_client().get("/api/spec.json").json["components"]["schemas"]
    box, job = described["sample.Box"]["properties"], described["core.Job"]["properties"]
    link = {"$ref": "#/components/schemas/sample.Box"}
    assert box["inside"] == {"anyOf": [link, {"type": "null"}]}
    assert box["boxes"] == {"type": ["array", "null"], "items": link}
    assert set(box["brief"]["properties"]) == {"id", "note"}
    assert box["packed"]["type"] == "integer"
    assert job["created"]["type"] == "integer"
    assert described["core.Notification"]["properties"]["time"]["type"] == ["integer", "null"]
