#!/bin/sh
# Runs all tests: what coverage is demanded of first; then what waits for real servers more than it computes, three at a time, and beside
# it, when the processor has nothing else to do, what needs no real network; then whole scenarios in namespaces, two at a time, so that load
# does not pass for loss.
# Coverage is measured where it is demanded, since it doubles the time of what is simulated; with `whole` it is measured everywhere.
# Usage: run-tests.sh FOLDER-OF-PROGRAMS [whole]
set -eu
bin=$1
real="root or real or browser or notebook"
demanded="tests/wire tests/conversations tests/rules"
covered="--cov --cov-append --cov-report="
rest=""
for folder in $demanded; do rest="$rest --ignore=$folder"; done
everywhere=""
[ "${2:-}" = whole ] && everywhere=$covered
# Hundreds of tests start the program: it need not be compiled for each.
unset PYTHONDONTWRITEBYTECODE
rm -f .coverage .coverage.*
told=$(mktemp)
beside=
trap 'rm -f "$told"; [ -z "$beside" ] || kill "$beside" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
"$bin/coverage" erase
# shellcheck disable=SC2086
{
  "$bin/pytest" -n auto --dist worksteal $covered -m "not ($real)" $demanded
  nice -n 10 "$bin/pytest" -n auto --dist worksteal $everywhere -m "not ($real)" $rest >"$told" 2>&1 &
  beside=$!
  "$bin/pytest" -n 3 --dist loadfile $everywhere -m "$real" -rs --ignore=tests/scenarios
  wait "$beside" || { cat "$told"; exit 1; }
  beside=
  cat "$told"
  "$bin/pytest" -n 2 --dist worksteal $everywhere -m "$real" -rs tests/scenarios
}
[ -z "$everywhere" ] || "$bin/coverage" report --skip-covered --sort=cover | tail -n 25
"$bin/coverage" report --include='vpnprobe/wire/*,vpnprobe/conversations/*,vpnprobe/rules/*' --fail-under=100 >/dev/null || {
  echo "coverage of wire, conversations and rules fell below 100 %:" >&2
  "$bin/coverage" report --include='vpnprobe/wire/*,vpnprobe/conversations/*,vpnprobe/rules/*' --skip-covered --show-missing >&2
  exit 1
}
