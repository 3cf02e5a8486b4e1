-- Whether another record has the key or the URL of a new or a changed row since it was classified.
select exists (
    select from verdict v join {loading} new on new.ctid = v.tid, {table} other
     where v.n = %s and other.identifier is distinct from v.identifier
       and ((other.provider = new.provider and md5(other.foreign_identifier) = md5(new.foreign_identifier)) or (v.brings_url and other.url = v.url)))
