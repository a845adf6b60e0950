#!/bin/sh
# Runs a command whose PostgreSQL password comes from a file: libpq reads PGPASSWORD, so it stands in no command line.
set -eu
PGPASSWORD=$(cat "$DATABASE_PASSWORD_FILE")
export PGPASSWORD
exec "$@"
