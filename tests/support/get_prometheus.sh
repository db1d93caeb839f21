#!/bin/sh
# Downloads Debian's promtool and prometheus to .tools/ for the tests of alerts and dashboard. It needs no root, installs
# nothing and does not change apt's package lists.
#
# Without apt or network it prints the reason and succeeds; the tests that need the tools are then skipped.
set -u
cd "$(dirname "$0")/../.."

if command -v promtool >/dev/null && command -v prometheus >/dev/null; then
    exit 0
fi
if [ -x .tools/prometheus/usr/bin/promtool ] && [ -x .tools/prometheus/usr/bin/prometheus ]; then
    exit 0
fi
give_up() {
    echo "No promtool and prometheus: $1. The tests that need them are skipped; any on PATH will do." >&2
    exit 0
}
command -v apt-get >/dev/null && command -v dpkg >/dev/null || give_up "this is no Debian, and neither is on PATH"

draft=$PWD/.tools/draft
rm -rf "$draft"
mkdir -p "$draft/lists/partial" "$draft/archives/partial"
trap 'rm -rf "$draft"' EXIT

# The sandbox's user could not enter this folder.
apt() {
    apt-get --quiet --quiet -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o APT::Sandbox::User= "$@" 2>>"$draft/why"
}
apt_with_own_lists() {
    apt -o "Dir::State::Lists=$draft/lists" -o "Dir::Cache=$draft" "$@"
}
cd "$draft" || exit 1
# The system's lists may be missing, or name a version that is no longer there.
apt download prometheus ||
    { apt_with_own_lists update && apt_with_own_lists download prometheus; } ||
    give_up "apt-get can't download Debian's package ($(tail -n 1 "$draft/why"))"
cd ../..
dpkg -x "$draft"/prometheus_*.deb "$draft/unpacked" || give_up "the package can't be unpacked"
rm -rf .tools/prometheus
mv "$draft/unpacked" .tools/prometheus
