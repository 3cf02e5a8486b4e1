#!/bin/sh
# Entrypoint of all containers. `init` prepares the deployment, `healthy` checks the component, and a program (airflow,
# catalog, python, sh) is executed, as executors do that start a container per task. Anything else names an Airflow
# component. All get the container's secrets.
# `airflow` and `catalog` in /opt/entrypoint are links to this file, so `docker compose exec scheduler airflow …` gets
# the secrets as well.
set -eu
PATH=${PATH#/opt/entrypoint:}
export PATH
component=${COMPONENT_FILE:-/tmp/component}
package=${CATALOG_PACKAGE:-/opt/package}

with_secrets() {
    exec python -IS "$package/containers/with_secrets.py" "$@"
}

answers() {
    exec python -IS -c "import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=5)" "$1"
}

# The broker's address contains its password, so pass it in the environment.
worker_answers() {
    # shellcheck disable=SC2016
    with_secrets sh -c 'CELERY_BROKER_URL=$AIRFLOW__CELERY__BROKER_URL exec celery inspect ping --destination "celery@$(hostname)"'
}

case "${0##*/}" in
airflow | catalog) set -- "${0##*/}" "$@" ;;
esac

case "${1:-}" in
init)
    with_secrets python -m catalog.containers.bootstrap
    ;;
healthy)
    # Each check concerns this container's component only: a failure elsewhere must not restart this container.
    # None imports Airflow, which takes seconds of processor time.
    case "$(cat "$component" 2>/dev/null)" in
    api-server) answers http://127.0.0.1:8080/api/v2/version ;;
    scheduler) answers http://127.0.0.1:8974/health ;;
    triggerer) with_secrets python -I "$package/containers/healthy.py" TriggererJob ;;
    dag-processor) with_secrets python -I "$package/containers/healthy.py" DagProcessorJob ;;
    celery) worker_answers ;;
    *) exit 1 ;;
    esac
    ;;
airflow | catalog | python | sh)
    with_secrets "$@"
    ;;
'')
    echo "entrypoint: name a component, init, or a program" >&2
    exit 2
    ;;
*)
    echo "$1" >"$component"
    with_secrets airflow "$@"
    ;;
esac
