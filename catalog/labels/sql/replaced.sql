-- How many images of a run have labels of this provider, and would get others.
select count(*)
  from (select image_uuid, tags from {table} order by image_uuid limit {most}) as staged
  join image on image.identifier = staged.image_uuid
 cross join lateral (
           select jsonb_agg(tag order by place) as tags
             from jsonb_array_elements(
                      case when jsonb_typeof(image.tags) = 'array' then image.tags else '[]' end
                  ) with ordinality as old (tag, place)
            where tag ->> 'provider' = {provider}
       ) as own
 where own.tags <> staged.tags
