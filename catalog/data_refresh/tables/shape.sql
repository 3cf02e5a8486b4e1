-- Everything attached to a table: (kind, name, facts). Objects are identified by name, not by oid, so that a
-- mere rewrite (VACUUM FULL, REINDEX) changes nothing. Run it with an empty search_path, so that every name
-- in a definition is qualified. to_jsonb gives null for columns of system catalogs that older servers lack.
with tab as (
    select c.*,
           n.nspname,
           format('%I.%I', n.nspname, c.relname) as qualified_name,
           ty.typarray as array_type
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      left join pg_type ty on ty.oid = c.reltype
     where c.oid = to_regclass({table})
),
columns as (
    select a.*, row_number() over (order by a.attnum) as place
      from pg_attribute a
      join tab on a.attrelid = tab.oid
     where a.attnum > 0 and not a.attisdropped
),
constraints as (
    select k.* from pg_constraint k join tab on k.conrelid = tab.oid
),
indexes as (
    select x.*,
           c.oid,
           c.relname,
           c.reltablespace,
           c.relowner,
           n.nspname,
           pg_get_indexdef(c.oid) as definition,
           format(
               'CREATE %sINDEX %I ON %s USING ',
               case when x.indisunique then 'UNIQUE ' else '' end,
               c.relname,
               tab.qualified_name
           ) as head
      from tab
      join pg_index x on x.indrelid = tab.oid
      join pg_class c on c.oid = x.indexrelid
      join pg_namespace n on n.oid = c.relnamespace
),
-- Those that belong to a column.
sequences as (
    select c.*, n.nspname, d.refobjsubid as column_number, d.deptype = 'i' as is_identity
      from tab
      join pg_depend d
        on d.refobjid = tab.oid
       and d.refclassid = 'pg_class'::regclass
       and d.classid = 'pg_class'::regclass
      join pg_class c on c.oid = d.objid and c.relkind = 'S'
      join pg_namespace n on n.oid = c.relnamespace
     where d.deptype in ('a', 'i')
),
-- In both directions.
foreign_keys as (
    select k.*,
           n.nspname as child_schema,
           c.relname as child,
           pg_get_constraintdef(k.oid) as definition,
           (select bool_and(g.tgenabled = 'O') from pg_trigger g where g.tgconstraint = k.oid) as by_triggers
      from tab
      join pg_constraint k on tab.oid in (k.conrelid, k.confrelid)
      join pg_class c on c.oid = k.conrelid
      join pg_namespace n on n.oid = c.relnamespace
     where k.contype = 'f' and k.conparentid = 0
),
privileges as (
    select null::name as on_column, acl.*
      from tab, aclexplode(coalesce(tab.relacl, acldefault('r', tab.relowner))) acl
     union all
    select columns.attname, acl.* from columns, aclexplode(columns.attacl) acl
),
statistics as (
    select e.*, n.nspname
      from tab
      join pg_statistic_ext e on e.stxrelid = tab.oid
      join pg_namespace n on n.oid = e.stxnamespace
),
triggers as (
    select g.* from pg_trigger g join tab on g.tgrelid = tab.oid where not g.tgisinternal
),
rules as (
    select r.* from pg_rewrite r join tab on r.ev_class = tab.oid
),
policies as (
    select p.* from pg_policy p join tab on p.polrelid = tab.oid
),
-- Objects of which something else may depend.
parts as (
    select 'pg_class'::regclass as class, oid from tab
     union all
    select 'pg_class'::regclass, oid from indexes
     union all
    select 'pg_class'::regclass, oid from sequences where is_identity
     union all
    select 'pg_type'::regclass, reltype from tab
     union all
    select 'pg_type'::regclass, array_type from tab
     union all
    select 'pg_constraint'::regclass, oid from constraints
),
-- Objects that are read here in their own right.
ours as (
    select 'pg_class'::regclass as class, oid from indexes
     union all
    select 'pg_class'::regclass, oid from sequences
     union all
    select 'pg_type'::regclass, reltype from sequences -- before version 14
     union all
    select 'pg_class'::regclass, reltoastrelid from tab
     union all
    select 'pg_type'::regclass, reltype from tab
     union all
    select 'pg_type'::regclass, array_type from tab
     union all
    select 'pg_constraint'::regclass, oid from constraints
     union all
    select 'pg_constraint'::regclass, oid from foreign_keys
     union all
    select 'pg_attrdef'::regclass, d.oid from pg_attrdef d join tab on d.adrelid = tab.oid
     union all
    select 'pg_trigger'::regclass, g.oid
      from pg_trigger g
     where g.tgisinternal or g.tgrelid = (select oid from tab)
     union all
    select 'pg_policy'::regclass, oid from policies
     union all
    select 'pg_rewrite'::regclass, oid from rules
     union all
    select 'pg_publication_rel'::regclass, l.oid from pg_publication_rel l join tab on l.prrelid = tab.oid
     union all
    select 'pg_statistic_ext'::regclass, oid from statistics
),
-- Objects that may have a comment or a security label, or depend on an extension.
targets as (
    select 'pg_class'::regclass as class, tab.oid, 0 as part, 'table ' || qualified_name as target from tab
     union all
    select 'pg_type'::regclass, y.oid, 0, format('type %I.%I', n.nspname, y.typname)
      from tab
      join pg_type y on y.oid in (tab.reltype, tab.array_type)
      join pg_namespace n on n.oid = y.typnamespace
     union all
    select 'pg_class'::regclass, attrelid, attnum, format('column %s.%I', qualified_name, attname)
      from columns, tab
     union all
    select 'pg_class'::regclass, oid, 0, format('index %I.%I', nspname, relname) from indexes
     union all
    select 'pg_class'::regclass, oid, 0, format('sequence %I.%I', nspname, relname) from sequences
     union all
    select 'pg_constraint'::regclass,
           constraints.oid,
           0,
           format('constraint %I on %s', conname, qualified_name)
      from constraints, tab
     union all
    select 'pg_constraint'::regclass, oid, 0, format('constraint %I on %I.%I', conname, child_schema, child)
      from foreign_keys
     where conrelid <> (select oid from tab)
     union all
    select 'pg_trigger'::regclass, triggers.oid, 0, format('trigger %I on %s', tgname, qualified_name)
      from triggers, tab
     union all
    select 'pg_rewrite'::regclass, rules.oid, 0, format('rule %I on %s', rulename, qualified_name)
      from rules, tab
     union all
    select 'pg_policy'::regclass, policies.oid, 0, format('policy %I on %s', polname, qualified_name)
      from policies, tab
     union all
    select 'pg_statistic_ext'::regclass, oid, 0, format('statistics %I.%I', nspname, stxname) from statistics
)
-- The table itself.
select 'table' as kind,
       '' as name,
       jsonb_build_object(
           'relation kind', relkind,
           'persistence', relpersistence,
           'access method', (select amname from pg_am where oid = relam),
           'tablespace', (select spcname from pg_tablespace where oid = reltablespace),
           'options', (select jsonb_agg(o order by o) from unnest(reloptions) o),
           'toast options', (select jsonb_agg(o order by o)
                               from pg_class toast, unnest(toast.reloptions) o
                              where toast.oid = tab.reltoastrelid),
           'row type', case when reloftype <> 0 then format_type(reloftype, null) end,
           'partition', relispartition,
           'parents', (select jsonb_agg(inhparent::regclass::text order by inhseqno)
                         from pg_inherits
                        where inhrelid = tab.oid),
           'extension', (select e.extname
                           from pg_depend d
                           join pg_extension e on e.oid = d.refobjid
                          where d.classid = 'pg_class'::regclass and d.objid = tab.oid and d.deptype = 'e')
       ) as facts
  from tab
 union all
select 'owner', '', jsonb_build_object('role', pg_get_userbyid(relowner)) from tab
 union all
select 'row security', '', jsonb_build_object('enabled', relrowsecurity, 'forced', relforcerowsecurity)
  from tab
 union all
select 'replica identity',
       '',
       jsonb_build_object(
           'how', relreplident,
           'index', (select relname from indexes where indisreplident)
       )
  from tab
 union all
select 'cluster mark', '', jsonb_build_object('index', relname) from indexes where indisclustered
 union all
-- Columns.
select 'column',
       attname,
       jsonb_build_object(
           'position', place,
           'type', format_type(atttypid, atttypmod),
           'collation', (select format('%I.%I', n.nspname, c.collname)
                           from pg_collation c
                           join pg_namespace n on n.oid = c.collnamespace
                          where c.oid = attcollation),
           'default', (select pg_get_expr(adbin, adrelid)
                         from pg_attrdef
                        where adrelid = attrelid and adnum = attnum),
           'not null', attnotnull,
           'identity', nullif(attidentity::text, ''),
           'generated', nullif(attgenerated::text, ''),
           'storage', attstorage,
           'compression', nullif(to_jsonb(columns) ->> 'attcompression', ''),
           'statistics target', nullif(coalesce(attstattarget, -1), -1),
           'options', to_jsonb(attoptions)
       )
  from columns
 union all
-- Constraints: checks, not null, primary keys, unique and exclusion constraints.
select 'constraint',
       conname,
       jsonb_build_object(
           'type', contype,
           'definition', pg_get_constraintdef(oid),
           'valid', convalidated
       )
  from constraints
 where contype in ('c', 'n', 'p', 'u', 'x')
 union all
-- Indexes, with the constraint that one belongs to.
select 'index',
       relname,
       jsonb_build_object(
           'unique', indisunique,
           'primary', indisprimary,
           'valid', indisvalid,
           'using', substr(definition, length(head) + 1),
           'tablespace', (select spcname from pg_tablespace where oid = reltablespace),
           'constraint', (select jsonb_build_object(
                                     'type', contype,
                                     'deferrable', condeferrable,
                                     'deferred', condeferred,
                                     'definition', pg_get_constraintdef(constraints.oid)
                                 )
                            from constraints
                           where conindid = indexes.oid and contype in ('p', 'u', 'x')),
           'statistics targets', (select jsonb_object_agg(attnum, attstattarget)
                                    from pg_attribute
                                   where attrelid = indexes.oid and coalesce(attstattarget, -1) <> -1)
       )
  from indexes
 union all
-- Foreign keys of the table, then those of other tables that refer to it.
select 'foreign key',
       conname,
       jsonb_build_object(
           'definition', definition,
           'triggers enabled', by_triggers,
           'to itself', confrelid = conrelid
       )
  from foreign_keys
  join tab on tab.oid = conrelid
 union all
select 'reference',
       format('%I.%I.%I', child_schema, child, conname),
       jsonb_build_object(
           'schema', child_schema,
           'child', child,
           'name', conname,
           'definition', definition,
           'triggers enabled', by_triggers,
           'valid', convalidated,
           'on delete', confdeltype,
           'columns', (select jsonb_agg(attname order by place)
                         from unnest(conkey) with ordinality u (number, place)
                         join pg_attribute on attrelid = conrelid and attnum = number),
           'parents', (select jsonb_agg(attname order by place)
                         from unnest(confkey) with ordinality u (number, place)
                         join pg_attribute on attrelid = confrelid and attnum = number)
       )
  from foreign_keys
  join tab on tab.oid = confrelid
 where conrelid <> confrelid
 union all
select 'trigger', tgname, jsonb_build_object('definition', pg_get_triggerdef(oid), 'enabled', tgenabled)
  from triggers
 union all
select 'rule', rulename, jsonb_build_object('definition', pg_get_ruledef(oid), 'enabled', ev_enabled)
  from rules
 where rulename <> '_RETURN'
 union all
-- Policies of row security.
select 'policy',
       polname,
       jsonb_build_object(
           'permissive', polpermissive,
           'command', polcmd,
           'using', pg_get_expr(polqual, polrelid),
           'check', pg_get_expr(polwithcheck, polrelid),
           'roles', (select jsonb_agg(
                                case role when 0 then 'public' else quote_ident(pg_get_userbyid(role)) end
                                order by 1
                            )
                       from unnest(polroles) role)
       )
  from policies
 union all
-- Publications that contain the table, by its name or otherwise.
select 'publication',
       pubname,
       jsonb_build_object(
           'by name', l.oid is not null,
           'where', to_jsonb(v) ->> 'rowfilter',
           'columns', case
                          when jsonb_typeof(to_jsonb(l) -> 'prattrs') <> 'null' then to_jsonb(v) -> 'attnames'
                      end
       )
  from tab
 cross join pg_publication
  left join pg_publication_rel l on l.prpubid = pg_publication.oid and l.prrelid = tab.oid
  left join pg_publication_tables v using (pubname)
 where (v.schemaname, v.tablename) is not distinct from (tab.nspname, tab.relname)
    or l.oid is not null and v.tablename is null
 union all
-- Privileges on the table and on its columns.
select 'grant',
       format(
           '%s%s to %s by %s',
           privilege_type,
           case when on_column is null then '' else format(' (%I)', on_column) end,
           case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end,
           quote_ident(pg_get_userbyid(grantor))
       ),
       jsonb_build_object(
           'privilege', privilege_type,
           'column', on_column,
           'grantable', is_grantable,
           'grantor', pg_get_userbyid(grantor),
           'grantee', case grantee when 0 then null else pg_get_userbyid(grantee) end
       )
  from privileges
 union all
-- Extended statistics. `what` is the definition without the names of the object and of the table.
select 'statistics',
       format('%I.%I', statistics.nspname, stxname),
       jsonb_build_object(
           'schema', statistics.nspname,
           'name', stxname,
           'target', nullif(coalesce(stxstattarget, -1), -1),
           'owner', pg_get_userbyid(stxowner),
           'what', replace(
                       substr(
                           pg_get_statisticsobjdef(statistics.oid),
                           length(format('CREATE STATISTICS %I.%I', statistics.nspname, stxname)) + 1
                       ),
                       ' FROM ' || tab.qualified_name,
                       ''
                   )
       )
  from statistics, tab
 union all
-- Sequences, with their privileges.
select 'sequence',
       format('%I.%I', nspname, relname),
       jsonb_build_object(
           'schema', nspname,
           'name', relname,
           'column', (select attname from columns where attnum = column_number),
           'identity', is_identity,
           'type', format_type(seqtypid, null),
           'start', seqstart,
           'step', seqincrement,
           'least', seqmin,
           'most', seqmax,
           'cache', seqcache,
           'cycle', seqcycle,
           'grants', (select jsonb_agg(
                                 jsonb_build_object(
                                     'privilege', privilege_type,
                                     'grantable', is_grantable,
                                     'grantor', pg_get_userbyid(grantor),
                                     'grantee', case grantee
                                                    when 0 then null
                                                    else pg_get_userbyid(grantee)
                                                end
                                 )
                                 order by privilege_type, grantee, grantor
                             )
                        from aclexplode(coalesce(relacl, acldefault('s', relowner))))
       )
  from sequences
  join pg_sequence on seqrelid = sequences.oid
 union all
-- Objects that are dropped with an extension.
select 'extension', format('%s of %I', target, extname), jsonb_build_object('target', target, 'name', extname)
  from targets
  join pg_depend d on (d.classid, d.objid, d.objsubid) = (class, targets.oid, part) and d.deptype = 'x'
  join pg_extension e on d.refclassid = 'pg_extension'::regclass and e.oid = d.refobjid
 union all
-- Privileges on the row type, if they are not the default.
select 'type right',
       format(
           '%s on %I to %s by %s',
           privilege_type,
           y.typname,
           case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end,
           quote_ident(pg_get_userbyid(grantor))
       ),
       jsonb_build_object('grantable', is_grantable)
  from tab
  join pg_type y on y.oid = tab.reltype
 cross join aclexplode(
                case
                    when (select array_agg(i order by i::text) from unnest(typacl) i)
                         is distinct from
                         (select array_agg(i order by i::text) from unnest(acldefault('T', typowner)) i)
                    then typacl
                end
            )
 where typacl is not null
 union all
select 'comment on', target, jsonb_build_object('text', description)
  from targets
  join pg_description on (classoid, objoid, objsubid) = (class, oid, part)
 union all
select 'security label', target || ' for ' || provider, jsonb_build_object('label', label)
  from targets
  join pg_seclabel on (classoid, objoid, objsubid) = (class, oid, part)
 union all
-- Other objects that depend on the table, such as views.
select distinct
       'dependent',
       coalesce(
           (select pg_describe_object('pg_class'::regclass, ev_class, 0)
              from pg_rewrite
             where d.classid = 'pg_rewrite'::regclass and oid = d.objid),
           pg_describe_object(d.classid, d.objid, d.objsubid)
       ),
       '{{}}'::jsonb
  from pg_depend d
  join parts on d.refclassid = class and d.refobjid = parts.oid
 where not exists (select from ours where ours.class = d.classid and ours.oid = d.objid)
   and not exists (select from tab where d.classid = 'pg_class'::regclass and d.objid = tab.oid)
 union all
-- Before version 14, only superusers read pg_subscription.
select 'dependent', pg_describe_object('pg_subscription'::regclass, srsubid, 0), '{{}}'::jsonb
  from tab
  join pg_subscription_rel on srrelid = tab.oid
