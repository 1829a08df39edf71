"""What tcpdump and its relatives print about a packet behind its addresses, turned back into the bytes of an IP payload.

Only what is printed is filled in. Where a line tells a length and not the bytes, the payload is left out, as in a capture with a short
snapshot length. What a program does not print and its readers need to tell conversations apart is made up from the addresses: IKE's SPIs.

- `base`: what the readers share: addresses, fields, ports
- `tcp`, `udp`, `ip`, `icmp`: lines of those protocols; `messages`: VPN messages made of what is known of them
- `table`: which reader is for which line
"""
