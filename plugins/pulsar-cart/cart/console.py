"""``pacifica-cartd-cmd``: the commands of the cart, under the name that the original service gives them."""

import sys

from flask.cli import FlaskGroup

from core.app import create_app

__all__ = ["main"]


def main() -> None:
    """Run ``flask cart`` with the arguments of this process."""
    group = FlaskGroup(create_app=create_app, add_default_commands=False, load_dotenv=False)
    group.main(["cart", *sys.argv[1:]], prog_name="flask")
