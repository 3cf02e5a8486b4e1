-- Indexes of the catalog's tables. A deferrable index does not count as unique: ON CONFLICT does not accept it.
select i.relname,
       c.relname,
       x.indisunique and x.indpred is null and x.indimmediate,
       x.indisvalid and x.indisready,
       array(
            select pg_get_indexdef(x.indexrelid, k, true)
              from generate_series(1, x.indnkeyatts) k
             order by k
       )
  from pg_index x
  join pg_class i on i.oid = x.indexrelid
  join pg_class c on c.oid = x.indrelid
 where c.relnamespace = 'public'::regnamespace
   and c.relname = any(%s)
 order by 2, 1
