#!/bin/sh
# Restore one database from the dump on standard input; run by docker/restore.sh.
set -eu
export PGOPTIONS="--client-min-messages=warning"
database=$1

sql() {
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --no-password --username postgres --dbname postgres --set name="$database"
}

sql <<'SQL'
\set restored :name _restored
drop database if exists :"restored";
create database :"restored" owner :"name" template template0;
SQL
pg_restore --username postgres --no-password --dbname "${database}_restored" --no-owner --role "$database" --exit-on-error --single-transaction
sql <<'SQL'
\set restored :name _restored
\set before :name _before
drop database if exists :"before";
alter database :"name" rename to :"before";
alter database :"restored" rename to :"name";
drop database :"before";
SQL
