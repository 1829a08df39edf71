"""One end's instruments: what sends, sees and keeps packets at either end of the path, whichever probe asks.

    recorder             what left this end and what came, row by row
    sending              fresh probe packets, one a call; probe_packets makes single ones of every kind for TTL-limited copies
    ttl_probe            the raw ICMP socket: TTL-limited copies, routers' answers, refusals
    ppp_call             LCP inside the enhanced GRE of one call
    passive_observer     what the wire shows of ports that other programs have
    host_firewall        what this host's own firewall keeps: it came to the wire and to no socket, or left a socket and not the host
    running_tunnels      that a tunnel with a profile's own identity is up on this machine; each protocol's search is in *_running
    processes, listeners the processes of this machine and the files that they name; whether something listens at an address
    run_capture, pcap    the packets of a run, and the file that they are handed over in

Nothing here asks a question of the path: that is for `vpnprobe.probes`, which use these instruments, as the server agent does.
"""
