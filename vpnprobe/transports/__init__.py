"""The only ways to a network: sockets, raw IP, TLS, ssh, and the simulated network.

`stack.NetworkStack` is what probes and agents see; they cannot tell the real one (`system`) from the simulated one (`simulated`).
"""
