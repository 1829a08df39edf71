#!/bin/sh
# Runs all tests: what needs no real network in parallel, then what does, two files at a time, so that load does not pass for loss.
# Usage: run-tests.sh FOLDER-OF-PROGRAMS
set -eu
bin=$1
real="root or real or browser or notebook"
rm -f .coverage .coverage.*
"$bin/coverage" erase
"$bin/pytest" -n auto --cov --cov-report= -m "not ($real)"
"$bin/pytest" -n 2 --dist loadfile --cov --cov-append --cov-report= -m "$real" -rs
"$bin/coverage" report --skip-covered --sort=cover | tail -n 25
"$bin/coverage" report --include='vpnprobe/wire/*,vpnprobe/conversations/*,vpnprobe/rules/*' --fail-under=100 >/dev/null || {
  echo "coverage of wire, conversations and rules fell below 100 %:" >&2
  "$bin/coverage" report --include='vpnprobe/wire/*,vpnprobe/conversations/*,vpnprobe/rules/*' --skip-covered --show-missing >&2
  exit 1
}
