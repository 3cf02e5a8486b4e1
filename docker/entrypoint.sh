#!/bin/sh
# What a container is: `init` prepares everything once, `healthy` asks how the component is, all else is an Airflow component.
set -eu

case "${1:-}" in
init)
    exec python -m catalog.local.bootstrap
    ;;
healthy)
    component=$(cat /tmp/component 2>/dev/null || echo none)
    case "$component" in
    api-server) exec python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/api/v2/monitor/health', timeout=5)" ;;
    scheduler) exec airflow jobs check --job-type SchedulerJob --local ;;
    triggerer) exec airflow jobs check --job-type TriggererJob --local ;;
    dag-processor) exec airflow jobs check --job-type DagProcessorJob --local ;;
    celery) exec airflow celery list-workers --output plain ;;
    *) exit 1 ;;
    esac
    ;;
*)
    echo "${1:-none}" >/tmp/component
    exec airflow "$@"
    ;;
esac
