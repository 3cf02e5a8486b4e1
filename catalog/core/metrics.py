"""The registry of metrics that tasks send through Airflow's statistics.

Tasks send metrics by these objects (`dags/common/metrics.py`), and docs/metrics.md is generated from them.
"""

from typing import Literal

import msgspec

PREFIX = "airflow"  # the default of `[metrics] statsd_prefix` and `otel_prefix`
Kind = Literal["counter", "gauge"]


class Metric(msgspec.Struct, frozen=True):
    """A metric.

    Attributes:
        name: Name without Airflow's prefix: `catalog`, the subject, and what is measured.
        kind: A counter adds up; a gauge is the newest value.
        unit: Unit of the value.
        tags: Names of its tags, with which each value is sent.
        meaning: Markdown.
    """

    name: str
    kind: Kind
    unit: str
    tags: tuple[str, ...]
    meaning: str

    @property
    def prometheus(self) -> str:
        """The name in Prometheus, which writes underscores for dots and ends the names of counters."""
        return f"{PREFIX}_{self.name.replace('.', '_')}" + ("_total" if self.kind == "counter" else "")


METRICS: list[Metric] = []


def _declare(kind: Kind, name: str, unit: str, tags: str, meaning: str) -> Metric:
    metric = Metric(f"catalog.{name}", kind, unit, tuple(tags.split()), meaning)
    METRICS.append(metric)
    return metric


_SOURCE = "provider media_type"
FETCHED = _declare(
    "counter", "load.fetched", "items", _SOURCE, "read from the provider; the sum of the next five"
)
INSERTED = _declare("counter", "load.inserted", "records", _SOURCE, "new in the catalog")
UPDATED = _declare("counter", "load.updated", "records", _SOURCE, "stored with other values")
UNCHANGED = _declare("counter", "load.unchanged", "records", _SOURCE, "the same as the stored ones")
SKIPPED = _declare("counter", "load.skipped", "items", _SOURCE, "not wanted, or superseded by a later pull")
REJECTED = _declare("counter", "load.rejected", "items", _SOURCE, "could not be mapped or stored")
PULL_SECONDS = _declare(
    "gauge", "pull.seconds", "seconds", _SOURCE, "that the newest pull took, all attempts"
)
LOAD_SECONDS = _declare("gauge", "load.seconds", "seconds", _SOURCE, "that the newest load took")
FRESH = _declare(
    "gauge",
    "provider.fresh_timestamp_seconds",
    "Unix time",
    _SOURCE,
    "the end of the newest window that was loaded whole; without windows, when its pull began",
)
DUE = _declare(
    "gauge",
    "provider.due_timestamp_seconds",
    "Unix time",
    _SOURCE,
    "from which the provider is late: 1.5 periods of its schedule and the longest pull (dated: a day) after "
    "the time above",
)
MISSED_DAYS = _declare(
    "gauge",
    "provider.missed_days",
    "days",
    _SOURCE,
    "of the last month that no pull covers although later days were pulled; only of dated providers",
)
_REFRESH = "media_type mode"
ROWS = _declare(
    "gauge",
    "refresh.rows",
    "rows",
    _REFRESH,
    "of all tables that the newest refresh copied; `incremental`: inserted, updated and deleted",
)
DOCUMENTS = _declare("gauge", "refresh.documents", "documents", _REFRESH, "that the newest refresh wrote")
REFUSED = _declare(
    "gauge",
    "refresh.rejected",
    "records",
    _REFRESH,
    "that the newest refresh left out, because a table or an index does not accept them",
)
REFRESH_SECONDS = _declare(
    "gauge", "refresh.seconds", "seconds", _REFRESH, "from the plan of the newest refresh to its promotion"
)
PROMOTED = _declare(
    "gauge", "refresh.promoted_timestamp_seconds", "Unix time", _REFRESH, "of the newest promotion"
)
LIVE = _declare(
    "gauge", "index.documents", "documents", "alias", "that are searched, such as `image-filtered`"
)
SCORED = _declare(
    "gauge", "popularity.scored", "records", _SOURCE, "with a score, after the newest popularity refresh"
)
DELETED = _declare("counter", "deletion.deleted", "records", "media_type", "deleted by `delete_records`")
