set dotenv-load
set positional-arguments

python := ".venv/bin/python"

# list the recipes
default:
    @just --list --unsorted

# install, start, run five provider DAGs on their recordings, show the result (--all: every provider, --live: the real APIs)
[no-exit-message]
demo *args:
    @{{ python }} -m catalog.local demo "$@"

# run the checks, and all tests but the long fault tests; with arguments (-k name, a path), only those tests
[no-exit-message]
test *args:
    @{{ if args == "" { quote(just_executable()) + " check" } else { "true" } }}
    @{{ python }} -m pytest -n 3 "$@"

# lay out the source, and correct what the linter can
[no-exit-message]
fmt:
    @.venv/bin/ruff check --fix-only --quiet .
    @.venv/bin/ruff format --quiet .
    @.venv/bin/just --fmt --unstable --quiet

# start PostgreSQL, OpenSearch and Airflow (-f: in the foreground)
[no-exit-message]
up *args:
    @{{ python }} -m catalog.local up "$@"

# stop everything that up started; data are kept
[no-exit-message]
down:
    @{{ python }} -m catalog.local down

# show the state of the stack, its processes and ports
[no-exit-message]
status:
    @{{ python }} -m catalog.local status

# follow the logs (of one part: supervisor, postgres, opensearch, api-server, scheduler, dag-processor, triggerer)
[no-exit-message]
logs *part:
    @{{ python }} -m catalog.local logs "$@"

# diagnose the stack and suggest fixes (--keys: also ask each API whether it accepts its key)
[no-exit-message]
doctor *args:
    @{{ python }} -m catalog.local doctor "$@"

# stop, and delete all local state
[no-exit-message]
reset:
    @{{ python }} -m catalog.local reset

# trigger a DAG, with a conf as JSON, and wait for its end
[no-exit-message]
trigger dag conf="{}":
    @{{ python }} -m catalog.local trigger "$@"

# run the Airflow command line with the stack's environment
[no-exit-message]
airflow *args:
    @{{ python }} -m catalog.local airflow "$@"

# run the catalog command with the stack's environment: ingest, record, status, providers, provider, search, tag-policy, sample-data, db
[no-exit-message]
catalog *args:
    @{{ python }} -m catalog.local catalog "$@"

# create the folder of a new provider: ./just add-provider "Name" https://api.example.org/v1/images [image] [audio] [--from page.json]
[no-exit-message]
add-provider *args:
    @{{ python }} -m catalog.scaffold "$@"

# regenerate expected.jsonl of providers from their recordings
[no-exit-message]
expect *names:
    @{{ python }} -m catalog.scaffold.rows "$@"

# regenerate DAGs.md, the tables in docs and the numbers in the README (--check: only report drift)
[no-exit-message]
dag-docs *args:
    @{{ python }} -m catalog.dag_docs "$@"

# photograph the dashboard of the running stack for the README, after ./just demo in a fresh clone
[no-exit-message]
screenshot:
    @{{ python }} -m catalog.local.screenshot

# run docker compose, after making the missing secrets below .secrets: ./just compose up -d
[no-exit-message]
compose *args:
    @{{ python }} -m catalog.containers.secrets
    @CATALOG_COMMIT="$(git rev-parse HEAD 2>/dev/null)" docker compose "$@"

# check lint, format, types, layers and docs drift; with actionlint where it is installed, as in CI
[no-exit-message]
check:
    @.venv/bin/ruff check --quiet .
    @.venv/bin/ruff format --check --quiet .
    @.venv/bin/mypy --no-error-summary
    @said=$(.venv/bin/lint-imports --no-logo) || { echo "$said"; exit 1; }
    @.venv/bin/shellcheck just .ci/run docker/*.sh docker/postgres/*.sh
    @.venv/bin/hadolint docker/Dockerfile
    @.venv/bin/check-jsonschema --quiet --builtin-schema vendor.compose-spec compose.yml
    @.venv/bin/just --fmt --check --unstable
    @.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
    @.venv/bin/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
    @if command -v actionlint >/dev/null; then actionlint; fi
    @.venv/bin/zizmor --quiet --offline --no-progress .github/workflows
    @{{ python }} -m catalog.dag_docs --check

# run the long fault tests: kills at every step, storms
[no-exit-message]
test-faults *args:
    @{{ python }} -m pytest -m fault_long "$@"

# run a separate stack while its parts are killed, and compare all results with a reference: --seed N --minutes M
[no-exit-message]
soak *args:
    @{{ python }} -m catalog.soak "$@"

# run benchmarks: ingest, load and parse, or those named (update, refresh, …)
[no-exit-message]
bench *names:
    @{{ python }} -m catalog.benchmarks "$@"

# remove each listed guard in a copy of the tree, and report removals that no test notices
[no-exit-message]
mutants *names:
    @{{ python }} -m catalog.mutants "$@"

# update the hashed locks
lock:
    .venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet pyproject.toml -o requirements.txt
    .venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet pyproject.toml --extra local --extra dev -c requirements.txt -o requirements-dev.txt
    .venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet pyproject.toml --extra distributed -c requirements.txt -o requirements-distributed.txt
