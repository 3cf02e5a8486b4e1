-- Rows that lack a required value, or whose URL is too long for the index.
insert into load_reject (n, reason)
select n, case {reason} end from {loading} where {unusable}
