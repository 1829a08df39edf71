"""One follower a protocol: takes the frames of its conversations and gives what is to be seen in them.

`base` is what followers share: `CapturedMessage`, one packet or message before it is known which end is the client, and `Flow`, the counts
of one conversation. `tcp` and `udp` tell the protocols apart and hand frames on to `pptp`, `openvpn`, `l2tp`, `ike`, `ipsec` and
`wireguard`; `gre` and `ipsec` take the IP protocols that are theirs. The tables are those of `vpnprobe.conversations`.
"""
