-- Of a sample of one photo in %(step)s, by the reason for which it would be skipped (as in batch.sql; NULL: for none): the number of
-- photos, of those whose taxon has a common name in the catalog (a title that is not its scientific name, which is a tag then), and of
-- those among them that would lose it. LIMIT lets each photo be looked up by indexes: joined tables would be read as a whole.
select case when o.observation_uuid is null then 'unknown observation'
            when t.taxon_id is null then 'unknown taxon'
            when w.observer_id is null then 'unknown observer'
            when l.code is null then 'license not accepted' end as reason,
       count(*), count(*) filter (where i.named), count(*) filter (where i.named and t.title = t.name)
  from inaturalist.photos p
  left join lateral (select * from inaturalist.observations o where o.observation_uuid = p.observation_uuid limit 1) o on true
  left join lateral (
      select n.taxon_id, n.title, x.name from inaturalist.taxa_named n join inaturalist.taxa x using (taxon_id)
       where n.taxon_id = o.taxon_id limit 1
  ) t on true
  left join lateral (select * from inaturalist.observers w where w.observer_id = p.observer_id limit 1) w on true
  left join inaturalist.licenses l on l.code = p.license
  left join lateral (
      select i.title <> t.name and i.tags @> jsonb_build_array(jsonb_build_object('name', t.name, 'provider', 'inaturalist')) as named
        from image i where i.provider = 'inaturalist' and md5(i.foreign_identifier) = md5(p.photo_id::text) limit 1
  ) i on true
 where hashint8(p.photo_id) %% %(step)s = 0
 group by 1
