"""vpnprobe: which VPN protocol works between this client and that server, how we know, and what stops the others.

The map, from the bottom up; each package imports only from those named before it (import-linter holds this):

- `errors`: the three exceptions and the exit statuses that they lead to
- `wire`: bytes to frozen messages and back, one file a protocol
- `observations`: the one tidy schema of what was measured and what was concluded
- `conversations`: sans-I/O state machines, one role-neutral table a protocol
- `evidence`: what both ends saw of each packet, joined into observations
- `transports`: the only ways to a network: sockets, raw IP, TLS, ssh, and the simulated network
- `probes`: what is measured, one file a question
- `agents`, `capture`: the paired ends of a live run; offline analysis
- `rules`: observations to verdicts to a recommendation
- `report`: HTML and terminal text
- `lab`: scenarios as simulated networks and as network namespaces
- `cli`: commands: parse, call one function, print
"""

__version__ = "0.1.0"
