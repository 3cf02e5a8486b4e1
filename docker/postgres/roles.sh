#!/bin/sh
# Roles and databases: each role owns the database of its name and may connect to no other one. The image runs this when its volume is new, as
# its superuser over the local socket; it may be run again, and then gives the roles the passwords that the secrets have now.
set -eu
secrets=${SECRETS_FOLDER:-/run/secrets}

sql() {
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --no-password --username "${POSTGRES_USER:-postgres}" "$@"
}

# role NAME SECRET; the password is handed over in the environment, so any character in it is itself, and no list of processes shows it.
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

# The dashboard's: it reads the catalog and nothing else.
role catalog_reader catalog_reader_db_password
sql --dbname catalog <<'SQL'
alter role catalog_reader set default_transaction_read_only = on;
grant connect on database catalog to catalog_reader;
grant usage on schema public to catalog_reader;
grant select on all tables in schema public to catalog_reader;
alter default privileges for role catalog in schema public grant select on tables to catalog_reader;
revoke all on database postgres, template1 from public;
SQL
