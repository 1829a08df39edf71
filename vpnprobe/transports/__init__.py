"""The only doors to a network: sockets, raw IP, TLS, ssh, and the simulated network.

`door.Door` is what probes and agents see; they cannot tell the real one (`system`) from the simulated one (`simulated`).
"""
