#!/bin/sh
# Databases of the composed catalog into a folder: docker/backup.sh FOLDER. Everything may go on running; each file is its database at one moment.
# SUPERUSER: catalog, for the volume of a version that had no other role.
# It holds passwords' hashes and encrypted Variables; .secrets/fernet_key reads those, so keep .secrets and .env too, elsewhere.
set -eu
umask 077
if [ $# -ne 1 ]; then
    echo "backup: name a folder: docker/backup.sh FOLDER" >&2
    exit 2
fi
folder=$1
mkdir -p "$folder"
trap 'rm -f "$folder"/*.partial' EXIT
for database in airflow catalog api api_staging; do
    docker compose exec -T postgres pg_dump --username "${SUPERUSER:-postgres}" --format custom --no-owner --no-acl "$database" >"$folder/$database.partial"
    mv "$folder/$database.partial" "$folder/$database.dump"
    echo "backup: $folder/$database.dump"
done
