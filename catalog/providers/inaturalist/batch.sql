-- The photos with identifiers from %(first)s up to, but without, %(end)s as rows of the catalog, and why one is none.
create temp table inaturalist_batch on commit preserve rows as
with joined as (
    select p.photo_id, p.observation_uuid, p.observer_id, lower(p.extension) as extension, p.extension as written, p.width, p.height,
           left(coalesce(nullif(w.name, ''), w.login), 2000) as creator, left(t.title, 5000) as title, t.tags, l.slug, l.version, l.url as license_url,
           case when o.observation_uuid is null then 'unknown observation'
                when t.taxon_id is null then 'unknown taxon'
                when w.observer_id is null then 'unknown observer'
                when l.code is null then 'license not accepted' end as reason
      from inaturalist.photos p
      left join inaturalist.observations o using (observation_uuid)
      left join inaturalist.taxa_named t on t.taxon_id = o.taxon_id
      left join inaturalist.observers w on w.observer_id = p.observer_id
      left join inaturalist.licenses l on l.code = p.license
     where p.photo_id >= %(first)s and p.photo_id < %(end)s
), placed as (
    select *, row_number() over (partition by photo_id, reason is null order by observation_uuid) as place from joined
)
select photo_id::text as foreign_identifier,
       'https://www.inaturalist.org/photos/' || photo_id as foreign_landing_url,
       'https://inaturalist-open-data.s3.amazonaws.com/photos/' || photo_id || '/original.' || written as url,
       null::text as thumbnail,
       case extension when 'jpeg' then 'jpg' else left(extension, 5) end as filetype,
       null::integer as filesize,
       slug as license,
       version as license_version,
       creator,
       'https://www.inaturalist.org/users/' || observer_id as creator_url,
       title,
       jsonb_build_object('license_url', license_url) as meta_data,
       tags,
       'photograph' as category,
       false as watermarked,
       'inaturalist' as provider,
       'inaturalist' as source,
       'sql_bulk_load' as ingestion_type,
       case when width > 0 then width end as width,
       case when height > 0 then height end as height,
       width <= 0 as no_width,
       height <= 0 as no_height,
       coalesce(reason, case when place > 1 then 'photo of several observations' end) as reason
  from placed
