"""Phases of a soak: start, fill, disturb, settle, judge."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from catalog.core.media import MEDIA_TYPES
from catalog.core.session import Connection
from catalog.data_refresh.search.sensitive import parse_terms
from catalog.local.schedules import unpaused
from catalog.local.stack import AIRFLOW_DB, API_DB, CATALOG_DB, ROOT
from catalog.soak import report
from catalog.soak.jobs import MediaSubject
from catalog.soak.journal import Journal
from catalog.soak.made_up import SOURCES
from catalog.soak.model import Model
from catalog.soak.oracles import content, published, remains
from catalog.soak.plan import make_plan
from catalog.soak.readers import Readers
from catalog.soak.violations import Violation, Violations
from catalog.soak.visitors import Visitors
from catalog.soak.workload import DAGS, FULL, Workload
from catalog.soak.world import CANARY, World, is_passing, persist, relations

SETTLE_SECONDS = 600.0  # within which everything must have ended
POLL_SECONDS = 1.0
TERMS = ROOT / "catalog" / "containers" / "sensitive_terms.txt"
_WRITTEN = (".log", ".json", ".jsonl", ".tsv", ".txt")


class Soak:
    """One soak."""

    def __init__(self, folder: Path, seed: int, minutes: float, notify: Callable[[str], None]) -> None:
        """Prepare a soak; `run` runs it.

        Args:
            folder: Folder of everything that the soak writes.
            seed: Seed of the plan.
            minutes: Time for which faults are injected.
            notify: Called with messages for the user.
        """
        self._minutes, self._notify = minutes, notify
        self._plan = make_plan(seed, minutes)
        self._world, self.journal, self._model = World(folder), Journal(folder / "events.log"), Model()
        self._calm = False
        self._work = Workload(self._world, self.journal, self._model, lambda: self._calm)
        self._terms = parse_terms(TERMS.read_text(encoding="utf-8"))
        self._readers = Readers(self._world, self.journal, self._model, self._work.refresh_began, self._terms)
        self._visitors = Visitors(self._world, self.journal)
        self._rows: dict[str, int] = {}
        self._relations: dict[str, set[str]] = {}
        self._notified = 0.0

    def run(self) -> None:
        """Run all phases. Violations are in the journal."""
        seconds = self._world.start(self._notify)
        self._notify(f"the stack is up after {seconds:.0f} s")
        for name in (CATALOG_DB, API_DB):
            with self._world.connect(name) as connection:
                self._relations[name] = relations(connection)
        with unpaused(self._world.stack, DAGS, lambda _: None):
            self._fill()
            self._readers.start()
            self._visitors.start()
            self._disturb()
            self._settle()
            self._readers.stop()
            self._visitors.stop()
            self._judge()

    def close(self, *, keep: bool) -> None:
        """Stop everything; with `keep`, leave what was written."""
        self._world.stop(keep)

    def report(self, console: Console) -> None:
        """Print the summary."""
        faults = self._work.faults.counts
        report.summary(console, self.journal, self._work.jobs.all, self._reads(), faults, self._rows)

    # phases

    def _fill(self) -> None:
        """Fill the catalog and the API, undisturbed."""
        self._notify("filling: pulls, popularity, refreshes")
        for source in SOURCES.values():
            self._work.pull(source)
        self._until_settled(SETTLE_SECONDS)
        for media_type in MEDIA_TYPES:
            dag_id = f"{media_type}_popularity_refresh"
            self._work.jobs.trigger("popularity", dag_id, {}, MediaSubject(media_type))
        self._refresh_all()

    def _refresh_all(self) -> None:
        for media_type in MEDIA_TYPES:
            dag_id = f"{media_type}_data_refresh"
            self._work.jobs.trigger("refresh", dag_id, FULL, MediaSubject(media_type))
        self._until_settled(SETTLE_SECONDS)

    def _disturb(self) -> None:
        """Execute the plan."""
        self._notify(f"disturbing: {len(self._plan)} steps in {self._minutes:g} minutes")
        began, steps = time.monotonic(), list(self._plan)
        while steps or time.monotonic() - began < self._minutes * 60:
            while steps and time.monotonic() - began >= steps[0].at:
                self._tolerate(partial(self._work.execute, steps.pop(0)))
            self._poll()
        self._work.drop_waiting_faults()
        self._world.apis.content.end_faults()
        self._calm = True
        self.journal.note("calm", "no more faults")

    def _settle(self) -> None:
        """Clear failed runs until all have succeeded; then refresh each media type, undisturbed."""
        self._notify("settling")
        self._until_settled(SETTLE_SECONDS)
        self._refresh_all()

    def _until_settled(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self._work.busy():
            self._poll()
            if time.monotonic() > deadline:
                jobs = ", ".join(f"{job.name} ({job.state}: {job.message})" for job in self._work.jobs.open())
                self.journal.record_violation("states", f"not settled after {timeout:.0f} s: {jobs}")
                return

    def _poll(self) -> None:
        began = time.monotonic()
        self._tolerate(self._work.poll)
        if self.journal.now() - self._notified >= 60:
            self._notified = self.journal.now()
            jobs, faults = self._work.jobs.all, self._work.faults.counts
            self._notify(report.progress(self.journal, jobs, self._reads(), faults))
        time.sleep(max(0.0, POLL_SECONDS - (time.monotonic() - began)))

    def _tolerate(self, work: Callable[[], None]) -> None:
        """Call a function; note an error that is due to a part that is unavailable."""
        self._check_stack()
        try:
            work()
        except Exception as error:
            if not is_passing(error):
                raise
            self.journal.note("unavailable", f"{type(error).__name__}: {str(error)[:200]}")

    def _reads(self) -> dict[str, int]:
        return {**self._readers.reads(), "views": self._visitors.count()}

    def _check_stack(self) -> None:
        """Restart a stack that has ended, which is a violation."""
        if self._world.stack.running():
            return
        error = self._world.stack.state().get("error")
        self.journal.record_violation(
            "stack", f"the local stack ended after {self.journal.now():.0f} s: {error}"
        )
        self._world.start(self._notify)

    # judgement

    def _judge(self) -> None:
        self._notify("judging")
        with (
            self._world.connect(CATALOG_DB) as catalog,
            self._world.connect(API_DB) as api,
            self._world.connect(AIRFLOW_DB) as airflow,
        ):
            violations = [
                *self._catalog_violations(catalog),
                *self._api_violations(catalog, api),
                *self._remains(catalog, api, airflow),
            ]
            for oracle, message in violations:
                self.journal.record_violation(oracle, message)
            for table in ("image", "audio", "deleted_image", "deleted_audio", "ingestion_report"):
                [(number,)] = catalog.execute(f"select count(*) from {table}".encode()).fetchall()
                self._rows[f"catalog {table}"] = number

    def _catalog_violations(self, catalog: Connection) -> Violations:
        violations: Violations = []
        for source in SOURCES.values():
            violations += content.check_records(catalog, source, self._model)
        for query_id, update in self._model.updates.items():
            if update.settled:
                violations += content.check_update(catalog, query_id, update)
        violations += content.check_scores(catalog)
        violations += content.check_keys(catalog, is_catalog=True)
        violations += content.check_accounts(catalog)
        return violations

    def _api_violations(self, catalog: Connection, api: Connection) -> Violations:
        indexes, model = self._world.search(), self._model
        violations = content.check_keys(api, is_catalog=False)
        for media_type in MEDIA_TYPES:
            deleted, marked = model.moderated(media_type), model.marked[media_type]
            violations += published.check_api_table(catalog, api, media_type, deleted)
            visits, listed = self._visitors.visits[media_type], self._visitors.listed[media_type]
            violations += published.check_visits(api, media_type, visits, listed, deleted)
            check = partial(published.check_indexes, api, indexes, media_type, marked, self._terms)
            violations += persist(check)
        return violations

    def _remains(self, catalog: Connection, api: Connection, airflow: Connection) -> Violations:
        violations = [
            *remains.check_left_indexes(self._world.search()),
            *remains.check_partial_files(self._world.stack.storage),
            *remains.check_states(airflow),
        ]
        for name, connection in ((CATALOG_DB, catalog), (API_DB, api)):
            violations += remains.check_leftovers(
                connection, name, self._relations[name], relations(connection)
            )
        files = [p for p in self._world.stack.folder.rglob("*") if p.suffix in _WRITTEN and p.is_file()]
        messages = [str(message) for message in self._world.apis.slack]
        databases = [(CATALOG_DB, catalog), (API_DB, api), (AIRFLOW_DB, airflow)]
        violations += remains.check_canary(CANARY, files, databases, messages)
        if CANARY not in self._world.apis.content.keys:
            violations.append(
                Violation("secrets", "no request had the canary, so its absence proves nothing")
            )
        return violations
