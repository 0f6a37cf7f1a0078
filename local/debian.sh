#!/bin/sh
# Installs the Debian packages that only some tests need: the browser, a Postgres 15 with the real pg_cron and plpgsql_check, and the
# pooler PgBouncer.
# Without root or sudo, or on another system, it only prints the missing packages: those tests are skipped.
set -eu

packages="chromium-headless-shell postgresql-15 postgresql-15-cron postgresql-15-plpgsql-check pgbouncer"

command -v dpkg-query >/dev/null 2>&1 || { echo "Not a Debian system: tests that need one of $packages are skipped."; exit 0; }

missing=""
for package in $packages; do
    dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo --non-interactive true 2>/dev/null; then
    as_root="sudo --non-interactive"
else
    echo "Not root and no sudo without a password: tests that need$missing are skipped."
    exit 0
fi

# The server's package would make and start a cluster of its own; only its programs are wanted.
settings=/etc/postgresql-common/createcluster.d
$as_root mkdir -p "$settings"
echo "create_main_cluster = false" | $as_root tee "$settings/switchboard.conf" >/dev/null
trap '$as_root rm -f "$settings/switchboard.conf"' EXIT

echo "Installing from Debian:$missing …"
$as_root apt-get update -qq || true
for package in $missing; do
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$package" >/dev/null ||
        echo "$package is not available here: tests that need it are skipped."
done
