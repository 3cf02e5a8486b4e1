-- Made-up media, the same for the same seed: row n of a medium. What is random comes from hashes of n, so that any database can be given any
-- part of it. Tags and descriptions are drawn from a pool of 5 000. The first rows hold what documents and copies stumble over: no tags, an
-- empty list, only bad ones, odd boosts, no sizes.
create or replace function pg_temp.pick(n bigint, draw integer, choices integer) returns integer language sql immutable parallel safe as $$
    select ((hashint8extended(n, {seed} * 1000 + draw) & 9007199254740991) % choices)::integer
$$;
create or replace function pg_temp.word(n bigint, draw integer) returns text language sql immutable parallel safe as $$
    select ('{{quiet,harbour,winter,morning,street,forest,market,bridge,river,mountain,lantern,garden,window,portrait,cathedral,meadow,cloud,'
        'tram,heron,orchid,beetle,violin,drum,choir,thunder,ferry,desert,glacier,festival,mosaic,tower,canal,sunset,bicycle,kitchen,'
        'library,poster,stamp,fern,owl,fox,kitten,horse,sailor,baker,dancer,statue,fountain,station,island}}'::text[])
           [1 + pg_temp.pick(n, draw, 50)]
$$;

create temp table if not exists pool (k integer primary key, tags jsonb, description text);
truncate pool;
insert into pool
select k,
       (select jsonb_agg(case pg_temp.pick(k, 100 + t, 6)
           when 0 then jsonb_build_object('name', pg_temp.word(k, 200 + t), 'provider', 'clarifai',
                                          'accuracy', round((0.5 + pg_temp.pick(k, 300 + t, 5000) / 10000.0)::numeric, 4))
           when 1 then jsonb_build_object('name', pg_temp.word(k, 200 + t) || ':' || pg_temp.pick(k, 400 + t, 99), 'provider', 'flickr')
           else jsonb_build_object('name', pg_temp.word(k, 200 + t), 'provider', 'flickr') end)
          from generate_series(1, pg_temp.pick(k, 1, 20)) t),
       case when k % 3 = 0 then
           (select string_agg(pg_temp.word(k, 500 + w), ' ') from generate_series(1, 12 + pg_temp.pick(k, 4, 40)) w) end
  from generate_series(0, 4999) k;
analyze pool;

create temp table if not exists oddity (n bigint primary key, tags jsonb, meta_data jsonb);
truncate oddity;
insert into oddity values
    (1, null, '{{}}'),
    (2, '[]', '{{}}'),
    (3, '[{{"name": "no person", "provider": "clarifai", "accuracy": 0.99}}, {{"name": "cc0"}}, {{"name": "geo:lat=52.5"}}]', '{{}}'),
    (4, '[{{"name": "Baby ruby"}}, {{"name": "by"}}, {{"accuracy": 0.95}}, {{"name": "cat", "accuracy": 0.9}}, {{"name": "dog", "accuracy": 0.8999}}]', '{{}}'),
    (5, '[{{"name": "SquareFormat"}}, {{"name": "tower", "provider": "rekognition", "accuracy": 0.97}}, "loose", null, {{"name": 7}}]', '{{}}'),
    (6, '[{{"name": "heron"}}]', null),
    (7, '[{{"name": "heron"}}]', '{{"authority_boost": "abc", "description": null}}'),
    (8, '[{{"name": "heron"}}]', '{{"authority_boost": 250, "mature": true}}'),
    (9, '[{{"name": "heron"}}]', '{{"authority_boost": "-3.5", "description": ["no text"]}}');
