#!/bin/sh
# Valkey with one user, who may do everything but administer it. Nothing is kept on disk: a message that is lost is a task that is sent again.
set -eu
password=$(cat "${SECRETS_FOLDER:-/run/secrets}/broker_password")
[ -n "$password" ] || { echo "broker: the secret broker_password is empty" >&2; exit 1; }
if [ "${1:-}" = healthy ]; then
    export VALKEYCLI_AUTH="$password" REDISCLI_AUTH="$password"
    valkey-cli --user catalog -p "${BROKER_PORT:-6379}" ping | grep -q PONG
    exit
fi
# As a hash, so that no character of the password means anything in this configuration.
hash=$(printf '%s' "$password" | sha256sum | cut -d ' ' -f 1)
exec valkey-server - <<CONFIG
port ${BROKER_PORT:-6379}
save ""
appendonly no
user default off
user catalog on #$hash ~* &* +@all -@admin
CONFIG
