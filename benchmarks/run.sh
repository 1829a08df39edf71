#!/bin/sh
# All benchmarks; those in namespaces need root. Usage: run.sh FOLDER-OF-PROGRAMS
set -eu
bin=$1
"$bin/python" benchmarks/startup.py
if [ "$(id -u)" -eq 0 ]; then
  "$bin/python" benchmarks/against_other_tools.py
  "$bin/python" benchmarks/openvpn_connect.py
  "$bin/python" benchmarks/wireguard_connect.py
  "$bin/python" benchmarks/provision_proof.py
  "$bin/python" benchmarks/many_clients.py
else
  echo "benchmarks/against_other_tools.py, openvpn_connect.py, wireguard_connect.py, provision_proof.py and many_clients.py need root" \
    "(network namespaces): skipped"
fi
