"""Offline analysis: what captures of either end, or of both, say about the path.

The map, in the order in which bytes become verdicts:

- `sources`: a file, pipe or device as bounded bytes, with gzip and zstd taken off
- `pcap`, `pcapng`, `linktypes`: records of a capture file, and the IP packet within a link-layer frame
- `files`: `read_packets`, which recognises the format; `encode_pcap`, the writer
- `frames`: one IP packet as typed fields, `Frame`; every later step sees frames only
- `tcpdump_text`: the same frames from tcpdump's printed text
- `streams`: TCP segments put in order
- `ends`: which address is the client, and at which end the capture was taken
- `decode`: frames to `vpnprobe.evidence.sightings.Sighting`
- `conversations`: frames to `ConversationSummary`, with the trackers of `vpnprobe.conversations`
- `analysis`: files in, `vpnprobe.observations.schema.Result` out

Nothing here opens a network. A hostile length, a truncated file or an endless one ends the reading, never the process.
"""
