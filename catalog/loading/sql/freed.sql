-- Whether a row was refused for its URL, which another one brought that the table refuses. Not as a join: none was refused
-- when `verdict` was analyzed, so a join would read all rows once for each that is.
select exists (select from verdict where outcome = 'url taken'
                  and (url in (select url from verdict where outcome = 'refused')) is true)
