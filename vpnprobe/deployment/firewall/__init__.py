"""The firewall's part of a plan: what makes the VPN's packets pass, and takes itself back exactly. `vpnprobe.firewall` reads what is there.

- `needs`: what has to pass, as values and as packets
- `accepts`: which accepts are lacking, and where
- `nft_steps`, `iptables_steps`, `ufw`, `ufw_steps`: steps for each
- `by_hand`: what to run where a manager is not supported
- `planning`: `firewall_steps`, which puts it together
"""
