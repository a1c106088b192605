import pytest

from pulsar_client import errors
from pulsar_client.errors import make_site_error


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (404, {"message": "Package a/b does not exist"}, errors.NotFound, "Package a/b does not exist"),
        (
            403,
            {"status": "failed", "response": "No.", "error": {"code": "key_scope", "request_id": "r1"}},
            errors.Forbidden,
            "No.",
        ),
        (400, {"message": "Taken", "code": "conflict"}, errors.Conflict, "Taken"),
        (409, {"message": "Taken", "code": "a_new_word"}, errors.Conflict, "Taken"),
        (418, None, errors.BadRequest, "The site answered with status 418."),
        (599, "<html>", errors.SiteFailure, "The site answered with status 599."),
        (502, {"message": 5, "code": 7}, errors.SiteFailure, "The site answered with status 502."),
    ],
)
def test_the_servers_words_become_an_exception_of_the_same_name(status, body, kind, text):
    error = make_site_error(status, body)

    assert type(error) is kind
    assert str(error) == text
    assert error.status == status


def test_code_and_request_id_are_kept():
    body = {"status": "failed", "response": "No.", "error": {"code": "key_scope", "request_id": "r1"}}

    error = make_site_error(403, body)

    assert (error.code, error.request_id) == ("key_scope", "r1")


def test_the_tree_in_the_docstring_names_every_class():
    classes = {name for name, value in vars(errors).items() if isinstance(value, type) and name != "Mapping"}

    assert {name for name in classes if name not in errors.__doc__} <= {"ClassVar"}
