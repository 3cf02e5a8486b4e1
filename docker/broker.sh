#!/bin/sh
# Start Valkey with one user, without administrative commands. Nothing is stored on disk: Airflow resends tasks whose
# messages are lost.
set -eu
password=$(cat "${SECRETS_FOLDER:-/run/secrets}/broker_password")
[ -n "$password" ] || { echo "broker: the secret broker_password is empty" >&2; exit 1; }
if [ "${1:-}" = healthy ]; then
    export VALKEYCLI_AUTH="$password" REDISCLI_AUTH="$password"
    valkey-cli --user catalog -p "${BROKER_PORT:-6379}" ping | grep -q PONG
    exit
fi
# The configuration has the password as a hash, so its characters need no escaping.
hash=$(printf '%s' "$password" | sha256sum | cut -d ' ' -f 1)
exec valkey-server - <<CONFIG
port ${BROKER_PORT:-6379}
save ""
appendonly no
user default off
user catalog on #$hash ~* &* +@all -@admin
CONFIG
