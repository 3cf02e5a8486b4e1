-- The functions that popularity is calculated with, of one media type. {media} is image or audio.
drop function if exists standardized_{media}_popularity(text, jsonb);
drop function if exists {media}_popularity_percentile(text, text, double precision);

create function {media}_popularity_percentile(provider text, pop_field text, percentile double precision)
returns double precision language sql stable returns null on null input as $$
    select percentile_disc($3) within group (order by metric_value(meta_data, $2)) from {media} where {media}.provider = $1
$$;
create function standardized_{media}_popularity(provider text, meta_data jsonb)
returns double precision language sql stable returns null on null input as $$
    select popularity_score($2, m.metric, m.constant) from {media}_popularity_metrics m where m.provider = $1
$$;
