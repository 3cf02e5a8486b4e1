"""The dashboard: a page in Airflow's UI, behind Airflow's login, rendered on the server."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import jinja2
import psycopg
from airflow.api_fastapi.core_api.security import get_user
from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from catalog.core.connections import arguments_of
from catalog.core.dates import utc
from catalog.core.errors import Fatal
from catalog.core.session import Connection
from catalog.core.setting import Malformed, Setting
from catalog.core.settings import (
    GITHUB_API_KEY,
    GITHUB_API_URL,
    SILENCED_SLACK_NOTIFICATIONS,
    SKIPPED_INGESTION_ERRORS,
    TAG_POLICY,
)
from catalog.dags.common.iam import with_token
from catalog.data_refresh.tag_policy import policy_from
from catalog.loading.freshness import freshness
from catalog.plugins import figures

if TYPE_CHECKING:
    from airflow.models import Connection as AirflowConnection

    from catalog.data_refresh.search import Indexes

log = logging.getLogger(__name__)
T = TypeVar("T")
CATALOG_DB, SEARCH = "postgres_openledger_upstream", "elasticsearch_http_production"
SILENCING: tuple[Setting[Any], ...] = (SILENCED_SLACK_NOTIFICATIONS, SKIPPED_INGESTION_ERRORS)
RENEWED = 600.0  # seconds after which the state of an issue is looked up again
_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
)
_templates.filters["utc"] = utc

app = FastAPI(dependencies=[Depends(get_user)], docs_url=None, redoc_url=None, openapi_url=None)


@app.exception_handler(HTTPException)
async def to_login(request: Request, problem: HTTPException) -> Response:
    """Redirect browsers to the login page and back; return the status to other clients.

    Airflow's own route redirects to the page of its auth manager. URLs start with Airflow's public base URL.
    """
    if problem.status_code == 401 and "text/html" in request.headers.get("accept", ""):
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        back = quote(f"{base}/catalog/", safe="")
        return RedirectResponse(f"{base}/api/v2/auth/login?next={back}", 302)
    return JSONResponse({"detail": problem.detail}, problem.status_code)


@app.get("/", response_class=HTMLResponse)
def page() -> str:
    """Render the page. A part that fails is replaced by its error."""
    began, now = time.perf_counter(), datetime.now(UTC)
    problems: list[str] = []
    shown: dict[str, Any] = {
        name: [] for name in ("records", "outcomes", "freshness", "popularity", "growth", "aliases")
    }
    with _part(problems, "the catalog database"), _catalog() as connection:
        shown |= {
            "records": figures.records(connection),
            "growth": figures.growth(connection, now),
            "outcomes": figures.outcomes(connection),
            "freshness": freshness(connection, now),
            "popularity": figures.popularity(connection),
        }
    with _part(problems, "the search engine"):
        shown["aliases"] = figures.aliases(_search())
    entries: list[dict[str, Any]] = []
    policy: Any = None
    with _part(problems, TAG_POLICY.name):
        policy = policy_from(_value_of(TAG_POLICY, problems))
    for setting in SILENCING:
        with _part(problems, setting.name):
            entries += figures.silenced(setting.name, _value_of(setting, problems))
    for entry in entries:
        entry["state"] = _issues.state(entry["issue"])
    return _templates.get_template("dashboard.html").render(
        **shown,
        bars=figures.bars(shown["growth"]),
        silenced=entries,
        policy=policy,
        problems=problems,
        now=now,
        milliseconds=round((time.perf_counter() - began) * 1000),
    )


@contextmanager
def _part(problems: list[str], name: str) -> Iterator[None]:
    """Add the error of a part of the page to the problems, so that the other parts are still shown."""
    try:
        yield
    except Exception as error:
        log.warning("dashboard: %s: %r", name, error)
        readable = isinstance(error, Fatal | Malformed)  # written for users, and without secrets
        problems.append(f"{name}: {error if readable else type(error).__name__}")


def _connection(conn_id: str) -> "AirflowConnection":
    from airflow.models import Connection as AirflowConnection

    return AirflowConnection.get_connection_from_secrets(conn_id)


def _catalog() -> Connection:
    found = _connection(CATALOG_DB)
    limits = {"connect_timeout": 3, "options": "-c statement_timeout=5000"}
    arguments = with_token(arguments_of(found, application_name="catalog dashboard", **limits), found)
    return psycopg.connect(**arguments, autocommit=True)


def _search() -> "Indexes":
    from catalog.data_refresh.client import connect_to
    from catalog.data_refresh.search import Indexes

    found = _connection(SEARCH)
    client = connect_to(found.host, found.port, found.schema, found.login, found.password, found.extra_dejson)
    return Indexes(client.options(request_timeout=3), patience=0)


def _value_of(setting: Setting[T], problems: list[str]) -> T:
    """Return the value of a Variable, and add its malformed entries to the problems. Raises Malformed."""
    from airflow.models import Variable

    value, problem = setting.decode(Variable.get(setting.name, default_var=None))
    if problem:
        problems.append(problem)
    return value


class Issues:
    """States of GitHub issues, which are looked up in the background, so that the page never waits for them.

    Args:
        look_up: Returns the state of the issue at a URL.
        clock: Returns seconds.
    """

    def __init__(self, look_up: Callable[[str], str], clock: Callable[[], float] = time.monotonic) -> None:
        self._look_up, self._clock = look_up, clock
        self._states: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def state(self, url: str) -> str:
        """Return the state at the last look-up; "not known yet" before the first one."""
        with self._lock:
            when, state = self._states.get(url, (0.0, "not known yet"))
            if url not in self._states or self._clock() - when > RENEWED:
                self._states[url] = (self._clock(), state)
                threading.Thread(target=self._renew, args=(url,), daemon=True).start()
        return state

    def _renew(self, url: str) -> None:
        try:
            state = self._look_up(url)
        except Exception as problem:
            state = f"could not be looked up ({type(problem).__name__})"
        with self._lock:
            self._states[url] = (self._clock(), state)


def _issue_state(url: str) -> str:
    from catalog.core.secrets import Secret
    from catalog.core.setting import GITHUB_API
    from catalog.maintenance.github import GitHub
    from catalog.maintenance.silenced import issue_state

    token = _value_of(GITHUB_API_KEY, [])
    return issue_state(
        GitHub(Secret(token) if token else None, _value_of(GITHUB_API_URL, []) or GITHUB_API), url
    )


_issues = Issues(_issue_state)


class CatalogPlugin(AirflowPlugin):
    """Adds the page and its entry in the navigation."""

    name = "catalog_dashboard"
    fastapi_apps = [{"app": app, "url_prefix": "/catalog", "name": "Catalog dashboard"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Catalog",
            "href": "/catalog/",
            "destination": "nav",
            "url_route": "catalog_dashboard",
            "nav_top_level": True,
        }
    ]
