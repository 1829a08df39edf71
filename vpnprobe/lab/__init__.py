"""Scenarios as files, and as real networks of namespaces with real VPN servers (Linux, root).

- `scenario`: the file format, the built-in files in `scenarios/`, `load`, `names`, `stripped`
- `tables`, `topologies`, `expectation`: reading a file's tables; the network that it describes; what must come out, and `shortfalls`
- `campaign`: random networks in virtual time, held against the truth about them
- `nftables`: a topology's filters, NATs, firewalls and losses as nft rulesets; pure
- `namespaces`: a topology built out of namespaces, veth pairs and those rulesets, and taken down again
- `daemons`, `ppp_stub`, `pki`: OpenVPN, pptpd, xl2tpd and strongSwan in the server's namespace
"""
