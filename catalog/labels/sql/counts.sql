-- What the images of a run have of this provider, and would have. Tags that are not an array stay.
select count(*) as known,
       coalesce(sum(own.labels), 0)::bigint as before,
       coalesce(sum(jsonb_array_length(staged.tags)) filter (
           where coalesce(jsonb_typeof(image.tags), 'null') in ('array', 'null')
       ), 0)::bigint as after
  from {staged} as staged
  join image on image.identifier = staged.image_uuid
 cross join lateral (
           select count(*) as labels
             from jsonb_array_elements(
                      case when jsonb_typeof(image.tags) = 'array' then image.tags else '[]' end
                  ) as old (tag)
            where tag ->> 'provider' = {provider}
       ) as own
