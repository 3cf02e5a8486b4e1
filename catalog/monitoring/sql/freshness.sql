-- The end of the newest whole pull of each source, or else the time of its first load.
select s.n, w.fresh_on, f.first_load
  from unnest(%(names)s::text[], %(types)s::text[]) with ordinality s (provider, media_type, n)
  left join lateral (
      select fresh_on from whole_pull w
       where w.provider = s.provider and w.media_type = s.media_type and w.fresh_on <= %(until)s
       order by fresh_on desc limit 1
  ) w on true
  left join lateral (
      select finished_on as first_load from ingestion_report i
       where w.fresh_on is null and i.provider = s.provider and i.media_type = s.media_type
         and not i.replayed and i.finished_on <= %(until)s
       order by finished_on limit 1
  ) f on true
