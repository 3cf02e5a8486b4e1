#!/bin/sh
# Restore the dumps of docker/backup.sh: docker/restore.sh FOLDER [DATABASE …]. The present content is lost.
# Each database is restored under another name, and replaces the present one when the restore has succeeded.
set -eu
[ $# -gt 0 ] || { echo "restore: name the folder of a backup: docker/restore.sh FOLDER [DATABASE …]" >&2; exit 2; }
folder=$1
shift
[ $# -gt 0 ] || set -- airflow catalog api api_staging
for database in "$@"; do
    [ -s "$folder/$database.dump" ] || { echo "restore: $folder/$database.dump is missing or empty" >&2; exit 1; }
done
running=$(docker compose ps --services --status running | grep -E '^(api-server|scheduler|dag-processor|triggerer|worker)$' | tr '\n' ' ' || true)
if [ -n "$running" ]; then
    echo "restore: these are running: ${running% }; stop them first: ./just compose stop ${running% }" >&2
    exit 1
fi
for database in "$@"; do
    docker compose exec -T postgres sh /opt/postgres/restore.sh "$database" <"$folder/$database.dump"
    echo "restore: $database"
done
docker compose exec -T postgres /opt/postgres/roles.sh
