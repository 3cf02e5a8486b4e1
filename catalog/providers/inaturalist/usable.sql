-- Of a sample of one photo in %(step)s: the number of photos, and of those that can become rows of the catalog.
select count(*), count(*) filter (
           where exists (select from inaturalist.observations o join inaturalist.taxa_named t using (taxon_id)
                          where o.observation_uuid = p.observation_uuid)
             and exists (select from inaturalist.observers w where w.observer_id = p.observer_id)
       )
  from inaturalist.photos p
 where hashint8(p.photo_id) %% %(step)s = 0
