-- Loads that lack something which no later load brought, one for each window. Later whole pulls together cover
-- the window of a load if one of them covers its beginning, and each that ends within it is continued by
-- another one.
select s.n, r.*
  from unnest(%(names)s::text[], %(types)s::text[], %(since)s::timestamptz[])
       with ordinality s (provider, media_type, since, n)
 cross join lateral (
     select distinct on (window_start, window_end) {columns} from ingestion_report i
      where i.provider = s.provider and i.media_type = s.media_type and finished_on >= s.since
        and {fell_short}
        and not exists (select from {later} w where w.window_start is null)
        and not (
            exists (select from {later} w
                     where i.window_start between w.window_start and w.window_end)
            and not exists (select from {later} w
                             where w.window_end >= i.window_start and w.window_end < i.window_end
                               and not exists (select from {later} x
                                                where x.window_start <= w.window_end
                                                  and x.window_end > w.window_end)))
      order by window_start, window_end, finished_on desc
 ) r
 order by s.n, r.finished_on desc
