"""Offline analysis: what captures of either end, or of both, say about the path.

The map, in the order in which bytes become verdicts:

- `pipes`, `sources`: a file, standard input, pipe or device as bounded bytes, with limits on silence, gzip and zstd taken off
- `pcap`, `pcapng`, `linktypes`: records of a capture file, and the IP packet within a link-layer frame
- `files`: `read_packets`, which recognises the format (the writer is `vpnprobe.endpoint.pcap`)
- `frames`: one IP packet as typed fields, `Frame`; every later step sees frames only
- `printed`, `text_encoding`: the same frames from what tcpdump, tshark and others printed, as people paste it
- `reading`: one input of any format, read to its end
- `streams`: TCP segments, put in order by `vpnprobe.conversations.tcp_reassembly`
- `followers`: one a protocol; what is to be seen in its frames, and its conversations, with the trackers of `vpnprobe.conversations`.
  `followers.registry` is the written list of them, which everything else here goes through
- `account`, `numbering`: what the messages of one conversation prove of each other, and what is missing of packets that are counted
- `ends`: which address is the client, and at which end the capture was taken
- `decode`: frames to `vpnprobe.evidence.packet_records.PacketRecord` and `ConversationSummary`
- `host_pairs`, `paths`: what was seen by pair of hosts, and which pairs a capture is about
- `sides`, `joining`: one end's captures, and which path of the one end is which of the other
- `recording`, `swapping`, `two_captures`: what is said of two captures before they are compared: one recording, swapped, different hosts
- `proofs`, `gaps`: what one end's capture lost itself, and what both say of numbers that one of them lacks
- `background`, `placing`, `host_firewall`, `data_records`: loss of what passes, TTL-limited copies, what a host's own firewall keeps
  from its programs, and what is proved of data packets
- `analysis`: captures in, observations and conversations out; verdicts are for `vpnprobe.rules`

Nothing here opens a network. A hostile length, a truncated file or an endless one ends the reading, never the process.
"""
