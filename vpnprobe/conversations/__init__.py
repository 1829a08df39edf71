"""Sans-I/O state machines, one file a protocol, each around one role-neutral transition table.

A table maps (state, sender, message type) to a state. Three riders move along it: the initiator (live client), the responder (server
agent) and the tracker (captures, and the record that the other two keep). An unexpected message is recorded as a step with
`expected=False`; it never raises. Time and entropy come in as arguments. Standard library alone.
"""
