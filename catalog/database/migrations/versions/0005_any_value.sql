-- Everything here is added or keeps its signature, so the previous release works with this schema.
-- A stored value may be of any JSON type, in a catalog that was adopted above all. What each function makes of it:
--
--   meta_data, audio_set   an array stands for the objects in it, merged in order; what else is no object stands for none
--   tags, alt_files        an object that could be an element stands for an array of it; what else is no array stands for none
--
-- A new value of another type than the column's changes nothing.

-- An array is what `||` made of a value that was no object, one element longer at each load.
create function stored_object(value jsonb) returns jsonb language sql immutable parallel safe as $$
    select case jsonb_typeof(value) when 'object' then value when 'array' then (
        select jsonb_object_agg(field.key, field.value order by place)
          from jsonb_array_elements(value) with ordinality e(element, place)
         cross join jsonb_each(case when jsonb_typeof(element) = 'object' then element else '{}' end) field
    ) end
$$;
comment on function stored_object(jsonb) is
    'the object that a stored value stands for: of an array, its objects merged, later ones win; null for anything else';

create function stored_elements(value jsonb, key text) returns jsonb language sql immutable parallel safe as $$
    select case when jsonb_typeof(value) = 'array' then value
                when jsonb_typeof(value -> key) = 'string' then jsonb_build_array(value)
                else '[]' end
$$;
comment on function stored_elements(jsonb, text) is
    'the array that a stored value stands for: of an object with a text under that key, an array of it; an empty one for anything else';

-- Null never overwrites; nulls inside objects are left out. A null column stays null when nothing comes.
create or replace function merged_object(old jsonb, new jsonb) returns jsonb language sql immutable parallel safe as $$
    select case when jsonb_typeof(new) is distinct from 'object' then old
                when old is null then jsonb_strip_nulls(new)
                when jsonb_typeof(old) = 'object' then jsonb_strip_nulls(old) || jsonb_strip_nulls(new)
                else coalesce(jsonb_strip_nulls(stored_object(old)), '{}') || jsonb_strip_nulls(new) end
$$;
comment on function merged_object(jsonb, jsonb) is 'the keys of both; those of the second win';

-- A provider's own tags are replaced; those that somebody else added (machine tags above all) stay.
create or replace function merged_tags(old jsonb, new jsonb, provider text) returns jsonb language sql immutable parallel safe as $$
    select case when jsonb_typeof(new) is distinct from 'array' then old else new || coalesce((
        select jsonb_agg(tag) from jsonb_array_elements(stored_elements(old, 'name')) tag
         where tag ->> 'provider' is distinct from provider
    ), '[]') end
$$;
comment on function merged_tags(jsonb, jsonb, text) is 'the new tags, and of the old ones those of other providers';

-- Files of a record, by URL: a file that is told of anew replaces what was told before, at its place; others are appended.
-- Elements without a URL are compared as they are.
create or replace function merged_elements(old jsonb, new jsonb) returns jsonb language sql immutable parallel safe as $$
    select case when jsonb_typeof(new) is distinct from 'array' then old else (
        select coalesce(jsonb_agg(newest order by place), '[]') from (
            select (array_agg(element order by position desc))[1] as newest, min(position) as place
              from jsonb_array_elements(stored_elements(old, 'url') || new) with ordinality e(element, position)
             group by element ->> 'url', case when element ->> 'url' is null then element end
        ) kept
    ) end
$$;
comment on function merged_elements(jsonb, jsonb) is 'the elements of both; of those with one url, the newest';

-- Popularity. Bytes instead of characters, and classes written out: what \d and \s match depends on the collation, what a cast takes
-- does not. With 100 bytes and two digits of exponent a value lies between 1e-199 and 1e199, so nothing below can overflow.
create or replace function metric_value(meta_data jsonb, metric text) returns double precision language sql immutable parallel safe as $$
    select case when octet_length(meta_data ->> metric) <= 100 and (meta_data ->> metric) collate "C"
                     ~ '^[ \t\n\r\f\v]*[+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]{1,2})?[ \t\n\r\f\v]*$'
           then (meta_data ->> metric)::double precision end
$$;
comment on function metric_value(jsonb, text) is
    'a metric, such as a number of views; null when it is missing, negative, of more than 100 bytes, or no number';

-- In PL/pgSQL, so that metric and constant may be sub-selects that are asked once for a statement; SQL functions are not inlined then.
create function popularity_score(meta_data jsonb, metric text, constant double precision) returns double precision
language plpgsql immutable parallel safe as $$
declare
    counted double precision := metric_value($1, $2);
begin
    return case when $3 > 0 and $3 <= 1e100 then counted / (counted + $3) end;
end
$$;
comment on function popularity_score(jsonb, text, double precision) is
    'metric / (metric + constant), between 0 and 1; null without a metric, or when the constant is not above 0 and at most 1e100. '
    'The one formula: the loader, the refresh and standardized_<media>_popularity call it';

create or replace function standardized_image_popularity(provider text, meta_data jsonb)
returns double precision language sql stable returns null on null input as $$
    select popularity_score($2, m.metric, m.constant) from image_popularity_metrics m where m.provider = $1
$$;
create or replace function standardized_audio_popularity(provider text, meta_data jsonb)
returns double precision language sql stable returns null on null input as $$
    select popularity_score($2, m.metric, m.constant) from audio_popularity_metrics m where m.provider = $1
$$;

create or replace view audioset_view as
select distinct on (audio_set_foreign_identifier, provider)
       audio_set_foreign_identifier as foreign_identifier,
       audio_set ->> 'title' as title,
       audio_set ->> 'foreign_landing_url' as foreign_landing_url,
       audio_set ->> 'creator' as creator,
       audio_set ->> 'creator_url' as creator_url,
       audio_set ->> 'url' as url,
       case when (audio_set ->> 'filesize') collate "C" ~ '^[0-9]{1,9}$' then (audio_set ->> 'filesize')::integer end as filesize,
       (audio_set ->> 'filetype')::varchar(80) as filetype,
       audio_set ->> 'thumbnail' as thumbnail,
       provider
  from audio
 where audio_set_foreign_identifier is not null and audio_set is not null
 order by audio_set_foreign_identifier, provider, updated_on desc;
