set dotenv-load
set positional-arguments

python := ".venv/bin/python"

# list the recipes
default:
    @just --list --unsorted

# install, start, run five provider DAGs on their recordings, show what came of it (--all: every provider, --live: the real APIs)
[no-exit-message]
demo *args:
    @{{ python }} -m catalog.local demo "$@"

# lint, types, docs drift and all tests but the long faults
[no-exit-message]
test *args: check
    @{{ python }} -m pytest "$@"

# start PostgreSQL, OpenSearch and Airflow (-f: stay in the foreground)
[no-exit-message]
up *args:
    @{{ python }} -m catalog.local up "$@"

# stop everything that up started; data stay
[no-exit-message]
down:
    @{{ python }} -m catalog.local down

# what runs, and where
[no-exit-message]
status:
    @{{ python }} -m catalog.local status

# follow the logs (of one part: supervisor, postgres, opensearch, api-server, scheduler, dag-processor, triggerer)
[no-exit-message]
logs *part:
    @{{ python }} -m catalog.local logs "$@"

# what is wrong and how to mend it
[no-exit-message]
doctor:
    @{{ python }} -m catalog.local doctor

# stop, and delete all local state
[no-exit-message]
reset:
    @{{ python }} -m catalog.local reset

# trigger a DAG, with a conf as JSON, and wait for its end
[no-exit-message]
trigger dag conf="{}":
    @{{ python }} -m catalog.local trigger "$@"

# the Airflow command line with the stack's environment
[no-exit-message]
airflow *args:
    @{{ python }} -m catalog.local airflow "$@"

# the catalog command with the stack's environment: ingest, record, providers, search, tag-policy, sample-data, db
[no-exit-message]
catalog *args:
    @{{ python }} -m catalog.local catalog "$@"

# make the folder of a new provider: ./just add-provider "Made-Up Museum" https://api.example.org/v1/images [image] [audio]
[no-exit-message]
add-provider *args:
    @{{ python }} -m catalog.scaffold "$@"

# write expected.jsonl of providers anew: what their recordings yield
[no-exit-message]
expect *names:
    @{{ python }} -m catalog.scaffold.rows "$@"

# write DAGs.md and the tables of the README (--check: say whether they have drifted)
[no-exit-message]
dag-docs *args:
    @{{ python }} -m catalog.dag_docs "$@"

# the catalog in containers: ./just compose up -d; makes the secrets that are missing below .secrets
[no-exit-message]
compose *args:
    @{{ python }} -m catalog.containers.secrets
    @CATALOG_COMMIT="$(git rev-parse HEAD 2>/dev/null)" docker compose "$@"

# lint, format, types, docs drift; actionlint too where it is installed, as in CI
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

# the faults that take long: kills at every step, storms
[no-exit-message]
test-faults *args:
    @{{ python }} -m pytest -m fault_long "$@"

# let a stack of its own work while its parts are killed, and hold everything against what it must be: --seed N --minutes M
[no-exit-message]
soak *args:
    @{{ python }} -m catalog.soak "$@"

# measure: ingest, load and parse, or those named (update, refresh, …)
[no-exit-message]
bench *names:
    @{{ python }} -m catalog.benchmarks "$@"

# remove each guard of a list in a copy of the tree, and say which removal no test notices
[no-exit-message]
mutants *names:
    @{{ python }} -m catalog.mutants "$@"

# renew the hashed locks
lock:
    .venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet pyproject.toml -o requirements.txt
    .venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet pyproject.toml --extra local --extra dev -c requirements.txt -o requirements-dev.txt
    .venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet pyproject.toml --extra distributed -c requirements.txt -o requirements-distributed.txt
