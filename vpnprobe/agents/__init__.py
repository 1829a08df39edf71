"""The paired ends of a live run.

- `token`: the secret and the certificate's fingerprint that pair a client with a server
- `control`: the versioned, length-checked messages between the two, and the client's end of the channel, which outlives stalled connections
- `records`: packet records, refusals and traces as messages
- `server`, `sessions`, `responders`: the server agent; `remote` starts it at the other end of an ssh connection
- `pairing`: both over TLS; `simulation`: both in a simulated network
- `client`: a run from pairing to the judged observations; `peer`: the server agent as its probes see it; `tracing`: where packets vanish
"""
