#!/bin/sh
# Create the roles and databases: each role owns the database of its name and cannot connect to any other. The image
# runs this for a new volume, as superuser over the local socket. Running it again sets the current passwords.
set -eu
secrets=${SECRETS_FOLDER:-/run/secrets}

sql() {
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --no-password --username "${POSTGRES_USER:-postgres}" "$@"
}

# role NAME SECRET. The password is passed in the environment: no escaping, and not visible in process lists.
role() {
    password=$(cat "$secrets/$2")
    [ -n "$password" ] || { echo "roles: the secret $2 is empty" >&2; exit 1; }
    PASSWORD=$password sql --dbname postgres --set name="$1" <<'SQL'
\getenv password PASSWORD
select format('create role %I', :'name') where not exists (select from pg_roles where rolname = :'name') \gexec
alter role :"name" login nosuperuser nocreatedb nocreaterole noreplication nobypassrls password :'password';
SQL
}

for name in airflow catalog api api_staging celery; do
    role "$name" "${name}_db_password"
    sql --dbname postgres --set name="$name" <<'SQL'
select format('create database %I', :'name') where not exists (select from pg_database where datname = :'name') \gexec
alter database :"name" owner to :"name";
revoke all on database :"name" from public;
SQL
done

# The dashboard's roles: they may only read the catalog and the API database.
for name in catalog api; do
    role "${name}_reader" "${name}_reader_db_password"
    sql --dbname "$name" --set name="$name" --set reader="${name}_reader" <<'SQL'
alter role :"reader" set default_transaction_read_only = on;
grant connect on database :"name" to :"reader";
grant usage on schema public to :"reader";
grant select on all tables in schema public to :"reader";
alter default privileges for role :"name" in schema public grant select on tables to :"reader";
SQL
done
sql --dbname postgres --command 'revoke all on database postgres, template1 from public'
