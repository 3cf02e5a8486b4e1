-- Everything attached to a table: (kind, name, facts). Objects are identified by name, not by oid, so that a mere
-- rewrite (VACUUM FULL, REINDEX) changes nothing. Run it with an empty search_path, so that every name in a
-- definition is qualified. to_jsonb gives null for columns of system catalogs that older servers lack.
with t as (
    select c.*, n.nspname, format('%I.%I', n.nspname, c.relname) as called, ty.typarray as array_type
      from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_type ty on ty.oid = c.reltype
     where c.oid = to_regclass({table})
),
a as (
    select a.*, row_number() over (order by a.attnum) as place
      from pg_attribute a join t on a.attrelid = t.oid where a.attnum > 0 and not a.attisdropped
),
k as (select k.* from pg_constraint k join t on k.conrelid = t.oid),
i as (
    select x.*, c.oid, c.relname, c.reltablespace, c.relowner, n.nspname, pg_get_indexdef(c.oid) as definition,
           format('CREATE %sINDEX %I ON %s USING ', case when x.indisunique then 'UNIQUE ' else '' end, c.relname, t.called) as head
      from t join pg_index x on x.indrelid = t.oid join pg_class c on c.oid = x.indexrelid join pg_namespace n on n.oid = c.relnamespace
),
s as ( -- sequences that belong to a column
    select c.*, n.nspname, d.refobjsubid as column_number, d.deptype = 'i' as is_identity
      from t join pg_depend d on d.refobjid = t.oid and d.refclassid = 'pg_class'::regclass and d.classid = 'pg_class'::regclass
      join pg_class c on c.oid = d.objid and c.relkind = 'S' join pg_namespace n on n.oid = c.relnamespace
     where d.deptype in ('a', 'i')
),
f as (
    select k.*, n.nspname as child_schema, c.relname as child, pg_get_constraintdef(k.oid) as definition,
           (select bool_and(g.tgenabled = 'O') from pg_trigger g where g.tgconstraint = k.oid) as by_triggers
      from t join pg_constraint k on t.oid in (k.conrelid, k.confrelid)
      join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
     where k.contype = 'f' and k.conparentid = 0
),
acl as (
    select null::name as on_column, e.* from t, aclexplode(coalesce(t.relacl, acldefault('r', t.relowner))) e
     union all
    select a.attname, e.* from a, aclexplode(a.attacl) e
),
x as (select e.*, n.nspname from t join pg_statistic_ext e on e.stxrelid = t.oid join pg_namespace n on n.oid = e.stxnamespace),
g as (select g.* from pg_trigger g join t on g.tgrelid = t.oid where not g.tgisinternal),
r as (select r.* from pg_rewrite r join t on r.ev_class = t.oid),
p as (select p.* from pg_policy p join t on p.polrelid = t.oid),
parts as ( -- of which something else may depend
    select 'pg_class'::regclass as class, oid from t union all select 'pg_class'::regclass, oid from i
     union all select 'pg_class'::regclass, oid from s where is_identity
     union all select 'pg_type'::regclass, reltype from t union all select 'pg_type'::regclass, array_type from t
     union all select 'pg_constraint'::regclass, oid from k
),
ours as ( -- what is read here in its own right
    select 'pg_class'::regclass as class, oid from i union all select 'pg_class'::regclass, oid from s
     union all select 'pg_type'::regclass, reltype from s -- of a sequence, before version 14
     union all select 'pg_class'::regclass, reltoastrelid from t
     union all select 'pg_type'::regclass, reltype from t union all select 'pg_type'::regclass, array_type from t
     union all select 'pg_constraint'::regclass, oid from k union all select 'pg_constraint'::regclass, oid from f
     union all select 'pg_attrdef'::regclass, d.oid from pg_attrdef d join t on d.adrelid = t.oid
     union all select 'pg_trigger'::regclass, g.oid from pg_trigger g where g.tgisinternal or g.tgrelid = (select oid from t)
     union all select 'pg_policy'::regclass, oid from p union all select 'pg_rewrite'::regclass, oid from r
     union all select 'pg_publication_rel'::regclass, l.oid from pg_publication_rel l join t on l.prrelid = t.oid
     union all select 'pg_statistic_ext'::regclass, oid from x
),
noted as (
    select 'pg_class'::regclass as class, t.oid, 0 as part, 'table ' || called as target from t
     union all select 'pg_type'::regclass, y.oid, 0, format('type %I.%I', n.nspname, y.typname)
                 from t join pg_type y on y.oid in (t.reltype, t.array_type) join pg_namespace n on n.oid = y.typnamespace
     union all select 'pg_class'::regclass, a.attrelid, a.attnum, format('column %s.%I', t.called, a.attname) from a, t
     union all select 'pg_class'::regclass, i.oid, 0, format('index %I.%I', i.nspname, i.relname) from i
     union all select 'pg_class'::regclass, s.oid, 0, format('sequence %I.%I', s.nspname, s.relname) from s
     union all select 'pg_constraint'::regclass, k.oid, 0, format('constraint %I on %s', k.conname, t.called) from k, t
     union all select 'pg_constraint'::regclass, f.oid, 0, format('constraint %I on %I.%I', f.conname, f.child_schema, f.child)
                 from f where f.conrelid <> (select oid from t)
     union all select 'pg_trigger'::regclass, g.oid, 0, format('trigger %I on %s', g.tgname, t.called) from g, t
     union all select 'pg_rewrite'::regclass, r.oid, 0, format('rule %I on %s', r.rulename, t.called) from r, t
     union all select 'pg_policy'::regclass, p.oid, 0, format('policy %I on %s', p.polname, t.called) from p, t
     union all select 'pg_statistic_ext'::regclass, x.oid, 0, format('statistics %I.%I', x.nspname, x.stxname) from x
)
select 'table' as kind, '' as name, jsonb_build_object(
           'relation kind', relkind, 'persistence', relpersistence, 'access method', (select amname from pg_am where oid = relam),
           'tablespace', (select spcname from pg_tablespace where oid = reltablespace),
           'options', (select jsonb_agg(o order by o) from unnest(reloptions) o),
           'toast options', (select jsonb_agg(o order by o) from pg_class toast, unnest(toast.reloptions) o where toast.oid = t.reltoastrelid),
           'row type', case when reloftype <> 0 then format_type(reloftype, null) end, 'partition', relispartition,
           'parents', (select jsonb_agg(inhparent::regclass::text order by inhseqno) from pg_inherits where inhrelid = t.oid),
           'extension', (select e.extname from pg_depend d join pg_extension e on e.oid = d.refobjid
                          where d.classid = 'pg_class'::regclass and d.objid = t.oid and d.deptype = 'e')
       ) as facts
  from t
 union all
select 'owner', '', jsonb_build_object('role', pg_get_userbyid(relowner)) from t
 union all
select 'row security', '', jsonb_build_object('enabled', relrowsecurity, 'forced', relforcerowsecurity) from t
 union all
select 'replica identity', '', jsonb_build_object('how', relreplident, 'index', (select relname from i where indisreplident)) from t
 union all
select 'cluster mark', '', jsonb_build_object('index', relname) from i where indisclustered
 union all
select 'column', attname, jsonb_build_object(
           'position', place, 'type', format_type(atttypid, atttypmod),
           'collation', (select format('%I.%I', n.nspname, c.collname) from pg_collation c join pg_namespace n on n.oid = c.collnamespace
                          where c.oid = attcollation),
           'default', (select pg_get_expr(adbin, adrelid) from pg_attrdef where adrelid = attrelid and adnum = attnum),
           'not null', attnotnull, 'identity', nullif(attidentity::text, ''), 'generated', nullif(attgenerated::text, ''),
           'storage', attstorage, 'compression', nullif(to_jsonb(a) ->> 'attcompression', ''),
           'statistics target', nullif(coalesce(attstattarget, -1), -1), 'options', to_jsonb(attoptions)
       )
  from a
 union all
select 'constraint', conname, jsonb_build_object('type', contype, 'definition', pg_get_constraintdef(oid), 'valid', convalidated)
  from k where contype in ('c', 'n', 'p', 'u', 'x')
 union all
select 'index', relname, jsonb_build_object(
           'unique', indisunique, 'primary', indisprimary, 'valid', indisvalid, 'using', substr(definition, length(head) + 1),
           'tablespace', (select spcname from pg_tablespace where oid = reltablespace),
           'constraint', (select jsonb_build_object('type', contype, 'deferrable', condeferrable, 'deferred', condeferred,
                                                    'definition', pg_get_constraintdef(k.oid))
                            from k where conindid = i.oid and contype in ('p', 'u', 'x')),
           'statistics targets', (select jsonb_object_agg(attnum, attstattarget) from pg_attribute
                                   where attrelid = i.oid and coalesce(attstattarget, -1) <> -1)
       )
  from i
 union all
select 'foreign key', conname, jsonb_build_object('definition', f.definition, 'triggers enabled', by_triggers, 'to itself', confrelid = conrelid)
  from f join t on t.oid = conrelid
 union all
select 'reference', format('%I.%I.%I', child_schema, child, conname), jsonb_build_object(
           'schema', child_schema, 'child', child, 'name', conname, 'definition', f.definition, 'triggers enabled', by_triggers,
           'valid', convalidated, 'on delete', confdeltype,
           'columns', (select jsonb_agg(attname order by place) from unnest(conkey) with ordinality u (number, place)
                         join pg_attribute on attrelid = conrelid and attnum = number),
           'parents', (select jsonb_agg(attname order by place) from unnest(confkey) with ordinality u (number, place)
                         join pg_attribute on attrelid = confrelid and attnum = number)
       )
  from f join t on t.oid = confrelid where conrelid <> confrelid
 union all
select 'trigger', tgname, jsonb_build_object('definition', pg_get_triggerdef(oid), 'enabled', tgenabled) from g
 union all
select 'rule', rulename, jsonb_build_object('definition', pg_get_ruledef(oid), 'enabled', ev_enabled) from r where rulename <> '_RETURN'
 union all
select 'policy', polname, jsonb_build_object(
           'permissive', polpermissive, 'command', polcmd, 'using', pg_get_expr(polqual, polrelid), 'check', pg_get_expr(polwithcheck, polrelid),
           'roles', (select jsonb_agg(case role when 0 then 'public' else quote_ident(pg_get_userbyid(role)) end order by 1)
                       from unnest(polroles) role)
       )
  from p
 union all
select 'publication', pubname, jsonb_build_object(
           'by name', l.oid is not null, 'where', to_jsonb(v) ->> 'rowfilter',
           'columns', case when jsonb_typeof(to_jsonb(l) -> 'prattrs') <> 'null' then to_jsonb(v) -> 'attnames' end
       )
  from t cross join pg_publication
  left join pg_publication_rel l on l.prpubid = pg_publication.oid and l.prrelid = t.oid
  left join pg_publication_tables v using (pubname)
 where (v.schemaname, v.tablename) is not distinct from (t.nspname, t.relname) or l.oid is not null and v.tablename is null
 union all
select 'grant', format('%s%s to %s by %s', privilege_type, case when on_column is null then '' else format(' (%I)', on_column) end,
                       case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end, quote_ident(pg_get_userbyid(grantor))),
       jsonb_build_object('privilege', privilege_type, 'column', on_column, 'grantable', is_grantable, 'grantor', pg_get_userbyid(grantor),
                          'grantee', case grantee when 0 then null else pg_get_userbyid(grantee) end)
  from acl
 union all
select 'statistics', format('%I.%I', x.nspname, stxname), jsonb_build_object(
           'schema', x.nspname, 'name', stxname, 'target', nullif(coalesce(stxstattarget, -1), -1), 'owner', pg_get_userbyid(stxowner),
           'what', replace(substr(pg_get_statisticsobjdef(x.oid), length(format('CREATE STATISTICS %I.%I', x.nspname, stxname)) + 1),
                           ' FROM ' || t.called, '')
       )
  from x, t
 union all
select 'sequence', format('%I.%I', s.nspname, relname), jsonb_build_object(
           'schema', s.nspname, 'name', relname, 'column', (select attname from a where attnum = column_number), 'identity', is_identity,
           'type', format_type(seqtypid, null), 'start', seqstart, 'step', seqincrement, 'least', seqmin, 'most', seqmax,
           'cache', seqcache, 'cycle', seqcycle,
           'grants', (select jsonb_agg(jsonb_build_object(
                          'privilege', privilege_type, 'grantable', is_grantable, 'grantor', pg_get_userbyid(grantor),
                          'grantee', case grantee when 0 then null else pg_get_userbyid(grantee) end) order by privilege_type, grantee, grantor)
                        from aclexplode(coalesce(relacl, acldefault('s', relowner))))
       )
  from s join pg_sequence on seqrelid = s.oid
 union all
select 'extension', format('%s of %I', target, extname), jsonb_build_object('target', target, 'name', extname)
  from noted join pg_depend d on (d.classid, d.objid, d.objsubid) = (class, noted.oid, part) and d.deptype = 'x'
  join pg_extension e on d.refclassid = 'pg_extension'::regclass and e.oid = d.refobjid
 union all
select 'type right', format('%s on %I to %s by %s', privilege_type, y.typname, case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end,
                            quote_ident(pg_get_userbyid(grantor))),
       jsonb_build_object('grantable', is_grantable)
  from t join pg_type y on y.oid = t.reltype
  cross join aclexplode(case when (select array_agg(i order by i::text) from unnest(typacl) i)
                                  is distinct from (select array_agg(i order by i::text) from unnest(acldefault('T', typowner)) i)
                             then typacl end)
 where typacl is not null
 union all
select 'comment on', target, jsonb_build_object('text', description)
  from noted join pg_description on (classoid, objoid, objsubid) = (class, oid, part)
 union all
select 'security label', target || ' for ' || provider, jsonb_build_object('label', label)
  from noted join pg_seclabel on (classoid, objoid, objsubid) = (class, oid, part)
 union all
select distinct 'dependent', coalesce((select pg_describe_object('pg_class'::regclass, ev_class, 0) from pg_rewrite
                                        where d.classid = 'pg_rewrite'::regclass and oid = d.objid),
                                      pg_describe_object(d.classid, d.objid, d.objsubid)), '{{}}'::jsonb
  from pg_depend d join parts on d.refclassid = class and d.refobjid = parts.oid
 where not exists (select from ours where ours.class = d.classid and ours.oid = d.objid)
   and not exists (select from t where d.classid = 'pg_class'::regclass and d.objid = t.oid)
 union all
-- Before version 14, only superusers read pg_subscription.
select 'dependent', pg_describe_object('pg_subscription'::regclass, srsubid, 0), '{{}}'::jsonb
  from t join pg_subscription_rel on srrelid = t.oid
