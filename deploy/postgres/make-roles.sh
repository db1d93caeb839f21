#!/bin/sh
# The Postgres image runs this once, on a new database. The role pixelflow owns the database and migrates it. API, controller
# and worker connect as roles that own nothing; `pixelflow migrate` sets their rights. None is a superuser, because superusers
# bypass row-level security (docs/adr/0011-row-level-security.md).
set -eu

psql --set ON_ERROR_STOP=1 --no-psqlrc --quiet --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv owner OWNER_PASSWORD
\getenv api API_PASSWORD
\getenv controller CONTROLLER_PASSWORD
\getenv worker WORKER_PASSWORD
CREATE ROLE pixelflow LOGIN PASSWORD :'owner';
CREATE ROLE pixelflow_api LOGIN PASSWORD :'api';
CREATE ROLE pixelflow_controller LOGIN PASSWORD :'controller';
CREATE ROLE pixelflow_worker LOGIN PASSWORD :'worker';
CREATE DATABASE pixelflow OWNER pixelflow;
SQL
