"""The simulated network: real IPv4 packets between two doors, in virtual time, from one seed.

`run_virtual` runs a coroutine without waiting, `SimulatedNetwork(topology, seed=...).door(CLIENT)` is what a probe gets.

    clock     virtual time and the queue of events
    links     delay, loss, rate, MTU
    router    the order of things in a router: filters, conntrack, nat, firewall, replies
    host      an end host; tcp is its TCP, door its `Door`
    network   builds the chain

Limits: IPv4 only; nothing is fragmented or reassembled; a host does not learn a path MTU for UDP.
"""

from vpnprobe.transports.simulated.clock import Stalled, VirtualEventLoop, run_virtual
from vpnprobe.transports.simulated.door import SimulatedDoor
from vpnprobe.transports.simulated.network import SimulatedNetwork

__all__ = ["SimulatedDoor", "SimulatedNetwork", "Stalled", "VirtualEventLoop", "run_virtual"]
