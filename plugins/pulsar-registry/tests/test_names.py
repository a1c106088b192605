"""Names that nobody can have, because handles of packages use them for something else."""


def test_nobody_can_be_called_like_an_audience(client, app, monkeypatch):
    monkeypatch.setitem(app.config, "REQUIRE_INVITE_CODE", False)

    def register(name):
        body = {"username": name, "password": "correct horse 1!", "email": "a@example.org"}
        return client.post("/users", json=body)

    for name in ("team", "public", "Public", "quilt", "anonymous"):
        answer = register(name)
        assert answer.status_code == 400
        assert answer.json["response"] == 'Invalid data: this name is reserved (key "username")'
    assert register("teams").status_code == 200
