"""Templates, and the filters by which they show times, numbers and addresses."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import humanize
import jinja2
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from catalog.core.airflow_ui import dag_path, run_path
from catalog.core.dashboard_paths import record_page, refresh_page
from catalog.core.dates import utc
from catalog.core.media import SHOWN, MediaType
from catalog.core.setting import Setting
from catalog.plugins.airflow_address import base_path
from catalog.plugins.dashboard import errors, variables
from catalog.plugins.dashboard.charts import bars, span

T = TypeVar("T")
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; frame-ancestors 'self'; "
    "base-uri 'none'"
)
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
IMPLAUSIBLE = 1e9  # seconds of a pull
_HERE = Path(__file__).parent
templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Page:
    """A page that is being made; its clock starts when a request comes.

    Attributes:
        problems: Why parts of the page are missing.
        now: The time of the request.
    """

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.now = datetime.now(UTC)
        self.problems: list[str] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the error of a part to the problems, so that the other parts are still shown."""
        try:
            yield
        except Exception as error:
            self.problems.append(f"{name}: {errors.explained(name, error)}")

    def value_of(self, setting: Setting[T]) -> T:
        """Return the value of a Variable; its malformed entries are problems. Raises Malformed."""
        return variables.value_of(setting, self.problems)

    def render(
        self, template: str, status: int = 200, *, pictures: bool = False, **values: Any
    ) -> HTMLResponse:
        """Render a template. Nothing that a record contains can run or load anything.

        Args:
            template: Name of its file.
            status: HTTP status.
            pictures: Allow images of other hosts, over https.
            values: Values for the template.
        """
        airflow = base_path()
        html = templates.get_template(template).render(
            problems=self.problems,
            now=self.now,
            pictures=pictures,
            airflow=airflow,
            home=f"{airflow}/catalog",
            elapsed=lambda: round((time.perf_counter() - self._began) * 1000),
            **values,
        )
        policy = f"{POLICY}; img-src 'self'{' https:' if pictures else ''}"
        return HTMLResponse(html, status, {"Content-Security-Policy": policy, **HEADERS})


def refresh_dag(media_type: MediaType) -> str:
    """Return the id of the DAG that makes records of a media type searchable."""
    return f"{media_type}_data_refresh"


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago a moment is, such as `3 days ago`; also moments of the future."""
    try:
        return humanize.naturaltime(moment, when=now)
    except (OverflowError, ValueError):  # beyond the years that dates can have
        return f"{moment:%Y-%m-%d}"


def lasted(seconds: float | None) -> str:
    """Return a duration with its two largest units, such as `2 minutes and 3 seconds`."""
    if seconds is None or not 0 <= seconds < IMPLAUSIBLE:  # NaN included
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f} s"
    parts = humanize.precisedelta(seconds, minimum_unit="seconds", format="%d").replace(" and ", ", ")
    return ", ".join(parts.split(", ")[:2])


def percent(share: float) -> str:
    """Return a share as percent, such as `3.2 %`; small ones are not rounded to nothing."""
    if not share:
        return "0 %"
    return "< 0.1 %" if share < 0.001 else f"{share:.1%}".replace("%", " %")


def number(value: float) -> str:
    """Return a number with separators."""
    return f"{value:,}"


def when(moment: datetime | None, now: datetime) -> Markup:
    """Return a `time` element: how long ago, and the moment itself as its title."""
    if moment is None:
        return Markup("never")
    shown = f"{utc(moment):%Y-%m-%d %H:%M} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.isoformat(), shown, ago(moment, now)
    )


def pretty(value: Any) -> str:
    """Return JSON for people; integers of any size."""
    try:
        return json.dumps(value, indent=2, ensure_ascii=False, default=str)
    except RecursionError:
        return "nested too deeply to be shown"


def beginning(value: Any, most: int = 50_000) -> str:
    """Return a value as text, cut to a length: adopted catalogs may have values of many megabytes.

    Args:
        value: The value.
        most: Maximum length in characters.
    """
    text = str(value)
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} characters are not shown)"


templates.filters |= {
    "utc": utc,
    "lasted": lasted,
    "percent": percent,
    "number": number,
    "pretty": pretty,
    "beginning": beginning,
    "size": lambda value: humanize.naturalsize(value, binary=True),
    "query": lambda values: urlencode({key: value for key, value in values.items() if value}),
}
templates.globals |= {
    "dag_path": dag_path,
    "run_path": run_path,
    "record_page": record_page,
    "refresh_page": refresh_page,
    "refresh_dag": refresh_dag,
    "media_types": SHOWN,
    "when": when,
    "bars": bars,
    "span": span,
}
