#!/bin/sh
# Dump the databases to a folder: docker/backup.sh FOLDER. Everything may keep running; each dump is consistent.
# Set SUPERUSER=catalog for the volume of a version that had no other role.
# The dumps contain password hashes and encrypted Variables. Decrypting those needs .secrets/fernet_key, so back up
# .secrets and .env as well, in another place.
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
