-- Images that have staged labels, and other labels of this provider, or the same in another order.
exists (
    select from {staged} as staged
     where staged.image_uuid = image.identifier
       and case when jsonb_typeof(image.tags) = 'array' then staged.tags is distinct from (
               select jsonb_agg(tag order by place)
                 from jsonb_array_elements(image.tags) with ordinality as old (tag, place)
                where tag ->> 'provider' = {provider}
           ) else image.tags is null or jsonb_typeof(image.tags) = 'null' end
)
