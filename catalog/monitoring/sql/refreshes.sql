-- Refreshes of production of a media type: no copies of records, and no moves of an alias alone.
select number, t.dag_id, t.run_id, plan ->> 'media_type' as media_type,
       coalesce(plan ->> 'mode', 'full') as mode, coalesce(plan ->> 'reason', '') as reason,
       stage, begun_on, t.given_up_for as ended_for,
       plan -> 'documents' -> (plan ->> 'media_type') as documents
  from refresh r join turn t using (number)
 where plan ->> 'media_type' = %(media_type)s
   and plan ->> 'search' is distinct from %(staging)s
   and coalesce(plan ->> 'mode', 'full') not in ('copy', 'alias')
