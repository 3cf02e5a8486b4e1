"""Commands of the local stack, as run by the recipes of the justfile."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import requests
import typer
from rich.table import Table
from rich.text import Text

from catalog.cli import program
from catalog.cli.connections import AIRFLOW
from catalog.core.airflow_ui import dag_path, run_path
from catalog.data_refresh.search.client import connect
from catalog.local import demo as demonstration
from catalog.local.airflow_api import AirflowApi, ApiError
from catalog.local.doctor import examine
from catalog.local.lifecycle import StackError, down, not_ready, require_dag, reset, up
from catalog.local.runs import Run, check_conf, outcome, watch
from catalog.local.schedules import unpaused
from catalog.local.stack import API_DB, CATALOG_DB, COMPONENTS, STAGING_DB, Stack
from catalog.local.trace import trace_record
from catalog.local.variables import stored_variables
from catalog.local.views import (
    checks_table,
    colored,
    console,
    live_view,
    notify,
    outcome_table,
    sample_table,
    search_table,
    show_failed_runs,
    trace_table,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
PARTS = ", ".join(("supervisor", "postgres", "opensearch", *COMPONENTS))
SHOWN = 400  # characters of what a task returned, or of its error
PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command("up")
def up_(
    foreground: Annotated[
        bool, typer.Option("--foreground", "-f", help="Stay; Ctrl-C stops everything.")
    ] = False,
) -> None:
    """Start PostgreSQL, OpenSearch and Airflow; return when they are ready."""
    stack = Stack()
    was_running = stack.running()
    seconds = up(stack, notify)
    state = "already running" if was_running else f"ready in {seconds:.1f} s"
    console.print(Text.assemble(f"{state}: ", (stack.ui, "bold"), "   (stop with ./just down)"))
    if foreground:
        _until_interrupted(stack)


def _until_interrupted(stack: Stack) -> None:
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _: received.append(n))
    while not received and stack.running():
        time.sleep(0.3)
    if down(stack):
        notify("stopped")
    elif error := stack.state().get("error"):
        raise StackError(f"the stack has ended: {error}")


@app.command("down")
def down_() -> None:
    """Stop everything that `up` started; data are kept."""
    if Stack().running():
        notify("stopping; running tasks finish their page and resume after ./just up")
    console.print("stopped" if down(Stack()) else "nothing was running")


@app.command("reset")
def reset_() -> None:
    """Stop, and delete all local state: databases, objects, logs; recordings of APIs are kept."""
    stack = Stack()
    reset(stack)
    kept = f"; {stack.recordings} is kept" if stack.recordings.exists() else ""
    console.print(f"all local state is deleted{kept}; ./just up starts from scratch")


@app.command()
def status() -> None:
    """Show the state of the stack, its processes and ports."""
    stack = Stack()
    state = stack.state()
    if not stack.running():
        last = f"; last: {state['phase']}, {state['error']}" if state.get("error") else ""
        console.print(f"not running{last}")
        raise typer.Exit(1)
    pending = not_ready(stack)
    health = f"waiting for {pending}" if pending else "healthy"
    console.print(f"{state.get('phase')}, {health}: {stack.ui}")
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
    console.print(
        f"PostgreSQL: port {settings.postgres_port}, databases {CATALOG_DB}, {API_DB}, {STAGING_DB}; "
        f"OpenSearch: port {settings.search_port}"
    )
    console.print(f"state in {stack.folder}")
    show_failed_runs(stack.environment()[AIRFLOW])


@app.command()
def logs(part: Annotated[str, typer.Argument(help=f"One of {PARTS}; default: all.")] = "") -> None:
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
        raise StackError(f"there is no log of {part or 'any part'}; parts are {PARTS}")
    os.execvp("tail", ["tail", "-n", "50", "-F", *map(str, chosen)])  # noqa: S606 - tail takes over the terminal


@app.command(context_settings=PASS_THROUGH)
def airflow(context: typer.Context) -> None:
    """Run the Airflow command line with the stack's environment."""
    _run_program("airflow", context)


@app.command("catalog", context_settings=PASS_THROUGH)
def catalog_(context: typer.Context) -> None:
    """Run the catalog command with the stack's environment."""
    _run_program("catalog", context)


def _run_program(name: str, context: typer.Context) -> None:
    stack = Stack()
    environment = stack.environment() if stack.folder.exists() else dict(os.environ)
    command = [str(Path(sys.executable).parent / name), *context.args]
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)


@app.command()
def trigger(
    dag_id: str,
    conf: Annotated[str, typer.Argument(help="JSON object.")] = "{}",
    timeout: Annotated[float, typer.Option(help="Seconds.")] = 86_400,
) -> None:
    """Trigger a DAG, wait for its end, and print its numbers and errors; exit 1 when the run failed."""
    stack = Stack()
    if not stack.running():
        raise StackError("the stack is not running; start it with ./just up")
    try:
        parsed = json.loads(conf)
    except ValueError as error:
        raise StackError(f"conf is not JSON: {error}") from None
    api = AirflowApi(stack.ui)
    require_dag(api, dag_id, notify)
    check_conf(dag_id, parsed, api.params(dag_id))
    with unpaused(stack, [dag_id], notify):
        run = Run(dag_id, api.trigger(dag_id, parsed))
        address = f"{stack.ui}{run_path(dag_id, run.run_id)}"
        notify(f"triggered {dag_id}, run {run.run_id}")
        try:
            with live_view() as show:
                watch(api, [run], show, timeout)
        except (KeyboardInterrupt, SystemExit):
            notify(f"no longer following the run, whose tasks wait while the DAG is paused: {address}")
            raise
        except (ApiError, requests.RequestException) as error:
            raise StackError(
                f"Airflow does not say how the run is going ({error}); see {address}, and ./just doctor"
            ) from None
    reports = demonstration.reports(stack, [run])
    said = dict(outcome(api, run, results=not reports[dag_id]))  # a report says it all
    for task, state in run.tasks.items():
        if task in said or state not in ("success", "skipped", "removed"):
            about = f": {said[task][:SHOWN]}" if said.get(task) else ""
            console.print(Text.assemble("  ", colored(state, 16), f" {task}{about}"), soft_wrap=True)
    if reports[dag_id]:
        console.print(outcome_table([run], reports))
    ended = f"after {run.seconds:.1f} s ({run.progress()}): {address}"
    console.print(colored(run.state), ended, soft_wrap=True)
    raise typer.Exit(0 if run.state == "success" else 1)


@app.command()
def doctor(
    keys: Annotated[
        bool, typer.Option("--keys", help="Ask each API whose key is set whether it accepts the key.")
    ] = False,
) -> None:
    """Diagnose the stack and suggest fixes; exit 1 when something is wrong."""
    checks = list(examine(Stack(), ask_keys=keys))
    console.print(checks_table(checks))
    raise typer.Exit(1 if any(check.grade == "wrong" for check in checks) else 0)


@app.command()
def demo(
    everything: Annotated[bool, typer.Option("--all", help="All providers, not just five.")] = False,
    live: Annotated[
        bool, typer.Option(help="Use the real APIs instead of the recordings; skip providers without a key.")
    ] = False,
) -> None:
    """Run provider DAGs, popularity and data refresh through the scheduler; show the rows and a search."""
    stack = Stack()
    up(stack, notify)
    notify(f"Airflow is ready at {stack.ui}")
    source = (
        f"the real APIs, {demonstration.LIVE_LIMIT} records each"
        if live
        else "the recordings in catalog/providers/*/recording (made up)"
    )
    names = demonstration.select_providers(everything)
    if live:
        names = demonstration.with_access(names, stored_variables(stack))
    notify(f"triggering the DAGs of {len(names)} providers on {source}")
    runs = _run(stack, demonstration.provider_dags(names, live))
    console.print(outcome_table(runs, demonstration.reports(stack, runs)))
    console.print(sample_table(stack))
    if not _any_failed(stack, runs):
        notify("scoring popularity")
        runs = _run(stack, demonstration.POPULARITY)
        notify("data refresh: catalog → API database → search index")
        runs += _run(stack, demonstration.REFRESH)
    if not (failed := _any_failed(stack, runs)):
        _show_search(stack, names, live)
        _show_next_steps(stack, live)
    where = Text.assemble("The UI is at ", (stack.ui, "bold"), " (no login, this machine only).")
    console.print(where, "Stop with ./just down.")
    raise typer.Exit(1 if failed else 0)


def _run(stack: Stack, dags: demonstration.Dags) -> list[Run]:
    with live_view() as show:
        return demonstration.run_dags(stack, dags, notify=notify, show=show)


def _any_failed(stack: Stack, runs: list[Run]) -> bool:
    """Print the runs that failed; return True if there are any."""
    failed = [run for run in runs if run.state != "success"]
    for run in failed:
        tasks = ", ".join(t for t, s in run.tasks.items() if s == "failed")
        address = f"{stack.ui}{dag_path(run.dag_id)}"
        console.print(Text.assemble((f"{run.dag_id} failed", "red"), f": {tasks}; see {address}"))
    return bool(failed)


def _show_search(stack: Stack, names: list[str], live: bool) -> None:
    """Print the hits of a search, and the trace of one record."""
    client = connect(stack.search(stack.settings()).url, engine="opensearch")
    console.print(search_table(client, demonstration.WORDS))
    traces = (trace_record(stack, client, name, live) for name in ("stocksnap", *names) if name in names)
    console.print(trace_table(next((places for places in traces if places), [])))
    console.print("Search it yourself:", Text('./just catalog search "words" --media image', "bold"))


def _show_next_steps(stack: Stack, live: bool) -> None:
    console.print("What to do next:")
    for number, step in enumerate(demonstration.next_steps(stack.ui), 1):
        console.print(f"  {number}. {step.what}", soft_wrap=True)
        console.print(f"     {step.address}", style="bold", soft_wrap=True)
    console.print(f"     {demonstration.example_command(live)}", style="bold", soft_wrap=True)
    console.print("docs/tour.md explains each, and goes on to a provider of your own.")


def _command() -> object:
    try:
        return app(standalone_mode=False)  # the status of typer.Exit
    except requests.RequestException as error:
        raise StackError(
            f"Airflow does not answer ({type(error).__name__}); see ./just status and ./just logs"
        ) from error


def main() -> None:
    # `finally` blocks pause DAGs again and stop what was started; the default actions would skip them.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` sets it for SIGHUP
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    program.run(_command, "just", StackError, ApiError)


if __name__ == "__main__":
    main()
