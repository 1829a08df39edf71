"""Bytes to frozen messages and back, one file a protocol.

Every message is a frozen dataclass with `encode() -> bytes` and a classmethod `decode(data) -> Self`. Decoders are total: any bytes
give a message or `vpnprobe.errors.DecodeError`, which names the field and the offset. `decode(m.encode()) == m` holds for every message.
No I/O, no clock, no randomness, and the standard library alone: the server agent runs on these modules.
"""
