-- Times between pulled windows that no pull covers, of dated sources.
select s.n, g.start, g.until
  from unnest(%(names)s::text[], %(types)s::text[], %(allowed)s::interval[])
       with ordinality s (provider, media_type, allowed, n)
 cross join lateral (
     select max(until) over (order by start, until rows between unbounded preceding and 1 preceding) as start,
            start as until
       -- What covers time: whole pulls, and those that fell short, which are reported themselves. A whole
       -- pull without a window covers all before it. `since` bounds what is read; a gap may begin where the
       -- last whole pull before it ends.
       from (
           select coalesce(window_start, '-infinity') as start, fresh_on as until from whole_pull w
            where w.provider = s.provider and w.media_type = s.media_type
              and fresh_on > %(since)s and fresh_on <= %(until)s
              and (window_start is null or window_start < window_end)
           union all
           (select coalesce(window_start, '-infinity'), fresh_on from whole_pull w
             where w.provider = s.provider and w.media_type = s.media_type and fresh_on <= %(since)s
               and (window_start is null or window_start < window_end)
             order by fresh_on desc limit 1)
           union all
           select window_start, window_end from ingestion_report i
            where i.provider = s.provider and i.media_type = s.media_type
              and finished_on >= %(since)s and window_end <= %(until)s
              and window_start < window_end and {fell_short}
       ) c
 ) g
 where g.start < g.until and g.start < %(now)s - s.allowed
   -- In the year before a gap, the schedule was on: one of its runs pulled a window whole, soon after its
   -- end. The DAG may have had another name. No run had to pull the days before the first such run: a
   -- catch-up or a reingestion pulls the past in any order, people pull single days. No `exists`, whose order
   -- PostgreSQL ignores: mostly, the run just before the gap is such a run.
   and (
       select true from whole_pull w
        where w.provider = s.provider and w.media_type = s.media_type and fresh_on <= g.start
          and fresh_on > g.start - interval '1 year'
          and w.dag_id not like '%%\_reingestion\_workflow'
          and run_id like 'scheduled\_\_%%' and finished_on <= window_end + s.allowed
        order by fresh_on desc limit 1
   )
 order by s.n, g.start
