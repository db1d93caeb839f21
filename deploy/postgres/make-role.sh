#!/bin/sh
# The Postgres image runs this once, on a new database. PixelFlow's role owns its database but is not a superuser,
# because superusers bypass row-level security (docs/adr/0011-row-level-security.md).
set -eu

psql --set ON_ERROR_STOP=1 --no-psqlrc --quiet --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv password ROLE_PASSWORD
CREATE ROLE pixelflow LOGIN PASSWORD :'password';
CREATE DATABASE pixelflow OWNER pixelflow;
SQL
