"""Workload of a soak: pulls, updates, deletions, restores, refreshes, moderation, clears."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.soak import made_up
from catalog.soak.faults import Faults
from catalog.soak.jobs import (
    Cleared,
    Conf,
    DeletionSubject,
    Job,
    Jobs,
    MediaSubject,
    PullSubject,
    State,
    UpdateSubject,
)
from catalog.soak.journal import Journal
from catalog.soak.made_up import SOURCES, Source
from catalog.soak.model import Model, Update
from catalog.soak.moderators import Moderators
from catalog.soak.oracles import content
from catalog.soak.plan import Step
from catalog.soak.restores import restore
from catalog.soak.violations import Violations
from catalog.soak.world import World, persist

P = ParamSpec("P")

FAULT_TIMEOUT = 10.0  # seconds for which a fault waits for something to disturb
RECENT = 15  # runs among which one to clear is chosen
DAGS = (
    *(source.dag_id for source in SOURCES.values()),
    *(f"{m}_data_refresh" for m in MEDIA_TYPES),
    *(f"{m}_popularity_refresh" for m in MEDIA_TYPES),
    *(f"create_filtered_{m}_index" for m in MEDIA_TYPES),
    "batched_update",
    "delete_records",
)
FULL: Conf = {"mode": "full"}  # the oracles expect new tables and indexes of each refresh
PULL = {"image": "ingest_data.pull_image_data", "audio": "ingest_data.pull_audio_data"}


class Workload:
    """Executes the steps of the plan, and updates the model.

    An action `name` of the plan is the method `_name`.
    """

    def __init__(self, world: World, journal: Journal, model: Model, calm: Callable[[], bool]) -> None:
        """Start without runs.

        Args:
            world: Stack to work with.
            journal: Receives events and violations.
            model: Reference to update.
            calm: Returns True when the faults have ended.
        """
        self._world, self._journal, self._model = world, journal, model
        self.jobs = Jobs(world, journal, self._settled, self._ended, calm)
        self.faults = Faults(world, journal)
        self._moderators = Moderators(world, journal, model)
        self._threads = ThreadPoolExecutor(6, thread_name_prefix="soak")
        self._futures: list[Future[None]] = []
        self._waiting: list[tuple[float, Step]] = []

    def execute(self, step: Step) -> None:
        """Execute a step of the plan."""
        if not step.is_fault:
            getattr(self, f"_{step.kind}")(**step.args)
        elif not self.faults.inject(step):
            self._waiting.append((time.monotonic(), step))

    def poll(self) -> None:
        """Inject waiting faults, act on the states of runs, and trigger again what has to be."""
        self._inject_waiting()
        self.jobs.poll()
        for job in list(self.jobs.again):
            if self._repeat(job):
                self.jobs.again.remove(job)
        for future in [f for f in self._futures if f.done()]:
            self._futures.remove(future)
            future.result()

    def _inject_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for since, step in waiting:
            if time.monotonic() - since > FAULT_TIMEOUT:
                self._journal.note("no fault", f"{step.kind}: there was nothing to disturb")
            elif not self.faults.inject(step):
                self._waiting.append((since, step))

    def drop_waiting_faults(self) -> None:
        self._waiting.clear()

    def busy(self) -> bool:
        """Return True if a run or another action has not ended."""
        return bool(self.jobs.open() or self.jobs.again or self._futures)

    def _skip(self, reason: str) -> None:
        self._journal.note("skip", reason)

    def _start(self, action: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        self._futures.append(self._threads.submit(action, *args, **kwargs))

    # pulls

    def _pull(self, source: str, grows: bool) -> None:
        found = SOURCES[source]
        if self._is_pulled(found):
            self._skip(f"pull of {source}: another one is active")
            return
        if grows:
            self._world.apis.content.grow(source)
        self.pull(found)

    def pull(self, source: Source) -> Job:
        """Trigger a pull of what the API has now."""
        generation = self._begin_pull(source)
        subject = PullSubject(source, generation, self._delivered(source))
        return self.jobs.trigger("pull", source.dag_id, {}, subject)

    def _is_pulled(self, source: Source) -> bool:
        """Return True if a pull of a source is active."""
        subjects = (job.subject for job in self.jobs.open("pull"))
        return any(isinstance(one, PullSubject) and one.source == source for one in subjects)

    def _begin_pull(self, source: Source) -> int:
        generation = self._world.apis.content.generation(source.name)
        self._model.pull_begins(source, made_up.groups(generation), generation)
        return generation

    def _delivered(self, source: Source) -> int:
        return self._world.apis.content.delivered(source.name)

    def _pull_settled(self, job: Job, subject: PullSubject) -> None:
        source, task = subject.source, PULL[subject.source.media_type]
        passes = subject.passes + job.redone[task]
        delivered = self._delivered(source) - subject.delivered
        if passes:
            subject.pulled = subject.generation
            self._model.pull_ends(source, made_up.groups(subject.pulled), subject.pulled)
        tries = self._tries(job, task)
        wanted = made_up.pages(source.name, subject.pulled) * passes
        self._report(content.check_requests(job.name, delivered, wanted, tries - subject.tries - passes))
        subject.tries = tries
        self._check(content.check_pull, job.name, source, subject.pulled, self._model)

    def _tries(self, job: Job, task_id: str) -> int:
        """Return the number of all attempts of a task."""
        return int(next(t for t in self.jobs.tasks(job) if t["task_id"] == task_id)["try_number"])

    # updates

    def _update(self, source: str, digit: int, batch_size: int) -> None:
        query_id = f"soak_u{len(self._model.updates) + 1}"
        found = SOURCES[source]
        self._model.updates[query_id] = Update(found, digit)
        where = f"WHERE provider = '{found.catalog_name}' AND foreign_identifier LIKE '%corex%{digit}'"
        conf: Conf = {
            "query_id": query_id,
            "table_name": found.media_type,
            "select_query": where,
            "update_query": (
                "SET updated_on = now(), meta_data = coalesce(meta_data, '{}'::jsonb) || jsonb_build_object("
                f"'{query_id}', coalesce((meta_data ->> '{query_id}')::integer, 0) + 1)"
            ),
            "batch_size": batch_size,
            "dry_run": False,
        }
        self.jobs.trigger("update", "batched_update", conf, UpdateSubject(query_id))

    def _update_settled(self, query_id: str) -> None:
        update = self._model.updates[query_id]
        update.settled = True
        self._check(content.check_update, query_id, update)

    # deletions and restores

    def _delete(self, source: str, group: int) -> None:
        self._change(SOURCES[source], f"deletable{group}", deleted=False, act=self._trigger_deletion)

    def _restore(self, source: str, group: int) -> None:
        self._change(SOURCES[source], f"deletable{group}", deleted=True, act=self._start_restore)

    def _change(
        self, source: Source, group: str, *, deleted: bool, act: Callable[[Source, str], None]
    ) -> None:
        free = self._model.is_free(source, group)
        if not free or self._model.is_deleted(source, group) is not deleted:
            state = "there" if deleted else "deleted"
            self._skip(f"{source.name} {group} is {state}, or another action changes it")
            return
        self._model.change_begins(source, group)
        act(source, group)

    def _trigger_deletion(self, source: Source, group: str) -> None:
        where = f"WHERE provider = '{source.catalog_name}' AND foreign_identifier LIKE '%{group}x%'"
        conf: Conf = {"table_name": source.media_type, "select_query": where, "reason": "the soak"}
        self.jobs.trigger("delete", "delete_records", conf, DeletionSubject(source, group))

    def _deletion_settled(self, subject: DeletionSubject) -> None:
        if subject.settled:
            return
        subject.settled = True
        self._model.change_ends(subject.source, subject.group, live=False)
        self._check(content.check_deletion, subject.source, subject.group)

    def _start_restore(self, source: Source, group: str) -> None:
        self._start(self._restore_group, source, group)

    def _restore_group(self, source: Source, group: str) -> None:
        restore(self._world, self._journal, source, group)
        self._model.change_ends(source, group, live=True)
        self._check(content.check_restoration, source, group)

    # refreshes

    def _refresh(self, media_type: MediaType, index_only: bool) -> None:
        conf: Conf = {"index_only": True} if index_only else FULL
        self._trigger_once("refresh", f"{media_type}_data_refresh", conf, media_type)

    def _popularity(self, media_type: MediaType) -> None:
        self._trigger_once("popularity", f"{media_type}_popularity_refresh", {}, media_type)

    def _filtered(self, media_type: MediaType) -> None:
        self._trigger_once("filtered", f"create_filtered_{media_type}_index", {}, media_type)

    def _trigger_once(self, kind: str, dag_id: str, conf: Conf, media_type: MediaType) -> None:
        if any(job.dag_id == dag_id for job in self.jobs.open()):
            self._skip(f"{dag_id}: another run is active")
            return
        self.jobs.trigger(kind, dag_id, conf, MediaSubject(media_type))

    def refresh_began(self, media_type: MediaType) -> float | None:
        """Return the begin of the earliest refresh that may still be promoted; None without one."""
        refreshes = [j for j in self.jobs.open("refresh") if j.subject == MediaSubject(media_type)]
        return min((job.opened if job.successes else job.began for job in refreshes), default=None)

    def _refresh_settled(self, job: Job, media_type: MediaType) -> None:
        meta = persist(lambda: self._world.search().meta(media_type))
        if meta.get("run_id") != job.name:
            message = f"{job.name} has succeeded, but the alias {media_type} is that of {meta.get('run_id')}"
            self._journal.record_violation("states", message)

    # moderators

    def _moderate(self, media_type: MediaType, pick: float, number: int) -> None:
        self._start(self._moderators.delete, media_type, pick, number)

    def _mark(self, media_type: MediaType, pick: float, number: int) -> None:
        self._start(self._moderators.mark_mature, media_type, pick, number)

    # clears

    def _clear(self, pick: float, what: Cleared, task: float) -> None:
        candidates = [job for job in self.jobs.all if job.state == "settled" or self._may_clear_active(job)]
        candidates = candidates[-RECENT:]
        if not candidates:
            self._skip("clear: no run has ended yet")
            return
        job = candidates[min(int(pick * len(candidates)), len(candidates) - 1)]
        if not self._prepare_clear(job):
            self._skip(f"clear of {job.name}: another run works on the same records")
            return
        self.jobs.clear(job, "run" if job.kind in ("update", "delete") else what, task)

    def _may_clear_active(self, job: Job) -> bool:
        """Return True for runs that are judged only by their final result."""
        return job.state == "open" and job.kind in ("refresh", "filtered", "popularity")

    def _prepare_clear(self, job: Job) -> bool:
        """Prepare the model for a run that is cleared; return False if its outcome would be unknown."""
        match job.subject:
            case PullSubject() as subject:
                if self._is_pulled(subject.source):
                    return False
                subject.generation = self._begin_pull(subject.source)
                subject.delivered, subject.passes = self._delivered(subject.source), 0
                job.redone.clear()
            case UpdateSubject(query_id=query_id):
                self._model.updates[query_id].settled = False
        return True

    # ends

    def _settled(self, job: Job) -> None:
        match job.subject:
            case PullSubject() as subject:
                self._pull_settled(job, subject)
            case UpdateSubject(query_id=query_id):
                self._update_settled(query_id)
            case DeletionSubject() as subject:
                self._deletion_settled(subject)
            case MediaSubject(media_type=media_type) if job.kind == "refresh":
                self._refresh_settled(job, media_type)

    def _ended(self, job: Job, state: State) -> None:
        """Update the model after a run that was refused, is replaced or is stuck."""
        match job.subject:
            case DeletionSubject(source=source, group=group, settled=False):
                self._model.change_ends(source, group, live=None)
        if job.kind == "filtered" and state == "refused":
            self.jobs.again.remove(job)

    def _repeat(self, job: Job) -> bool:
        """Trigger a run again; return False if it would be refused at present."""
        match job.subject:
            case PullSubject(source=source) | DeletionSubject(source=source) if self._is_pulled(source):
                return False
            case PullSubject(source=source):
                self.pull(source)
            case DeletionSubject(source=source, group=group):
                self._change(source, group, deleted=False, act=self._trigger_deletion)
            case subject:
                if isinstance(subject, UpdateSubject) and not job.conf.get("resume_update"):
                    self._model.updates[subject.query_id].again += 1
                self.jobs.trigger(job.kind, job.dag_id, job.conf, subject)
        return True

    def _report(self, violations: Violations) -> None:
        for oracle, message in violations:
            self._journal.record_violation(oracle, message)

    def _check(self, oracle: Callable[..., Violations], *args: object) -> None:
        """Run an oracle on the catalog database."""

        def check() -> Violations:
            with self._world.connect() as connection:
                return oracle(connection, *args)

        self._report(persist(check))
