"""Many random networks, each measured in virtual time and held against the truth about it.

- `draw`: a random topology out of features that networks have; `scenario_text` writes one as a scenario file
- `packet_kinds`: what the checks send, message by message: the protocols' own formats, as far as a filter can tell them apart
- `crossing`: what one kind of packet meets on its way through a topology
- `truth`: what must be said of each check; `protocol_truth`: of each protocol. Made of the topology alone, never of what probes saw
- `comparing`: a result document held against the truth; `tally`: how often what was said; `matrix`: that as text
- `running`: draws that are measured and compared, in one process or several; `shrink`: the smallest network that is still judged wrongly
"""
