#!/bin/sh
# Makes what docker-compose.yml reads from deploy/secrets, once: passwords, keys, and a private certificate authority for the MQTT broker.
#
#     sh deploy/secrets.sh [NAME]      NAME: how gateways in the plant call the broker, for example portal.example.com
#
# A file that exists is left alone. The folder is closed to other people (700); its files are readable inside (644) because a container
# reads them by another user id than yours.
set -eu
umask 077
folder=$(dirname "$0")/secrets
public=${1:-}
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

random() { openssl rand -hex "$1"; }
keep() { # keep FILE TEXT
    [ -e "$1" ] || printf '%s\n' "$2" > "$1"
}

keep secret_key "$(random 48)"
keep database_password "$(random 24)"
keep valkey_password "$(random 24)"
keep mqtt_password "$(random 24)"
keep redis_url "redis://:$(cat valkey_password)@valkey:6379/0"
[ -e valkey.conf ] || cat > valkey.conf <<CONF
requirepass $(cat valkey_password)
dir /data
appendonly yes
save ""
maxmemory 256mb
maxmemory-policy noeviction
CONF
keep mqtt_url "mqtts://bridge:$(cat mqtt_password)@mosquitto:8883?ca=/run/secrets/mqtt_ca${public:+&public=$public:8883}"
[ -e signing_key.pem ] || openssl genpkey -algorithm ed25519 -out signing_key.pem

if [ ! -e ca.crt ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=Phasegate MQTT authority" \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout ca.key -out ca.crt 2>/dev/null
fi
if [ ! -e server.crt ]; then
    names="DNS:mosquitto,DNS:localhost"
    case $public in
        "") ;;
        *[!0-9.]*) names="$names,DNS:$public" ;;
        *) names="$names,IP:$public" ;;
    esac
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=mosquitto" -keyout server.key -out server.csr 2>/dev/null
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' "$names" > server.ext
    openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 825 -extfile server.ext -out server.crt 2>/dev/null
    rm -f server.csr server.ext
fi

chmod 644 -- *
chmod 600 ca.key mqtt_password
echo "The secrets are in $(pwd). Keep a copy of signing_key.pem and secret_key in a safe place: gateways pin the first."
