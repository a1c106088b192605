"""Links to files of packages on the site: they need no key, answer ranges, and end by themselves."""

from urllib.parse import quote, urljoin

from pulsar_client.errors import ConfigurationError, ProtocolError
from pulsar_client.handles import Handle
from pulsar_client.http import Http


def find_link(http: Http, entry: Handle, revision: str, fragment: int | None) -> str:
    """The link to one file.

    :param fragment: which one, of a table of several.
    :raises ConfigurationError: ``entry`` is a whole package.
    """
    if not entry.path:
        raise ConfigurationError(f"{entry} is a whole package; write OWNER/NAME/PATH.")
    parts = (entry.owner, f"{entry.name}@{revision}", *entry.path)
    path = "/api/object/" + "/".join(quote(part, safe="@") for part in parts)
    query = None if fragment is None else {"fragment": str(fragment)}
    # Not followed: our key has no business there.
    with http.open("GET", path, query=query, follow=False) as response:
        if not (target := response.headers.get("Location")):
            raise ProtocolError("The site gave no link.")
        try:
            link = urljoin(response.url, target)
        except ValueError as error:
            raise ProtocolError("The site gave an address that cannot be used.") from error
    if not link.startswith(("http://", "https://")):
        raise ProtocolError("The site gave an address that cannot be used.")
    return link
