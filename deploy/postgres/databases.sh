#!/bin/sh
# Run by the Postgres image when its volume is empty: one database and one role for each service. A role can connect to
# its own database only. `deploy/provision.py` does the same for the embedded stack.
set -eu

for service in enrolment feedback notifications portal; do
    variable="$(echo "$service" | tr '[:lower:]' '[:upper:]')_DB_PASSWORD"
    eval "password=\${$variable:?}"
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
        --set role="medled_$service" --set password="$password" <<'SQL'
create role :"role" login password :'password';
create database :"role" owner :"role";
revoke connect on database :"role" from public;
SQL
done
