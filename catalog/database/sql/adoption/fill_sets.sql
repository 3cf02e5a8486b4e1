-- Fills the key of the audio set of a batch of records; returns their number and the last identifier.
with batch as (
    select identifier
      from {table}
     where {to_fill} and ({after}::uuid is null or identifier > {after})
     order by identifier
     limit {most}
),
filled as (
    update {table} t
       set {key} = audio_set ->> 'foreign_identifier'
      from batch
     where t.identifier = batch.identifier
)
select count(*), (array_agg(identifier order by identifier desc))[1] from batch
