"""What people and schedules do meanwhile: pulls, updates, deletions, restores, refreshes, moderation, clears."""

import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from elasticsearch import NotFoundError

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.soak import made_up, oracles
from catalog.soak.faults import Faults
from catalog.soak.jobs import Job, Jobs
from catalog.soak.journal import Journal
from catalog.soak.made_up import SOURCES, Source
from catalog.soak.model import Model, Update
from catalog.soak.plan import Step
from catalog.soak.visitors import leave_lists
from catalog.soak.world import World, persist

FAULT_WAITS = 10.0  # seconds, for something to disturb
RECENT = 15  # runs among which one to clear is chosen
DAGS = (
    *(source.dag_id for source in SOURCES.values()),
    *(f"{m}_data_refresh" for m in MEDIA_TYPES),
    *(f"{m}_popularity_refresh" for m in MEDIA_TYPES),
    *(f"create_filtered_{m}_index" for m in MEDIA_TYPES),
    "batched_update",
    "delete_records",
)
PULL = {"image": "ingest_data.pull_image_data", "audio": "ingest_data.pull_audio_data"}


class Workload:
    """Acts as the plan says, and keeps the model up to date."""

    def __init__(self, world: World, journal: Journal, model: Model, calm: Callable[[], bool]) -> None:
        self._world, self._journal, self._model = world, journal, model
        self.jobs = Jobs(world, journal, self._settled, self._ended, calm)
        self.faults = Faults(world, journal)
        self._threads = ThreadPoolExecutor(6, thread_name_prefix="soak")
        self._futures: list[Future[None]] = []
        self._waiting: list[tuple[float, Step]] = []

    def do(self, step: Step) -> None:
        """One step of the plan."""
        if not step.is_fault:
            getattr(self, f"_{step.kind}")(**step.args)
        elif not self.faults.inject(step):
            self._waiting.append((time.monotonic(), step))

    def follow(self) -> None:
        """See how runs stand, inject the faults that wait for something to disturb, trigger anew what has to be."""
        self._inject_waiting()
        self.jobs.look()
        for job in list(self.jobs.again):
            if self._repeat(job):
                self.jobs.again.remove(job)
        for future in [f for f in self._futures if f.done()]:
            self._futures.remove(future)
            future.result()

    def _inject_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for since, step in waiting:
            if time.monotonic() - since > FAULT_WAITS:
                self._journal.note("no fault", f"{step.kind}: there was nothing to disturb")
            elif not self.faults.inject(step):
                self._waiting.append((since, step))

    def forget_faults(self) -> None:
        """Those that still wait."""
        self._waiting.clear()

    def busy(self) -> bool:
        """Whether anything has not come to an end."""
        return bool(self.jobs.open() or self.jobs.again or self._futures)

    def _skip(self, what: str) -> None:
        self._journal.note("skip", what)

    # pulls

    def _pull(self, source: str, grows: bool) -> None:
        found = SOURCES[source]
        if self._pulls(found):
            self._skip(f"pull of {source}: one is under way")
            return
        if grows:
            self._world.apis.content.grow(source)
        self.pull(found)

    def pull(self, source: Source) -> Job:
        """A pull of what the API holds now."""
        generation = self._begin_pull(source)
        delivered = self._delivered(source)
        about = {
            "source": source.name,
            "generation": generation,
            "delivered": delivered,
            "passes": 1,
            "tries": 0,
        }
        return self.jobs.trigger("pull", source.dag_id, {}, about)

    def _pulls(self, source: Source) -> list[Job]:
        return [job for job in self.jobs.open("pull") if job.about["source"] == source.name]

    def _begin_pull(self, source: Source) -> int:
        generation = self._world.apis.content.generation(source.name)
        self._model.pull_begins(source, made_up.groups(generation), generation)
        return generation

    def _delivered(self, source: Source) -> int:
        return self._world.apis.content.delivered(source.name)

    def _pull_settled(self, job: Job) -> None:
        source, name = SOURCES[job.about["source"]], PULL[SOURCES[job.about["source"]].media_type]
        passes, delivered = (
            job.about["passes"] + job.redone[name],
            self._delivered(source) - job.about["delivered"],
        )
        if passes:
            job.about["pulled"] = job.about["generation"]
            self._model.pull_ends(source, made_up.groups(job.about["pulled"]), job.about["pulled"])
        generation, number = job.about["pulled"], self._tries(job, name)
        wanted = made_up.pages(source.name, generation) * passes
        self._violate(
            oracles.requested_again(job.name, delivered, wanted, number - job.about["tries"] - passes)
        )
        job.about["tries"] = number
        self._check(oracles.pull_is_whole, job.name, source, generation, self._model)

    def _tries(self, job: Job, task_id: str) -> int:
        """How often a task was tried, in all."""
        return int(next(t for t in self.jobs.tasks(job) if t["task_id"] == task_id)["try_number"])

    # updates

    def _update(self, source: str, digit: int, batch_size: int) -> None:
        query_id = f"soak_u{len(self._model.updates) + 1}"
        self._model.updates[query_id] = Update(SOURCES[source], digit)
        conf = {
            "query_id": query_id,
            "table_name": SOURCES[source].media_type,
            "select_query": f"WHERE provider = '{SOURCES[source].string}' AND foreign_identifier LIKE '%corex%{digit}'",
            "update_query": (
                "SET updated_on = now(), meta_data = coalesce(meta_data, '{}'::jsonb) || jsonb_build_object("
                f"'{query_id}', coalesce((meta_data ->> '{query_id}')::integer, 0) + 1)"
            ),
            "batch_size": batch_size,
            "dry_run": False,
        }
        self.jobs.trigger("update", "batched_update", conf, {"query_id": query_id})

    def _update_settled(self, job: Job) -> None:
        update = self._model.updates[job.about["query_id"]]
        update.settled = True
        self._check(oracles.update_is_whole, job.about["query_id"], update)

    # deletions and restores

    def _delete(self, source: str, group: int) -> None:
        self._change(SOURCES[source], f"gone{group}", deleted=False, act=self._trigger_deletion)

    def _restore(self, source: str, group: int) -> None:
        self._change(SOURCES[source], f"gone{group}", deleted=True, act=self._begin_restore)

    def _change(
        self, source: Source, group: str, *, deleted: bool, act: Callable[[Source, str], None]
    ) -> None:
        free = self._model.is_free(source, group)
        if not free or self._model.is_deleted(source, group) is not deleted:
            self._skip(
                f"{source.name} {group} is {'deleted' if not deleted else 'there'}, or something changes it"
            )
            return
        self._model.change_begins(source, group)
        act(source, group)

    def _trigger_deletion(self, source: Source, group: str) -> None:
        conf = {
            "table_name": source.media_type,
            "select_query": f"WHERE provider = '{source.string}' AND foreign_identifier LIKE '%{group}x%'",
            "reason": "the soak",
        }
        self.jobs.trigger("delete", "delete_records", conf, {"source": source.name, "group": group})

    def _delete_settled(self, job: Job) -> None:
        source, group = SOURCES[job.about["source"]], job.about["group"]
        if job.about.get("settled"):  # it was cleared, and a run deletes once
            return
        job.about["settled"] = True
        self._model.change_ends(source, group, live=False)
        self._check(oracles.group_is_deleted, source, group)

    def _begin_restore(self, source: Source, group: str) -> None:
        self._futures.append(self._threads.submit(self._run_restore, source, group))

    def _run_restore(self, source: Source, group: str) -> None:
        """The command, until it has ended well; the first time it is killed."""
        where = f"WHERE provider = '{source.string}' AND foreign_identifier LIKE '%{group}x%'"
        command = self._world.restore(source.media_type, where)
        environment = {**os.environ, "CATALOG_DSN": self._world.stack.dsn()}
        for attempt in range(30):
            process = subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self._world.root,
            )
            if attempt == 0:
                self._kill_when_connected(process)
            text = (process.communicate()[0] or b"").decode()[-300:].strip()
            self._journal.note("restore", f"{source.name} {group}: exit {process.returncode}: {text}")
            if process.returncode == 0:
                break
            time.sleep(2)
        self._model.change_ends(source, group, live=True)
        self._check(oracles.group_is_restored, source, group)

    def _kill_when_connected(self, process: "subprocess.Popen[bytes]") -> None:
        query = (
            "select 1 from pg_stat_activity where datname = 'catalog' and query ilike '%deleted_%'"
            " and application_name not in ('soak', 'catalog')"
        )
        while process.poll() is None and not self._world.query(query):
            time.sleep(0.02)
        process.kill()

    # refreshes

    def _refresh(self, media_type: MediaType, index_only: bool) -> None:
        self._once(
            "refresh", f"{media_type}_data_refresh", {"index_only": True} if index_only else {}, media_type
        )

    def _popularity(self, media_type: MediaType) -> None:
        self._once("popularity", f"{media_type}_popularity_refresh", {}, media_type)

    def _filtered(self, media_type: MediaType) -> None:
        self._once("filtered", f"create_filtered_{media_type}_index", {}, media_type)

    def _once(self, kind: str, dag_id: str, conf: dict[str, Any], media_type: MediaType) -> None:
        if any(job.dag_id == dag_id for job in self.jobs.open()):
            self._skip(f"{dag_id}: a run is under way")
            return
        self.jobs.trigger(kind, dag_id, conf, {"media_type": media_type})

    def refresh_began(self, media_type: MediaType) -> float | None:
        """When the earliest refresh that may be promoted now has begun; None without one."""
        open_ = [j for j in self.jobs.open("refresh") if j.about["media_type"] == media_type]
        return min((job.opened if job.green else job.began for job in open_), default=None)

    def _refresh_settled(self, job: Job) -> None:
        media_type = job.about["media_type"]
        meta = persist(lambda: self._world.search().meta(media_type))
        if meta.get("run_id") != job.name:
            text = (
                f"{job.name} is green, but the alias {media_type} points at an index of {meta.get('run_id')}"
            )
            self._journal.violate("O7", text)

    def _popularity_settled(self, job: Job) -> None:
        pass

    _filtered_settled = _popularity_settled

    # moderators

    def _moderate(self, media_type: MediaType, pick: float, number: int) -> None:
        self._futures.append(self._threads.submit(self._remove, media_type, pick, number))

    def _mark(self, media_type: MediaType, pick: float, number: int) -> None:
        self._futures.append(self._threads.submit(self._mark_mature, media_type, pick, number))

    def _chosen(self, media_type: MediaType, pick: float, number: int) -> list[str]:
        query = (
            f"select identifier::text as id from {media_type} order by md5(identifier::text || %s) limit %s"
        )
        return [row["id"] for row in self._world.query(query, [str(pick), number], "api")]

    def _remove(self, media_type: MediaType, pick: float, number: int) -> None:
        """As the API does it: first the database, then both indexes."""
        ids = self._chosen(media_type, pick, number)
        self._model.deleted[media_type].update(dict.fromkeys(ids, float("inf")))
        persist(lambda: self._take_off_lists(media_type, ids))
        self._world.query(
            f"with gone as (insert into api_deleted{media_type} (created_on, updated_on, identifier) "
            "select now(), now(), unnest(%(ids)s::uuid[]) on conflict do nothing) "
            f"delete from {media_type} where identifier = any(%(ids)s::uuid[])",
            {"ids": ids},
            "api",
        )
        for alias in (media_type, f"{media_type}-filtered"):
            for identifier in ids:
                persist(lambda a=alias, i=identifier: self._forget(a, i), 600)  # type: ignore[misc]
        self._model.deleted[media_type].update(dict.fromkeys(ids, time.monotonic()))
        self._journal.note("moderate", f"{media_type} deleted: {', '.join(ids)}")

    def _take_off_lists(self, media_type: MediaType, ids: list[str]) -> None:
        with self._world.connect("api") as api:
            leave_lists(api, media_type, ids)

    def _forget(self, alias: str, identifier: str) -> None:
        try:
            self._world.search().client.delete(index=alias, id=identifier)
        except NotFoundError:
            return

    def _mark_mature(self, media_type: MediaType, pick: float, number: int) -> None:
        ids = self._chosen(media_type, 1 - pick, number)
        self._model.marked[media_type].update(dict.fromkeys(ids, float("inf")))
        self._world.query(
            f"insert into api_mature{media_type} select now(), unnest(%s::uuid[]) on conflict do nothing",
            [ids],
            "api",
        )
        for alias in (media_type, f"{media_type}-filtered"):
            for identifier in ids:
                persist(lambda a=alias, i=identifier: self._blur(a, i), 600)  # type: ignore[misc]
        self._model.marked[media_type].update(dict.fromkeys(ids, time.monotonic()))
        self._journal.note("mark", f"{media_type} mature: {', '.join(ids)}")

    def _blur(self, alias: str, identifier: str) -> None:
        try:
            self._world.search().client.update(index=alias, id=identifier, doc={"mature": True})
        except NotFoundError:
            return

    # clears

    def _clear(self, pick: float, what: str, task: float) -> None:
        ended = [job for job in self.jobs.all if job.state == "settled" or self._may_run_when_cleared(job)][
            -RECENT:
        ]
        if not ended:
            self._skip("clear: nothing has ended yet")
            return
        job = ended[min(int(pick * len(ended)), len(ended) - 1)]
        if not self._may_reopen(job):
            self._skip(f"clear of {job.name}: something else works on the same records")
            return
        self.jobs.clear(job, "run" if job.kind in ("update", "delete") else what, task)

    def _may_run_when_cleared(self, job: Job) -> bool:
        """Runs that are judged by what comes of them in the end only."""
        return job.state == "open" and job.kind in ("refresh", "filtered", "popularity")

    def _may_reopen(self, job: Job) -> bool:
        """Prepare the model for a run that is cleared. False when that would make the outcome unknown."""
        if job.kind == "pull":
            source = SOURCES[job.about["source"]]
            if self._pulls(source):
                return False
            job.about["generation"] = self._begin_pull(source)
            job.about |= {"delivered": self._delivered(source), "passes": 0}
            job.redone.clear()
        elif job.kind == "update":
            self._model.updates[job.about["query_id"]].settled = False
        return True

    # ends

    def _settled(self, job: Job) -> None:
        getattr(self, f"_{job.kind}_settled")(job)

    def _ended(self, job: Job, state: str) -> None:
        """Not by a good end: refused, replaced or stuck."""
        if job.kind == "delete" and not job.about.get("settled"):
            self._model.change_ends(SOURCES[job.about["source"]], job.about["group"], live=None)
        if job.kind == "filtered" and state == "refused":
            self.jobs.again.remove(job)

    def _repeat(self, job: Job) -> bool:
        """Trigger anew what was refused or says that it must be; False while that would be refused again."""
        if job.kind == "pull":
            if self._pulls(SOURCES[job.about["source"]]):
                return False
            self.pull(SOURCES[job.about["source"]])
        elif job.kind == "delete":
            source, group = SOURCES[job.about["source"]], job.about["group"]
            if self._pulls(source):
                return False
            self._change(source, group, deleted=False, act=self._trigger_deletion)
        else:
            if job.kind == "update" and not job.conf.get("resume_update"):
                self._model.updates[job.about["query_id"]].again += 1
            self.jobs.trigger(job.kind, job.dag_id, job.conf, job.about)
        return True

    def _violate(self, found: list[tuple[str, str]]) -> None:
        for oracle, text in found:
            self._journal.violate(oracle, text)

    def _check(self, check: Callable[..., list[tuple[str, str]]], *args: Any) -> None:
        """An oracle on the catalog database."""

        def once() -> list[tuple[str, str]]:
            with self._world.connect() as connection:
                return check(connection, *args)

        self._violate(persist(once))
