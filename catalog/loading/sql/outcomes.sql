select outcome, count(*) from verdict group by 1
