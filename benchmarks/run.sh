#!/bin/sh
# All benchmarks; the one in namespaces needs root. Usage: run.sh FOLDER-OF-PROGRAMS
set -eu
bin=$1
"$bin/python" benchmarks/startup.py
if [ "$(id -u)" -eq 0 ]; then
  "$bin/python" benchmarks/against_nmap.py
else
  echo "benchmarks/against_nmap.py needs root (network namespaces): skipped"
fi
