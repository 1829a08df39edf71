"""What is measured: one file a check, and what the checks share.

`catalogue` lists all probes. `context` is what a probe is given: the path, the other end's help, and how much more it takes to be sure.

    conversing    carries a client's conversation, afresh until its outcome is sure
    the others    one probe each, or a part of one

The instruments that they use are in `vpnprobe.endpoint`. Probes run unchanged on real and simulated networks: they see `transports` only.
None of them decides what its rows mean.
"""
