#!/bin/sh
# Starts a PostgreSQL with the user, the password and the database that PGUSER, PGPASSWORD and PGDATABASE name.
set -eu
export PATH="/opt/postgresql/bin:$PATH"
if [ ! -d /data/db ]; then
  rm -rf /data/new # of a start that was interrupted
  (umask 077; printf '%s' "$PGPASSWORD" >/tmp/password)
  initdb --pgdata=/data/new --username="$PGUSER" --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8 >/dev/null
  rm /tmp/password
  echo 'host all all all scram-sha-256' >>/data/new/pg_hba.conf
  echo "CREATE DATABASE $PGDATABASE" | postgres --single -D /data/new postgres >/dev/null
  mv /data/new /data/db
fi
exec postgres -D /data/db -c listen_addresses='*' -c unix_socket_directories=/tmp
