-- Store that the work on a selection begins.
insert into batched_update
       (query_id, run_id, table_name, statement, total, next_row, stripe, batch_size, stripes)
values (%(id)s, %(run)s, %(name)s, %(text)s, %(total)s, 1, 0, 0, 0)
on conflict (query_id) do update
   set run_id = excluded.run_id, table_name = excluded.table_name, statement = excluded.statement,
       total = excluded.total, next_row = 1, stripe = 0, updated = 0, gone = 0,
       started_on = now(), renewed_on = now()
