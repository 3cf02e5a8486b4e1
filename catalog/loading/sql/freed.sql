-- Whether a row was refused for its URL, which another one brought that the table refuses.
select exists (select from verdict v join verdict other using (url) where v.outcome = 'url taken' and other.outcome = 'refused')
