#!/bin/sh
# Makes the passwords of a first start, each readable by the one user who needs it, and gives the volumes that
# images leave to root to their users. compose.yaml runs it before anything else; a later start finds them made.
#
# Files in volumes, because a secret that compose mounts from the host keeps the owner it has there, and Tidewire
# refuses one that every user may read. They leave with `docker compose down --volumes`, together with the data
# they guard. To bring your own, mount a volume with these files under the same names.
set -eu
umask 077

# Where compose.yaml mounts the volumes, and the users of the images.
at=${1:-/volumes}
postgres=999 nats=10002 tidewire=10001

random() {
    od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# FILE OWNER, its content from standard input.
secret() {
    cat >"$1"
    chmod 0400 "$1"
    chown "$2:$2" "$1"
}

chown "$nats:$nats" "$at/nats-data"

made=0
for reader in postgres nats tidewire; do
    [ ! -e "$at/$reader-secrets/complete" ] || made=$((made + 1))
done
case $made in
    3) exit 0 ;;
    0) ;;
    *)
        echo "secrets: $made of 3 volumes hold their secrets; bring the others back, or begin anew (with new" \
            "data) after: docker compose down --volumes" >&2
        exit 1
        ;;
esac

# A start that was cut short left files nobody has used: they are written again.
rm -f "$at"/*-secrets/*
store=$(random)
broker=$(random)
random | secret "$at/postgres-secrets/superuser-password" $postgres
echo "$store" | secret "$at/postgres-secrets/tidewire-password" $postgres
echo "TIDEWIRE_PASSWORD: \"$broker\"" | secret "$at/nats-secrets/nats.conf" $nats
echo "postgres://tidewire:$store@postgres:5432/tidewire" | secret "$at/tidewire-secrets/store-url" $tidewire
echo "nats://tidewire:$broker@nats:4222" | secret "$at/tidewire-secrets/nats-url" $tidewire
echo "kafka://kafka:9092" | secret "$at/tidewire-secrets/kafka-url" $tidewire
# Others may look for these, and find out nothing else.
chmod 0755 "$at"/*-secrets
for reader in postgres nats tidewire; do
    : >"$at/$reader-secrets/complete"
done
