#!/bin/sh
# Migrate a volume of an earlier version, in which one superuser, `catalog`, owns everything: create the present roles,
# and make each role the owner of its database and all objects in it. No row is changed. Stop Airflow's components
# first. The script may be interrupted and run again.
set -eu
export PGOPTIONS="--client-min-messages=warning"
here=$(dirname "$0")
secrets=${SECRETS_FOLDER:-/run/secrets}

sql() {
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --no-password "$@"
}

is_superuser() {
    [ "$(sql --username "$1" --dbname postgres --tuples-only --no-align --command "show is_superuser" 2>/dev/null)" = on ]
}

# The bootstrap superuser cannot be dropped, and no role can rename itself: a temporary role renames it.
if is_superuser catalog; then
    echo "carry-over: the superuser catalog becomes postgres"
    sql --username catalog --dbname postgres --command "drop role if exists carrier" --command "create role carrier login superuser"
    sql --username carrier --dbname postgres --command "alter role catalog rename to postgres"
elif ! is_superuser postgres; then
    echo "carry-over: neither catalog nor postgres is a superuser that can log in over the local socket" >&2
    exit 1
fi
password=$(cat "$secrets/postgres_password")
PASSWORD=$password sql --username postgres --dbname postgres <<'SQL'
\getenv password PASSWORD
alter role postgres password :'password';
drop role if exists carrier;
SQL
POSTGRES_USER=postgres "$here/roles.sh"
for name in airflow catalog api api_staging; do
    sql --username postgres --dbname "$name" --set owner="$name" --file "$here/ownership.sql"
    echo "carry-over: database $name belongs to role $name"
done
