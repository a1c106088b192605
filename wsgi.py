"""The site as a WSGI application: ``gunicorn wsgi:app``, or the ``flask`` command from this folder."""

from core.app import create_app

app = create_app()
