"""Functions, types and parse nodes that user-written statements may use; all others are refused.

A function is allowed if it only computes: it reads no table, file, setting or session, executes no string as
a statement, and changes nothing.
"""

FUNCTIONS = frozenset(
    # strings
    "ascii bit_length btrim char_length character_length chr concat concat_ws convert_from convert_to "
    "decode encode format initcap left length like_escape lower lpad ltrim md5 normalize octet_length "
    "overlay position quote_ident quote_literal quote_nullable repeat replace reverse right rpad rtrim "
    "sha224 sha256 sha384 sha512 split_part starts_with string_to_array string_to_table strpos substr "
    "substring textcat to_ascii to_bin to_hex to_oct translate unistr upper casefold unicode_assigned "
    "is_normalized like notlike regexp_count regexp_instr regexp_like regexp_match regexp_matches "
    "regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr similar_escape "
    "similar_to_escape "
    # numbers
    "abs ceil ceiling cbrt degrees div erf erfc exp factorial floor gamma gcd lcm lgamma ln log log10 "
    "min_scale mod pi power pow radians round scale sign sqrt trim_scale trunc width_bucket acos acosd "
    "acosh asin asind asinh atan atan2 atan2d atand atanh cos cosd cosh cot cotd sin sind sinh tan tand "
    "tanh to_number get_bit set_bit get_byte set_byte bit_count crc32 crc32c hashtext hashtextextended "
    "pg_column_size pg_size_bytes pg_size_pretty "
    # dates
    "age date date_bin date_part date_trunc date_add date_subtract extract isfinite justify_days "
    "justify_hours justify_interval make_date make_interval make_time make_timestamp make_timestamptz now "
    "overlaps statement_timestamp transaction_timestamp timezone to_char to_date to_timestamp "
    # JSON
    "json_array_element json_array_elements json_array_elements_text json_array_length json_build_array "
    "json_build_object json_each json_each_text json_extract_path json_extract_path_text json_object "
    "json_object_keys json_strip_nulls json_typeof jsonb_array_elements jsonb_array_elements_text "
    "jsonb_array_length jsonb_build_array jsonb_build_object jsonb_concat jsonb_contained jsonb_contains "
    "jsonb_delete jsonb_delete_path jsonb_each jsonb_each_text jsonb_exists jsonb_exists_all "
    "jsonb_exists_any jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object "
    "jsonb_object_keys jsonb_path_exists jsonb_path_exists_opr jsonb_path_exists_tz jsonb_path_match "
    "jsonb_path_match_opr jsonb_path_match_tz jsonb_path_query jsonb_path_query_array "
    "jsonb_path_query_array_tz jsonb_path_query_first jsonb_path_query_first_tz jsonb_path_query_tz "
    "jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset "
    "json_to_record json_to_recordset jsonb_typeof row_to_json array_to_json to_json to_jsonb "
    # arrays and rows
    "array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position "
    "array_positions array_prepend array_remove array_replace array_reverse array_sort array_to_string "
    "array_upper arraycontained arraycontains arrayoverlap cardinality generate_series "
    "generate_subscripts trim_array unnest num_nulls num_nonnulls "
    # sets and aggregates
    "any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp "
    "every json_agg json_object_agg jsonb_agg jsonb_object_agg max min mode percentile_cont "
    "percentile_disc regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy "
    "regr_syy stddev stddev_pop stddev_samp string_agg sum var_pop var_samp variance jsonb_agg_strict "
    "jsonb_object_agg_strict jsonb_object_agg_unique jsonb_object_agg_unique_strict range_agg cume_dist "
    "dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number "
    # ranges, addresses, uuids, full text
    "isempty lower_inc lower_inf upper_inc upper_inf range_merge int4range int8range numrange daterange "
    "tsrange tstzrange family host masklen network netmask broadcast hostmask inet_same_family inet_merge "
    "set_masklen uuid_extract_timestamp uuid_extract_version numnode plainto_tsquery phraseto_tsquery "
    "querytree setweight strip to_tsquery to_tsvector ts_delete ts_filter ts_headline ts_rank ts_rank_cd "
    "tsvector_to_array array_to_tsvector websearch_to_tsquery tsquery_phrase".split()
)

TYPES = frozenset(
    "bool int2 int4 int8 float4 float8 numeric text varchar bpchar char name bytea bit varbit uuid date "
    "time timetz timestamp timestamptz "
    "interval json jsonb jsonpath inet cidr macaddr macaddr8 tsvector tsquery regconfig tid "
    "unknown record record[] "
    "int4range int8range numrange daterange tsrange tstzrange int4multirange int8multirange nummultirange "
    "datemultirange tsmultirange tstzmultirange anyarray anyelement any".split()
)

# The catalog's own functions that are not volatile, and which of its tables each reads.
OWN_FUNCTIONS: dict[str, frozenset[str]] = {
    "metric_value(jsonb, text)": frozenset(),
    "popularity_score(jsonb, text, double precision)": frozenset(),
    "stored_object(jsonb)": frozenset(),
    "stored_elements(jsonb, text)": frozenset(),
    "kept_addresses(jsonb, jsonb)": frozenset(),
    "merged_object(jsonb, jsonb)": frozenset(),
    "merged_tags(jsonb, jsonb, text)": frozenset(),
    "merged_elements(jsonb, jsonb)": frozenset(),
    "merged_names(character varying[], character varying[])": frozenset(),
    "same_elements(jsonb, jsonb)": frozenset(),
    "same_names(character varying[], character varying[])": frozenset(),
    "standardized_image_popularity(text, jsonb)": frozenset({"image_popularity_metrics"}),
    "standardized_audio_popularity(text, jsonb)": frozenset({"audio_popularity_metrics"}),
    "image_popularity_percentile(text, text, double precision)": frozenset({"image"}),
    "audio_popularity_percentile(text, text, double precision)": frozenset({"audio"}),
}

# The words after { in a stored rule. Until PostgreSQL 15 some had shorter names.
NODES = frozenset(
    "QUERY RANGETBLENTRY RTE RTEPERMISSIONINFO RANGETBLREF RANGETBLFUNCTION ALIAS FROMEXPR JOINEXPR "
    "TARGETENTRY COMMONTABLEEXPR CTESEARCHCLAUSE CTECYCLECLAUSE SETOPERATIONSTMT SORTGROUPCLAUSE "
    "GROUPINGSET GROUPINGFUNC WINDOWCLAUSE VAR CONST PARAM AGGREF WINDOWFUNC WINDOWFUNCRUNCONDITION "
    "SUBSCRIPTINGREF FUNCEXPR NAMEDARGEXPR OPEXPR DISTINCTEXPR NULLIFEXPR SCALARARRAYOPEXPR BOOLEXPR "
    "SUBLINK FIELDSELECT RELABELTYPE COERCEVIAIO ARRAYCOERCEEXPR CONVERTROWTYPEEXPR COLLATE COLLATEEXPR "
    "CASE CASEEXPR WHEN CASEWHEN CASETESTEXPR ARRAY ARRAYEXPR ROW ROWEXPR ROWCOMPARE ROWCOMPAREEXPR "
    "COALESCE COALESCEEXPR MINMAX MINMAXEXPR SQLVALUEFUNCTION NULLTEST BOOLEANTEST JSONFORMAT "
    "JSONRETURNING JSONVALUEEXPR JSONCONSTRUCTOREXPR JSONISPREDICATE JSONEXPR JSONBEHAVIOR".split()
)

NODE_NAMES = {
    "TABLESAMPLECLAUSE": "TABLESAMPLE: it selects other rows each time",
    "XMLEXPR": "XML",
    "TABLEFUNC": "XMLTABLE or JSON_TABLE",
    "JSONTABLEPATH": "JSON_TABLE",
    "JSONTABLEPATHSCAN": "JSON_TABLE",
    "JSONTABLESIBLINGJOIN": "JSON_TABLE",
    "COERCETODOMAIN": "a domain",
    "ROWMARKCLAUSE": "FOR UPDATE or FOR SHARE",
    "NEXTVALUEEXPR": "a sequence",
}

CURRENT_MOMENT = 8  # CURRENT_DATE to LOCALTIMESTAMP; what follows are users, the database, the schema
