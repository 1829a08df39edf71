"""A host's own firewall as it is found: who manages it, which packets it drops, and the command that lets one kind of them through.

Read alone: nothing is changed. Standard library alone, since the server agent reads its own host's.

- `detect`, `state`, `marks`, `ufw_rules`: who manages the firewall, and what is loaded
- `model`, `nft_reader`, `iptables_reader`: rules of either filter in one form, and where they drop a packet
- `mending`: the commands that let a kind of packets through, in the words of whoever manages the firewall

What a set-up changes of it is the matter of `vpnprobe.deployment.firewall`.
"""
