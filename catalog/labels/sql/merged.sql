-- The tags of others in their order, then the staged labels: as a load merges a provider's own tags, so that
-- the next load finds no difference. Tags of an image without staged labels, and tags that are not an array,
-- stay as they are.
coalesce((
    select case when jsonb_typeof(image.tags) = 'array' then coalesce((
               select jsonb_agg(tag order by place)
                 from jsonb_array_elements(image.tags) with ordinality as old (tag, place)
                where tag ->> 'provider' is distinct from {provider}
           ), '[]') || staged.tags
                when image.tags is null or jsonb_typeof(image.tags) = 'null' then staged.tags
           end
      from {staged} as staged where staged.image_uuid = image.identifier
), image.tags)
