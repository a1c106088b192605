"""The demonstration package is there for real."""

from registry_kit import local

from core.conftest import KEY_OF_USER_1, KEY_OF_USER_2, add_permissions
from core.db import db
from registry.test_data import FILES, RegistryPopulator


def test_the_demonstration_package_can_be_installed_by_its_owner_alone(app, client, client_of):
    RegistryPopulator.populate()
    db.session.commit()
    for number in (1, 2):
        add_permissions(app, "registry_read", user_id=number)
    one = client_of(KEY_OF_USER_1)

    digest = one.get("/api/tag/user_one/demo/latest").json["hash"]
    found = one.get(f"/api/package/user_one/demo/{digest}").json
    got = {node["metadata"]["q_path"]: node["hashes"][0] for node in found["contents"]["children"].values()}
    assert {name: client.get(local(found["urls"][one_])).data for name, one_ in got.items()} == FILES
    assert "Temperatures of one morning" in one.get("/packages/user_one/demo").text
    assert client_of(KEY_OF_USER_2).get(f"/api/package/user_one/demo/{digest}").status_code == 404
