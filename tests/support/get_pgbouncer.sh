#!/bin/sh
# Downloads Debian's PgBouncer and its libraries to .tools/ for the test of pooled connections. It needs no root and installs nothing.
#
# Without apt or network it prints the reason and succeeds; the test is then skipped.
set -u
cd "$(dirname "$0")/../.."

if command -v pgbouncer >/dev/null || [ -x .tools/pgbouncer/usr/sbin/pgbouncer ]; then
    exit 0
fi
draft=$PWD/.tools/pgbouncer-draft
rm -rf "$draft"
mkdir -p "$draft/unpacked"
trap 'rm -rf "$draft"' EXIT
cd "$draft" || exit 1
for package in pgbouncer libevent-2.1-7 libc-ares2; do
    # The sandbox's user could not enter this folder.
    apt-get --quiet --quiet -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o APT::Sandbox::User= download "$package" || {
        echo "No PgBouncer: apt-get can't download $package. Its test is skipped; any pgbouncer on PATH will do." >&2
        exit 0
    }
done
for file in *.deb; do
    dpkg -x "$file" unpacked || exit 0
done
cd ../..
rm -rf .tools/pgbouncer
mv "$draft/unpacked" .tools/pgbouncer
