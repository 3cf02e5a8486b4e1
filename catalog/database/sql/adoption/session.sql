-- The current role, the server and the database, and what the role may do.
select current_user,
       current_setting('server_version_num')::int,
       current_setting('server_encoding'),
       pg_is_in_recovery() or current_setting('default_transaction_read_only')::bool,
       has_schema_privilege('public', 'CREATE'),
       has_database_privilege(current_database(), 'TEMPORARY')
