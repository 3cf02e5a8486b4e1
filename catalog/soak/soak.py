"""One soak: start, fill, disturb, let it settle, judge."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from catalog.core.media import MEDIA_TYPES
from catalog.data_refresh.sensitive import parse_terms
from catalog.local.runs import unpaused
from catalog.local.stack import AIRFLOW_DB, API_DB, CATALOG_DB, ROOT
from catalog.soak import oracles, report
from catalog.soak.journal import Journal
from catalog.soak.made_up import SOURCES
from catalog.soak.model import Model
from catalog.soak.plan import make_plan
from catalog.soak.readers import Readers
from catalog.soak.visitors import Visitors
from catalog.soak.workload import DAGS, Workload
from catalog.soak.world import CANARY, World, passing, persist, relations

SETTLE = 600.0  # seconds until everything must have come to an end
LOOK_EVERY = 1.0
TERMS = ROOT / "catalog" / "containers" / "sensitive_terms.txt"
_LOGS = (".log", ".json", ".jsonl", ".tsv", ".txt")


class Soak:
    """folder: of all it writes. say: prints a line."""

    def __init__(self, folder: Path, seed: int, minutes: float, say: Callable[[str], None]) -> None:
        self._minutes, self._say = minutes, say
        self._plan = make_plan(seed, minutes)
        self._world, self.journal, self._model = World(folder), Journal(folder / "events.log"), Model()
        self._calm = False
        self._work = Workload(self._world, self.journal, self._model, lambda: self._calm)
        terms = parse_terms(TERMS.read_text(encoding="utf-8"))
        self._readers = Readers(self._world, self.journal, self._model, self._work.refresh_began, terms)
        self._visitors = Visitors(self._world, self.journal)
        self._terms, self._rows = terms, dict[str, int]()
        self._relations: dict[str, set[str]] = {}
        self._said = 0.0

    def run(self) -> None:
        """All of it. Violations are in the journal."""
        seconds = self._world.start(self._say)
        self._say(f"the stack is up after {seconds:.0f} s")
        for name in (CATALOG_DB, API_DB):
            with self._world.connect(name) as connection:
                self._relations[name] = relations(connection)
        with unpaused(self._world.api, DAGS, lambda _: None):
            self._fill()
            self._readers.start()
            self._visitors.start()
            self._disturb()
            self._settle()
            self._readers.stop()
            self._visitors.stop()
            self._judge()

    def close(self, *, keep: bool) -> None:
        """Stop everything. keep: leave what was written."""
        self._world.stop(keep)

    def report(self, console: Console) -> None:
        """Print what came of it."""
        faults = self._work.faults.counts
        report.summary(console, self.journal, self._work.jobs.all, self._looks(), faults, self._rows)

    # phases

    def _fill(self) -> None:
        """Records in the catalog and in the API, before anything is disturbed."""
        self._say("filling: pulls, popularity, refreshes")
        for source in SOURCES.values():
            self._work.pull(source)
        self._until_settled(SETTLE)
        for media_type in MEDIA_TYPES:
            self._work.jobs.trigger(
                "popularity", f"{media_type}_popularity_refresh", {}, {"media_type": media_type}
            )
            self._work.jobs.trigger("refresh", f"{media_type}_data_refresh", {}, {"media_type": media_type})
        self._until_settled(SETTLE)

    def _disturb(self) -> None:
        """The plan."""
        self._say(f"disturbing: {len(self._plan)} steps in {self._minutes:g} minutes")
        began, steps = time.monotonic(), list(self._plan)
        while steps or time.monotonic() - began < self._minutes * 60:
            while steps and time.monotonic() - began >= steps[0].at:
                self._bear(partial(self._work.do, steps.pop(0)))
            self._follow()
        self._work.forget_faults()
        self._world.apis.content.mend()
        self._calm = True
        self.journal.note("calm", "no more faults")

    def _settle(self) -> None:
        """Until all is well: what fails is cleared. Then one undisturbed refresh of each medium."""
        self._say("settling")
        self._until_settled(SETTLE)
        for media_type in MEDIA_TYPES:
            self._work.jobs.trigger("refresh", f"{media_type}_data_refresh", {}, {"media_type": media_type})
        self._until_settled(SETTLE)

    def _until_settled(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._work.busy():
            self._follow()
            if time.monotonic() > deadline:
                open_ = ", ".join(
                    f"{job.name} ({job.state}: {job.message})" for job in self._work.jobs.open()
                )
                self.journal.violate("O7", f"not settled after {seconds:.0f} s: {open_}")
                return

    def _follow(self) -> None:
        began = time.monotonic()
        self._bear(self._work.follow)
        if self.journal.now() - self._said >= 60:
            self._said = self.journal.now()
            jobs, looks = self._work.jobs.all, self._looks()
            self._say(report.progress(self.journal, jobs, looks, self._work.faults.counts))
        time.sleep(max(0.0, LOOK_EVERY - (time.monotonic() - began)))

    def _bear(self, work: Callable[[], None]) -> None:
        """Do something; what fails because a part is away is noted."""
        self._watch_stack()
        try:
            work()
        except Exception as error:
            if not passing(error):
                raise
            self.journal.note("away", f"{type(error).__name__}: {str(error)[:200]}")

    def _looks(self) -> dict[str, int]:
        return {**self._readers.looks(), "views": self._visitors.looks()}

    def _watch_stack(self) -> None:
        """A stack that gave up is started again, and that is a violation."""
        if self._world.stack.running():
            return
        error = self._world.stack.state().get("error")
        self.journal.violate(
            "stack", f"the local stack ended by itself at {self.journal.now():.0f} s: {error}"
        )
        self._world.start(self._say)

    # judgement

    def _judge(self) -> None:
        self._say("judging")
        with (
            self._world.connect(CATALOG_DB) as catalog,
            self._world.connect(API_DB) as api,
            self._world.connect(AIRFLOW_DB) as airflow,
        ):
            for found in self._findings(catalog, api, airflow):
                for oracle, text in found:
                    self.journal.violate(oracle, text)
            for table in ("image", "audio", "deleted_image", "deleted_audio", "ingestion_report"):
                [(number,)] = catalog.execute(f"select count(*) from {table}".encode()).fetchall()
                self._rows[f"catalog {table}"] = number

    def _findings(self, catalog: Any, api: Any, airflow: Any) -> list[oracles.Found]:
        indexes, model = self._world.search(), self._model
        found = [oracles.records_are_right(catalog, source, model) for source in SOURCES.values()]
        found += [oracles.update_is_whole(catalog, q, u) for q, u in model.updates.items() if u.settled]
        found += [
            oracles.scores_are_right(catalog),
            oracles.no_key_twice(catalog, is_catalog=True),
            oracles.no_key_twice(api, is_catalog=False),
            oracles.accounts_add_up(catalog),
            oracles.no_index_left(indexes),
            oracles.no_partial_file(self._world.stack.storage),
            oracles.states_tell_the_truth(airflow),
        ]
        for media_type in MEDIA_TYPES:
            deleted, marked = model.moderated(media_type), model.marked[media_type]
            found.append(oracles.api_is_the_catalog(catalog, api, media_type, deleted))
            visits, listed = self._visitors.visits[media_type], self._visitors.listed[media_type]
            found.append(oracles.visits_are_kept(api, media_type, visits, listed, deleted))
            check = partial(oracles.index_is_the_table, api, indexes, media_type, marked, self._terms)
            found.append(persist(check))
        for name, connection in ((CATALOG_DB, catalog), (API_DB, api)):
            found.append(oracles.nothing_left(connection, name, self._relations[name], relations(connection)))
        written = [p for p in self._world.stack.folder.rglob("*") if p.suffix in _LOGS and p.is_file()]
        texts = [str(message) for message in self._world.apis.slack]
        every = [(CATALOG_DB, catalog), (API_DB, api), (AIRFLOW_DB, airflow)]
        found.append(oracles.canary_is_nowhere(CANARY, written, every, texts))
        if CANARY not in self._world.apis.content.keys:
            found.append([("O6", "no request bore the canary, so its absence proves nothing")])
        return found
