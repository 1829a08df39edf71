"""The simulated network: real IPv4 packets between two hosts, in virtual time, from one seed.

`run_virtual` runs a coroutine without waiting, `SimulatedNetwork(topology, seed=...).stack(CLIENT)` is what a probe gets.

    clock     virtual time and the queue of events
    links     delay, loss, rate, MTU
    router    the order of things in a router: filters, conntrack, nat, firewall, replies
    host      an end host; tcp is its TCP, stack its `NetworkStack`
    network   builds the chain

Limits: IPv4 only; nothing is fragmented or reassembled; a host does not learn a path MTU for UDP.
"""

from vpnprobe.transports.simulated.clock import Stalled, VirtualEventLoop, run_virtual
from vpnprobe.transports.simulated.network import SimulatedNetwork
from vpnprobe.transports.simulated.stack import SimulatedStack

__all__ = ["SimulatedNetwork", "SimulatedStack", "Stalled", "VirtualEventLoop", "run_virtual"]
