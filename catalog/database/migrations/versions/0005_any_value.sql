-- Everything here keeps its signature, so the previous release works with this schema.

comment on function merged_object(jsonb, jsonb) is 'the keys of both; those of the second win';
