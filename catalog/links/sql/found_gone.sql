select distinct identifier, url from link_check
 where {of_survey} and outcome = 'gone' and judged
