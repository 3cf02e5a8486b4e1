-- How many rows are rejected, by reason.
select rejected, count(*) from {loading} where rejected is not null group by 1
 union all
select {url_taken}, count(*) from verdict where outcome = 'url taken' having count(*) > 0
