#!/bin/bash
# Elasticsearch with a password for its superuser `elastic`. The image reads a password's file itself only where it is the engine's own and
# nobody else may read it; a file that Compose mounts keeps the owner that it has outside.
set -eu
ELASTIC_PASSWORD=$(cat /run/secrets/search_root_password)
if [ "${1:-}" = healthy ]; then
    # The password goes by a pipe: a list of processes shows arguments.
    escaped=${ELASTIC_PASSWORD//\\/\\\\}
    curl --config - <<<"user = \"elastic:${escaped//\"/\\\"}\"
url = \"http://127.0.0.1:9200/_cluster/health?wait_for_status=yellow&timeout=1s\"
fail
silent
output = \"/dev/null\""
    exit
fi
export ELASTIC_PASSWORD
exec /usr/local/bin/docker-entrypoint.sh eswrapper
