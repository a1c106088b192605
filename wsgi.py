"""The site as a WSGI application: for ``gunicorn --preload wsgi:app``, and the ``flask`` command."""

from core.app import create_app

app = create_app()
