-- Title and tags of each taxon: inaturalist.taxa_named (taxon_id, title, tags).
drop table if exists inaturalist.taxa_titled, inaturalist.taxa_named;

create unlogged table inaturalist.taxa_titled as
with weighted as (  -- a name counts for the number of countries it is used in
    select taxon_id, lower(btrim(name)) as name, count(distinct country) as countries
      from inaturalist.vernacular_names where btrim(name) <> '' group by 1, 2
), by_scientific_name as (
    select s.name as scientific, w.name, sum(w.countries) as countries
      from weighted w join inaturalist.scientific_names s on s.id = w.taxon_id group by 1, 2
), filling as (  -- the most used names first, until a title would be too long
    select scientific, name, countries,
           sum(length(name) + 2) over (partition by scientific order by countries desc, name) as filled,
           row_number() over (partition by scientific order by countries desc, name) as place
      from by_scientific_name
), common as (
    select scientific,
           string_agg(name, ', ' order by name) filter (where filled < 256) as title,
           (array_agg(name order by place) filter (where filled >= 256))[1:20] as others
      from filling group by 1
)
select distinct on (t.taxon_id) t.taxon_id, t.name, coalesce(c.title, g.title, t.name) as title, c.others,
       array_remove(string_to_array(t.ancestry, '/'), '48460') as ancestors  -- 48460 is "Life"
  from inaturalist.taxa t
  left join common c on c.scientific = t.name
  left join inaturalist.group_names g on g.name = t.name
 where t.name <> 'Not assigned'
 order by t.taxon_id, t.name;
create index on inaturalist.taxa_titled (taxon_id);
analyze inaturalist.taxa_titled;

create unlogged table inaturalist.taxa_named as
with above as (
    select t.taxon_id, array_agg(distinct a.title) as titles
      from inaturalist.taxa_titled t cross join unnest(t.ancestors) as ancestor
      join inaturalist.taxa_titled a on a.taxon_id = case when ancestor ~ '^[0-9]{1,18}$' then ancestor::bigint end
     group by 1
), tagged as (
    select t.taxon_id, t.title,
           (case when t.title <> t.name then array[t.name] else '{}' end || coalesce(above.titles, '{}') || coalesce(t.others, '{}'))[1:20] as names
      from inaturalist.taxa_titled t left join above using (taxon_id)
)
select taxon_id, title, (
           select jsonb_agg(jsonb_build_object('name', name, 'provider', 'inaturalist') order by place)
             from (select name, min(n) as place from unnest(names) with ordinality as u (name, n) group by name) as once
       ) as tags
  from tagged;
create unique index on inaturalist.taxa_named (taxon_id);
analyze inaturalist.taxa_named;
