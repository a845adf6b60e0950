#!/bin/sh
# Starts Mosquitto and has it read the password file again whenever the bridge has written a new one.
set -eu
config=${1:-/mosquitto/config/mosquitto.conf}
passwords=${2:-/mosquitto/data/passwords}
[ -e "$passwords" ] || (umask 077 && : > "$passwords")
mosquitto -c "$config" &
broker=$!
trap 'kill -TERM "$broker"' TERM INT
before=$(cksum "$passwords")
while kill -0 "$broker" 2>/dev/null; do
    sleep 1
    now=$(cksum "$passwords")
    if [ "$now" != "$before" ]; then
        before=$now
        kill -HUP "$broker"
    fi
done
wait "$broker"
