-- Tables of one dump. All are unlogged: after a crash of the server all of them are empty, and are loaded again.
create schema inaturalist;

create unlogged table inaturalist.dump (token text not null, began timestamptz not null default now());
create unlogged table inaturalist.loaded (name text primary key, rows bigint not null, unreadable bigint not null);

create unlogged table inaturalist.photos (
    photo_uuid uuid, photo_id bigint not null, observation_uuid uuid, observer_id bigint, extension text, license text,
    width integer, height integer, position integer
);
create unlogged table inaturalist.observations (
    observation_uuid uuid not null, observer_id bigint, latitude numeric, longitude numeric, positional_accuracy bigint, taxon_id bigint,
    quality_grade text, observed_on date
);
create unlogged table inaturalist.observers (observer_id bigint not null, login text, name text);
create unlogged table inaturalist.taxa (
    taxon_id bigint not null, ancestry text, rank_level double precision, rank text, name text, active text
);

create unlogged table inaturalist.vernacular_names (taxon_id text, name text, country text);
create unlogged table inaturalist.scientific_names (id text, name text);

create unlogged table inaturalist.licenses (code text primary key, slug text not null, version text not null, url text not null);

-- Names of frequent groups that the Catalogue of Life has no common name for.
create unlogged table inaturalist.group_names (name text primary key, title text not null);
insert into inaturalist.group_names values
    ('Animalia', 'Animals'), ('Araneae', 'Spider'), ('Magnoliopsida', 'Flowers'), ('Plantae', 'Plants'),
    ('Lepidoptera', 'Butterflies and Moths'), ('Insecta', 'Insect'), ('Agaricales', 'Mushroom'), ('Poaceae', 'Grass'),
    ('Asteraceae', 'Daisy'), ('Danaus plexippus', 'Monarch Butterfly'), ('Felinae', 'Cats'), ('Canis', 'Dogs');
