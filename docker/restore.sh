#!/bin/sh
# What docker/backup.sh has put into a folder, back into the databases: docker/restore.sh FOLDER [DATABASE …]. What they hold now is lost.
# Each is restored beside the one that is there, and takes its place when all of it has come back.
set -eu
[ $# -gt 0 ] || { echo "restore: name the folder of a backup: docker/restore.sh FOLDER [DATABASE …]" >&2; exit 2; }
folder=$1
shift
[ $# -gt 0 ] || set -- airflow catalog api api_staging
for database in "$@"; do
    [ -s "$folder/$database.dump" ] || { echo "restore: $folder/$database.dump is not there" >&2; exit 1; }
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
