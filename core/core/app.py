"""The app factory: configuration, plugins, one transaction per request."""

import logging
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from flask import Flask, Request, Response
from flask.globals import app_ctx, request_ctx
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask.typing import ResponseReturnValue
from werkzeug.middleware.proxy_fix import ProxyFix

from core import cors, errors, logs, migrations, plugins, storage
from core import db as database
from core.authentication import authenticate
from core.blueprint import mount_of
from core.config import Settings, find_instance_path, read_sources, resolve
from core.db import db
from core.errors import PulsarError
from core.identity import ANONYMOUS
from core.limits import Limiter
from core.mounting import add_commands, add_plugins
from core.paths import PlainInteger, check_mounts, close_failed, find_taker, first_segments, misrouted
from core.plugins import BrokenPlugins, Failure, Plugin, find_plugins, hook_calls, load_plugins
from core.requests import guard, refuse_unasked
from core.responses import add_headers, envelop
from core.settings import Config
from core.site import Site, site_of

__all__ = ["Pulsar", "create_app"]

log = logging.getLogger(__name__)
REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class _LazyCookie(SecureCookieSessionInterface):
    """Flask's signed cookie, looked at only where there is one: most callers of an API send none."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if "HTTP_COOKIE" in request.environ or not app.secret_key:
            return super().open_session(app, request)
        return self.session_class()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.accessed or session.modified:
            super().save_session(app, session, response)


class Pulsar(Flask):
    """A Flask app in which one request is one transaction.

    A view's rows are stored when it returns and forgotten when it raises. What other processes can
    see waits for the commit: see :func:`core.db.after_commit`.
    """

    session_interface = _LazyCookie()

    def preprocess_request(self) -> ResponseReturnValue | None:
        answer = _begin(self)
        return super().preprocess_request() if answer is None else answer

    def dispatch_request(self) -> ResponseReturnValue:
        refuse_unasked(self, request_ctx.request)
        answer = super().dispatch_request()
        if session := db.opened:
            session.commit()
        return answer

    def process_response(self, response: Response) -> Response:
        response = super().process_response(response)
        _finish(self, response)
        return response

    def handle_user_exception(self, e: Exception) -> Any:
        if session := db.opened:
            session.rollback()
        return super().handle_user_exception(e)


def create_app(instance_path: str | os.PathLike[str] | None = None, **overrides: Any) -> Pulsar:
    """Make the site that the configuration in ``instance_path`` describes.

    :param instance_path: default: ``PULSAR_INSTANCE_PATH``, else ``instance`` below the working directory.
    :param overrides: settings that win over every other source.
    :raises ConfigError: saying in one line everything that is wrong with the configuration.
    :raises BrokenPlugins: naming all plugins that cannot be loaded, unless ``PLUGIN_FAILURE`` is ``skip``.
    """
    instance = find_instance_path(instance_path)
    sources = read_sources(instance, overrides)
    excluded: dict[str, Failure] = {}
    while True:
        app, failures = _attempt(instance, sources, excluded)
        if not failures:
            return app
        if app.config["PLUGIN_FAILURE"] == "abort":
            raise BrokenPlugins(failures)
        # Nothing of a broken plugin may stay: the app is made again without it.
        excluded |= {failure.plugin: failure for failure in failures}


def _attempt(
    instance: Path, sources: Mapping[str, Mapping[str, Any]], excluded: Mapping[str, Failure]
) -> tuple[Pulsar, list[Failure]]:
    """Make the app without the ``excluded`` plugins; say which others are broken."""
    installed = find_plugins()
    core_only = resolve(sources, {"core": Config}, instance, tuple(installed))
    loaded, failures = load_plugins(core_only.values["PLUGINS"], installed, excluded)
    configs = {name: plugin.config for name, plugin in loaded.items() if plugin.config}
    settings = resolve(sources, {"core": Config, **configs}, instance, tuple(installed))
    settings.raise_errors()
    app = _bare_app(instance, settings)
    with app.app_context():
        failures += add_plugins(app, loaded.values())
    failures += check_mounts(app)
    if not failures:
        failures = _make_ready(app, excluded)
    return app, list({failure.plugin: failure for failure in reversed(failures)}.values())[::-1]


def _bare_app(instance: Path, settings: Settings) -> Pulsar:
    """An app with core's machinery and no routes yet."""
    app = Pulsar("pulsar", instance_path=str(instance), static_folder=None)
    app.config.from_mapping(settings.values)
    app.url_map.strict_slashes = False
    app.url_map.converters["int"] = PlainInteger
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.extensions["pulsar"] = Site(
        instance=instance,
        settings=settings,
        hooks=plugins.hook_manager(),
        limiter=Limiter(app.config),
        cors=frozenset(app.config["CORS_ORIGINS"]),
    )
    logs.init_app(app)
    database.init_app(app)
    migrations.init_app(app)
    errors.init_app(app)
    storage.init_app(app, instance)
    if hops := app.config["TRUSTED_PROXIES"]:
        # Each proxy adds the address it was asked from; the rest comes as one value, from the nearest.
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=hops, x_proto=1, x_host=1, x_prefix=1
        )
    return app


def _make_ready(app: Pulsar, excluded: Mapping[str, Failure]) -> list[Failure]:
    """Close what is broken, add the commands, tell the plugins; say which of them cannot bear it."""
    site = site_of(app)
    loaded = list(site.plugins.values())
    installed = find_plugins()
    site.plugins |= {
        name: replace(installed.get(name, Plugin(name, name)), failure=failure)
        for name, failure in excluded.items()
    }
    close_failed(app)
    site.segments, site.taker = first_segments(app), find_taker(app)
    for warning in site.settings.warnings:
        log.warning("%s", warning)
    for setting in ("ANONYMOUS_PERMISSIONS", "LOCKED_ACCOUNT_PERMISSIONS", "BASIC_PERMISSIONS"):
        for permission in app.config[setting]:
            if permission not in site.permissions:
                log.warning("%s: there is no permission %s", setting, permission)
    site.watchers = list(hook_calls(site.hooks, "request_finished"))
    if failures := add_commands(app, loaded):
        return failures
    with app.app_context():
        for name, call in hook_calls(site.hooks, "app_ready"):
            try:
                call(app=app)
            except Exception as exc:  # foreign code; the others shall still start
                failures.append(Failure.of(name, "app_ready", exc, site.plugins[name].package))
    return failures


def _begin(app: Pulsar) -> Response | None:
    """Give the request its id and its identity; refuse it if it is one too many, or its route wants another.

    :returns: the answer, where none of this matters.
    """
    # The proxies are looked up once and what they hold is handed on: each use of one costs as much as a
    # line of this function.
    site, request, state = site_of(app), request_ctx.request, app_ctx.g
    state.started = time.perf_counter()
    given = request.headers.get("X-Request-Id")
    state.request_id = given if given and REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    state.identity, state.usage, state.origins = ANONYMOUS, {}, frozenset()
    mount = state.mount = mount_of(site, request.path, request.blueprint)
    error = state.error = misrouted(site, mount, request)
    state.origins = cors.origins_for(site, mount, request.path)
    if (
        state.origins
        and request.method == "OPTIONS"
        and (answer := cors.answer_preflight(request, state.origins))
    ):
        state.error = None
        return answer
    request.max_content_length = mount.max_body_bytes or app.config["MAX_CONTENT_LENGTH"]
    try:
        state.identity = authenticate(site, mount, request)
    except PulsarError:
        # Who proves nothing is counted by the address, also one that tries keys.
        state.usage = site.limiter.count(mount, ANONYMOUS, request.remote_addr)
        raise
    state.usage = site.limiter.count(mount, state.identity, request.remote_addr)
    if error is not None:
        raise error
    if not state.identity.authenticated:
        guard(app, request)
    return None


def _finish(app: Flask, response: Response) -> None:
    request, state = request_ctx.request, app_ctx.g
    envelop(response, state)
    add_headers(response, state)
    if state.origins:
        cors.add_headers(response, request, state.origins)
    logs.log_request(request, response, state)
    for name, call in site_of(app).watchers:
        try:
            call(identity=state.identity, response=response, elapsed=time.perf_counter() - state.started)
        except (Exception, SystemExit):  # foreign code; the answer is made and shall be sent
            log.exception("plugin %s: hook request_finished failed", name)
