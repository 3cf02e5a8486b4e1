-- Whole pulls that came after a load `i` of a source `s`. A pull of everything that began before the one that
-- fell short was only loaded later. A pull that began after its load had a wrong clock.
(select window_start, window_end from whole_pull
  where provider = i.provider and media_type = i.media_type
    and finished_on > i.finished_on and finished_on >= s.since
    and (window_start is not null or i.pull_began is null
         or fresh_on >= least(i.pull_began, i.finished_on)))
