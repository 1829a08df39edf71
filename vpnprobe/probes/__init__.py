"""What is measured: one file a check, and what the checks share.

`catalogue` lists all probes. `context` is what a probe is given: the path, the other end's help, and how much more it takes to be sure.

    tcp, udp, gre, esp, pptp, l2tp, ike, openvpn    the probes
    conversing                                      carries a conversation, afresh until its outcome is sure
    sending, crafting, call, stepping               single packets: fresh, TTL-limited, inside a PPTP call
    recorder, witnessing, keeping, pcap             what one end saw: at its sockets, of other programs' ports, on its wire, as a file

Probes run unchanged on real and simulated networks: they see `transports` only. None of them decides what its rows mean.
"""
