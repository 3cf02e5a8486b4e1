#!/bin/sh
# What a container is: `init` prepares everything once, `healthy` asks how the component is, a program is run as it is (executors that start a
# container for each task do so), all else is an Airflow component.
set -eu

answers() {
    exec python -c "import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=5)" "$1"
}

case "${1:-}" in
init)
    exec python -m catalog.local.bootstrap
    ;;
healthy)
    # Each of these asks for this container's component alone: another one's failure must not have this one restarted.
    case "$(cat /tmp/component)" in
    api-server) answers http://127.0.0.1:8080/api/v2/version ;;
    scheduler) answers http://127.0.0.1:8974/health ;;
    triggerer) exec airflow jobs check --job-type TriggererJob --local ;;
    dag-processor) exec airflow jobs check --job-type DagProcessorJob --local ;;
    celery) exec celery --app airflow.providers.celery.executors.celery_executor.app inspect ping --destination "celery@$(hostname)" ;;
    *) exit 1 ;;
    esac
    ;;
airflow | catalog | python | sh)
    exec "$@"
    ;;
*)
    echo "${1:-none}" >/tmp/component
    exec airflow "$@"
    ;;
esac
