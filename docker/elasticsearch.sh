#!/bin/bash
# Start Elasticsearch with a password for its superuser `elastic`. The image itself reads a password only from a file
# that belongs to its user and is private; a file that Compose mounts keeps the owner it has on the host.
set -eu
ELASTIC_PASSWORD=$(cat /run/secrets/search_root_password)
if [ "${1:-}" = healthy ]; then
    # Pass the password through a pipe: arguments are visible in process lists.
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
