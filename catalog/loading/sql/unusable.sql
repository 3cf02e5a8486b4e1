-- Rows that lack a required value, or whose URL is too long for the index.
update {loading} set rejected = case {reason} end where {unusable}
