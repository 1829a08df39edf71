#!/bin/sh
# Installs what the tests use of the system, where this is Debian or Ubuntu and we are root. Elsewhere the tests that need a missing
# program are skipped and say so; with CI=true they fail.
set -eu

# Every package whose programs the tests start, also where another of the list brings it along. tests/test_system_packages.py holds it.
PACKAGES="iproute2 nftables iptables ufw iputils-ping ethtool procps mount util-linux tcpdump nmap openssl openssh-client openssh-server
openvpn pptpd xl2tpd ppp strongswan-charon strongswan-swanctl libcharon-extra-plugins softether-vpnserver softether-vpncmd
wireguard-go wireguard-tools easy-rsa systemd chromium tshark gcc libc6-dev"

command -v apt-get >/dev/null 2>&1 || { echo "tests: no apt-get here: programs that are missing are skipped" >&2; exit 0; }
missing=""
for package in $PACKAGES; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "tests: not root, so what needs these is skipped:$missing" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# Services must not start by themselves: a VPN server of the host would take the ports that the tests use.
policy=/usr/sbin/policy-rc.d
made=""
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  made=yes
fi
trap '[ -z "$made" ] || rm -f "$policy"' EXIT
# ufw and iptables-persistent exclude each other: what is there stays.
for package in $missing; do
  apt-get install -y -qq --no-install-recommends --no-remove "$package" >/dev/null || echo "tests: $package cannot be installed" >&2
done
