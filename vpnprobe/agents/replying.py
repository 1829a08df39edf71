"""Answers a request of a client: with what the answer shows of the two clocks, of the line, and of which copy it answers."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

from vpnprobe.agents.control import Message, encode_frame
from vpnprobe.agents.sessions import ClientSession
from vpnprobe.transports.stack import ConnectError, TcpStream

PIECE_BYTES: Final = 1024
"""Of an answer that leaves at a time."""


async def reply(stream: TcpStream, session: ClientSession, message: Message, answer: Mapping[str, object]) -> None:
    """Sends the answer to `message` over the connection that it came on; one that is gone is none of ours."""
    at = session.stack.now() - session.recorder.began
    head = {"answers": int(message["number"]), "asked": message.get("asked"), "segments": stream.segments(), "at": at}
    frame = encode_frame({**head, **answer})
    # One after another, in pieces: on a slow line a long answer at once would take what the probes need.
    async with session.writing.setdefault(stream, asyncio.Lock()):
        with contextlib.suppress(ConnectError):
            for start in range(0, len(frame), PIECE_BYTES):
                if start:
                    await asyncio.sleep(session.pacer.takes_s(PIECE_BYTES))
                session.pacer.charge(len(piece := frame[start : start + PIECE_BYTES]))
                await stream.send(piece)
