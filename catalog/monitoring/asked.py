"""What a run of a DAG was asked for: decides which run makes up for one that has failed.

Airflow keeps one run for each logical date, so a backfill of a day is the scheduled run of that day, done
again. A run that is triggered by hand may cover the same day, by its conf.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, NamedTuple

from catalog.cleaning.rules import RULES
from catalog.core.media import MEDIA_TYPES
from catalog.ingestion.registry import dag_ids, provider_classes
from catalog.ingestion.windows import run_window

# Keys of a conf with which a run asks the provider for nothing or for a part, or changes nothing:
# people who try such a run look at its end.
_TRIALS = (
    "replay",
    "limit",
    "initial_query_params",
    "query_params_list",
    "additional_query_params",
    "dry_run",
)
_DRY_BY_DEFAULT = frozenset(("add_machine_labels", "batched_update", "clean_catalog"))
# Keys with which a run does less than without. Of a dated provider, `date` is another day instead.
_LESS = ("index_only", "date", "least_confidence")
# Keys, and values, with which it does something that it does not do without.
_MORE = {"delete_old_index": True, "force": True, "include_deleted": True, "mode": "full"}
# Keys that name what a run is about, in DAGs whose runs are about different things.
SUBJECTS: dict[str, tuple[str, ...]] = {
    "add_machine_labels": ("file", "provider"),
    "batched_update": ("query_id",),
    "check_links": ("provider", "slices", "first_slice", "last_slice"),
    "clean_catalog": ("tables", "rules"),
    "create_filtered_audio_index": ("origin_index_suffix", "destination_index_suffix"),
    "create_filtered_image_index": ("origin_index_suffix", "destination_index_suffix"),
    "create_new_production_es_index": ("media_type", "index_suffix"),
    "create_new_staging_es_index": ("media_type", "index_suffix"),
    "create_proportional_by_source_staging_index": ("media_type", "index_suffix"),
    "delete_records": ("table_name", "select_query"),
    "point_production_es_alias": ("alias",),
    "point_staging_es_alias": ("alias",),
    "recreate_full_staging_index": ("media_type", "target_alias_override"),
}


class Asked(NamedTuple):
    """What a run was asked for.

    Attributes:
        subject: What it is about: a day, or objects; "" if it is about all of them.
        moment: Moment whose state it was to reach: the beginning of its day, else when it was due.
        less: It does only a part of what others do that have the same subject.
        more: Keys of what it does besides.
    """

    subject: str
    moment: datetime
    less: bool = False
    more: frozenset[str] = frozenset()

    def includes(self, other: "Asked") -> bool:
        """Return whether a success of this makes up for a failure of the other, if it ends later."""
        about = self.subject in ("", other.subject)
        enough = (other.less or not self.less) and other.more <= self.more
        return about and enough and self.moment >= other.moment


def dated_dags() -> frozenset[str]:
    """Return the ids of the DAGs whose runs cover days."""
    return frozenset(dag_id for cls in provider_classes() if cls.dated for dag_id in dag_ids(cls))


def _subject(dag_id: str, conf: Mapping[str, Any]) -> str:
    """Return what a run is about; a key that is left out and its default, as in a form, are the same."""
    given = {key: conf.get(key) for key in SUBJECTS.get(dag_id, ())}
    if slices := given.get("slices"):
        given |= {"first_slice": conf.get("first_slice") or 1, "last_slice": conf.get("last_slice") or slices}
    elif "slices" in given:
        given |= {"first_slice": None, "last_slice": None}
    names = ((key, _named(value)) for key, value in given.items() if value)
    return "; ".join(f"{key}: {name}" for key, name in names if name != _DEFAULTS.get((dag_id, key)))


def _named(value: Any) -> str:
    """Return the name of an object, or the names of several, whose order does not matter."""
    if isinstance(value, list):
        return ", ".join(sorted(map(str, value)))
    return " ".join(str(value).split())


_DEFAULTS = {
    ("add_machine_labels", "provider"): "rekognition",
    ("clean_catalog", "tables"): _named([*MEDIA_TYPES]),
    ("clean_catalog", "rules"): _named([*RULES]),
}


def is_trial(dag_id: str, conf: Mapping[str, Any]) -> bool:
    """Return whether a run does not count, because it was limited, or changed nothing."""
    given = {"dry_run": dag_id in _DRY_BY_DEFAULT, **conf}
    if conf.get("mark") is False or str(conf.get("enableDelete")).lower() == "false":
        return True  # of check_links, and of airflow_log_cleanup
    return any(given.get(key) for key in _TRIALS)


def asked(
    dag_id: str,
    conf: Mapping[str, Any],
    run_after: datetime,
    interval: tuple[datetime | None, datetime | None],
    *,
    dated: bool,
) -> Asked:
    """Return what a run was asked for.

    Args:
        dag_id: Its DAG.
        conf: Its conf, whose values may be of any type: a conf that is refused is one, too.
        run_after: When it was due.
        interval: Its data interval, if it has one.
        dated: Whether the runs of the DAG cover days.
    """
    more = frozenset(key for key, value in _MORE.items() if conf.get(key) == value)
    if not dated:
        subject = _subject(dag_id, conf)
        # A sample looks at a few records of each slice.
        is_sample = dag_id == "check_links" and not conf.get("slices")
        return Asked(subject, run_after, is_sample or any(conf.get(key) for key in _LESS), more)
    day = conf.get("date")
    try:
        window = run_window(run_after, date.fromisoformat(day) if day else None, interval)
    except (TypeError, ValueError):
        return Asked(str(day), run_after, more=more)
    # Of a longer interval, a run covers the first day. One of a day to come was refused when it was due.
    return Asked(f"{window.day}", min(window.start, run_after), more=more)
