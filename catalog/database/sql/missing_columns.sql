-- The columns of a media table that the table of its deleted media lacks, as clauses of ALTER TABLE.
select format('add column %%I %%s', a.attname, format_type(a.atttypid, a.atttypmod)) from pg_attribute a
 where a.attrelid = %(media)s::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
   and not exists (select from pg_attribute d where d.attrelid = %(deleted)s::regclass
                      and d.attname = a.attname and not d.attisdropped)
 order by a.attnum
