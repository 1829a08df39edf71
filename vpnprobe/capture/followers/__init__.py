"""One follower a protocol: takes the frames of its conversations and gives what is to be seen in them.

`registry` is the written list: which IP protocols, ports and first bytes are whose. `base` is what followers share: `CapturedMessage`, one
packet or message before it is known which end is the client, and `Flow`, the counts of one conversation. `tcp` and `udp` offer connections
and datagrams to the list in its order, and name no protocol. The rest is one file a protocol, on the tables of `vpnprobe.conversations`.
"""
