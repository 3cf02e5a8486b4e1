"""Commands of the stack on one machine; the justfile calls them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import requests
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from catalog.cli import program
from catalog.data_refresh.client import connect
from catalog.data_refresh.queries import search
from catalog.local import demo as demonstration
from catalog.local.airflow_api import AirflowApi, ApiError
from catalog.local.doctor import examine
from catalog.local.lifecycle import StackError, down, missing, reset, up
from catalog.local.runs import Run, unpaused, watch
from catalog.local.stack import API_DB, CATALOG_DB, COMPONENTS, STAGING_DB, Stack
from catalog.local.trace import follow

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console() if sys.stdout.isatty() else Console(width=170)  # a log file has room for whole tables
COLORS = {
    "success": "green",
    "failed": "red",
    "upstream_failed": "red",
    "running": "cyan",
    "up_for_retry": "yellow",
}


def say(text: str) -> None:
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {text}", highlight=False)


@app.command("up")
def up_(
    foreground: Annotated[
        bool, typer.Option("--foreground", "-f", help="Stay; Ctrl-C stops everything.")
    ] = False,
) -> None:
    """Start PostgreSQL, OpenSearch and Airflow; returns when they are ready."""
    stack = Stack()
    was_running = stack.running()
    seconds = up(stack, say)
    console.print(
        f"{'already running' if was_running else f'ready in {seconds:.1f} s'}: [bold]{stack.ui}[/]   (stop with ./just down)"
    )
    if foreground:
        _until_interrupted(stack)


def _until_interrupted(stack: Stack) -> None:
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _: asked.append(n))
    while not asked and stack.running():
        time.sleep(0.3)
    if down(stack):
        say("stopped")
    elif error := stack.state().get("error"):
        raise StackError(f"the stack ended by itself: {error}")


@app.command("down")
def down_() -> None:
    """Stop everything that up started; data stay."""
    if Stack().running():
        say("stopping; running tasks finish their page, and go on with ./just up")
    console.print("stopped" if down(Stack()) else "nothing was running")


@app.command("reset")
def reset_() -> None:
    """Stop, and delete all local state: databases, objects, logs."""
    reset(Stack())
    console.print("all local state is deleted; ./just up starts afresh")


@app.command()
def status() -> None:
    """What runs, and where."""
    stack = Stack()
    state = stack.state()
    if not stack.running():
        console.print(
            "not running" + (f"; last: {state['phase']}, {state['error']}" if state.get("error") else "")
        )
        raise typer.Exit(1)
    waits_for = missing(stack)
    console.print(
        f"{state.get('phase')}, {f'waiting for {waits_for}' if waits_for else 'healthy'}: {stack.ui}",
        highlight=False,
    )
    table = Table("part", "pid")
    for name, pid in {
        "supervisor": state.get("supervisor"),
        "postgres": state.get("postgres"),
        "opensearch": state.get("search"),
        **state.get("parts", {}),
    }.items():
        table.add_row(name, str(pid))
    console.print(table)
    settings = stack.settings()
    databases = ", ".join((CATALOG_DB, API_DB, STAGING_DB))
    console.print(
        f"PostgreSQL: port {settings.postgres_port}, databases {databases}; OpenSearch: port {settings.search_port}"
    )
    console.print(f"state in {stack.folder}", highlight=False)


@app.command()
def logs(
    part: Annotated[
        str,
        typer.Argument(
            help="One of supervisor, postgres, opensearch, " + ", ".join(COMPONENTS) + "; all without."
        ),
    ] = "",
) -> None:
    """Follow the logs."""
    stack = Stack()
    files = [stack.logs / f"{name}.log" for name in ("supervisor", *COMPONENTS)]
    settings = stack.settings()
    files += [
        Path(settings.postgres_folder) / "postgres.log",
        stack.search(settings).state / "opensearch.log",
    ]
    chosen = [f for f in files if f.exists() and (not part or f.stem == part)]
    if not chosen:
        raise StackError(
            f"there is no log of {part or 'anything'}; parts are supervisor, postgres, opensearch, {', '.join(COMPONENTS)}"
        )
    os.execvp("tail", ["tail", "-n", "50", "-F", *map(str, chosen)])  # noqa: S606 - hands the terminal over


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def airflow(context: typer.Context) -> None:
    """The Airflow command line with the stack's environment."""
    _become(context, "airflow")


@app.command(
    "catalog",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def catalog_(context: typer.Context) -> None:
    """The catalog command with the stack's environment."""
    _become(context, "catalog")


def _become(context: typer.Context, program: str) -> None:
    stack = Stack()
    environment = stack.environment() if stack.folder.exists() else dict(os.environ)
    sys.exit(
        subprocess.run(
            [Path(sys.executable).parent / program, *context.args], env=environment, check=False
        ).returncode
    )


@app.command()
def trigger(
    dag_id: str,
    conf: Annotated[str, typer.Argument(help="JSON object.")] = "{}",
    timeout: Annotated[float, typer.Option(help="Seconds.")] = 86_400,
) -> None:
    """Trigger a DAG and wait for its end; exit 1 when the run failed."""
    stack = Stack()
    if not stack.running():
        raise StackError("the stack is not running; start it with ./just up")
    try:
        parsed = json.loads(conf)
    except ValueError as error:
        raise StackError(f"conf is not JSON: {error}") from None
    api = AirflowApi(stack.ui)
    if dag_id not in api.dags():
        raise StackError(f"there is no DAG {dag_id}; there are {', '.join(sorted(api.dags()))}")
    with unpaused(api, [dag_id], say):
        run = Run(dag_id, api.trigger(dag_id, parsed))
        say(f"triggered {dag_id}, run {run.run_id}")
        _follow(api, [run], timeout)
    for task, state in run.tasks.items():
        console.print(f"  [{COLORS.get(state, 'dim')}]{state:<16}[/] {task}")
    address = f"{stack.ui}/dags/{dag_id}/runs/{run.run_id}"
    console.print(
        f"[{COLORS.get(run.state, 'dim')}]{run.state}[/] after {run.seconds:.1f} s: {address}", soft_wrap=True
    )
    raise typer.Exit(0 if run.state == "success" else 1)


@app.command()
def doctor() -> None:
    """What is wrong and how to mend it; exit 1 when something is."""
    findings = list(examine(Stack()))
    table = Table("looked at", "", "finding, and how to mend it")
    for what, grade, text in findings:
        table.add_row(
            what, {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "wrong": "[red]wrong[/]"}[grade], text
        )
    console.print(table)
    raise typer.Exit(1 if any(grade == "wrong" for _, grade, _ in findings) else 0)


@app.command()
def demo(
    everything: Annotated[bool, typer.Option("--all", help="All providers, not just five.")] = False,
    live: Annotated[
        bool,
        typer.Option(
            help="Use the real APIs instead of the recordings; providers without a key are left out."
        ),
    ] = False,
) -> None:
    """Run provider DAGs, popularity and data refresh through the scheduler; show what came of it and what a search finds."""
    stack = Stack()
    up(stack, say)
    say(f"Airflow is ready at {stack.ui}")
    source = (
        f"the real APIs, {demonstration.LIVE_LIMIT} records each"
        if live
        else "the recordings in catalog/providers/*/recording (made up)"
    )
    names = demonstration.chosen(everything, live)
    say(f"triggering the DAGs of {len(names)} providers on {source}")
    runs = _run(stack, demonstration.provider_dags(names, live))
    console.print(_outcome_table(runs, demonstration.outcomes(stack, runs)))
    sample = Table(
        "provider",
        "title",
        "creator",
        "license",
        "landing URL",
        title="One row of each provider in the catalog",
    )
    for row in demonstration.samples(stack):
        sample.add_row(*(str(value or "") for value in row.values()))
    console.print(sample)
    if not _failed(stack, runs):
        say("scoring popularity")
        runs = _run(stack, demonstration.POPULARITY)
        say("data refresh: catalog → API database → search index")
        runs += _run(stack, demonstration.REFRESH)
    if not (failed := _failed(stack, runs)):
        _show_search(stack, names, live)
    console.print(
        f"The UI is at [bold]{stack.ui}[/] (no login; it listens on this machine only). Stop with ./just down."
    )
    raise typer.Exit(1 if failed else 0)


def _run(stack: Stack, dags: demonstration.Dags) -> list[Run]:
    with _live() as view:
        return demonstration.run_dags(stack, dags, say=say, show=view.show)


def _failed(stack: Stack, runs: list[Run]) -> bool:
    """Name the runs that failed; whether there are any."""
    failed = [run for run in runs if run.state != "success"]
    for run in failed:
        tasks = ", ".join(t for t, s in run.tasks.items() if s == "failed")
        console.print(f"[red]{run.dag_id} failed[/]: {tasks}; see {stack.ui}/dags/{run.dag_id}")
    return bool(failed)


def _show_search(stack: Stack, names: list[str], live: bool) -> None:
    """Hits of a search, and the way of one record."""
    client = connect(stack.search(stack.settings()).url, engine="opensearch")
    found = search(client, "image", demonstration.WORDS, 5)
    table = Table(
        "score",
        "title",
        "source",
        "license",
        "tags",
        title=f"{found.total:,} images for {demonstration.WORDS!r}",
    )
    for hit in found.first:
        document = hit.source
        tags = ", ".join(tag["name"] for tag in document["tags"][:8])
        table.add_row(
            f"{hit.score:.2f}", document.get("title", ""), document["source"], document["license"], tags
        )
    console.print(table)
    steps = next(
        (
            steps
            for name in ("stocksnap", *names)
            if name in names and (steps := follow(stack, client, name, live))
        ),
        [],
    )
    way = Table("place", "the record there", title="The way of one record")
    for step in steps:
        way.add_row(*step)
    console.print(way)
    console.print('Search it yourself: [bold]./just catalog search "words" --media image[/]')


def _outcome_table(runs: list[Run], reports: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table("DAG", "state", "s", "media", *demonstration.OUTCOMES, title="What came of the runs")
    for run in runs:
        for number, report in enumerate(reports[run.dag_id] or [{}]):
            head = (
                [run.dag_id, f"[{COLORS.get(run.state, 'dim')}]{run.state}[/]", f"{run.seconds:.1f}"]
                if number == 0
                else ["", "", ""]
            )
            table.add_row(
                *head,
                report.get("media_type", "-"),
                *(f"{report[o]:,}" if report else "-" for o in demonstration.OUTCOMES),
            )
    return table


class _live:  # noqa: N801 - used like a function
    """Live states on a terminal; a line a change elsewhere (CI)."""

    def __enter__(self) -> "_live":
        self._live = (
            Live(console=console, transient=True, refresh_per_second=4) if console.is_terminal else None
        )
        self._last: dict[str, str] = {}
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        if self._live:
            self._live.__exit__(*raised)

    def show(self, runs: list[Run]) -> None:
        if self._live:
            table = Table("DAG", "state", "tasks")
            for run in runs:
                table.add_row(run.dag_id, f"[{COLORS.get(run.state, 'dim')}]{run.state}[/]", run.progress())
            self._live.update(table)
            return
        for run in runs:
            if self._last.get(run.dag_id) != run.state:
                self._last[run.dag_id] = run.state
                say(f"{run.dag_id}: {run.state}")


def _follow(api: AirflowApi, runs: list[Run], timeout: float) -> None:
    with _live() as view:
        watch(api, runs, view.show, timeout)


def _command() -> None:
    try:
        app(standalone_mode=False)
    except requests.RequestException as error:
        raise StackError(
            f"Airflow does not answer ({type(error).__name__}); see ./just status and ./just logs"
        ) from error


def main() -> None:
    # What has been unpaused or started is put back by `finally`, which SIGTERM's default would pass over.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    program.run(_command, "just", StackError, ApiError)


if __name__ == "__main__":
    main()
