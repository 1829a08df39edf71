#!/usr/bin/env python3
"""Rebuilds seed-client.pcap and seed-server.pcap from the tcpdump text beside them, packet by packet.

Everything that a line of text says goes into its packet. What the text does not say is filled in plainly; each such value is a constant
here and is listed in README.md. The result depends on the text alone, so a second run gives the same bytes.

    python pcaps/rebuild_seed.py
"""

import re
import struct
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from vpnprobe.wire.gre import EnhancedGre
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, mss_option
from vpnprobe.wire.ppp import (
    AddressAndControlFieldCompression,
    AsyncControlCharacterMap,
    AuthenticationProtocol,
    ConfigureRequest,
    LcpOption,
    MagicNumber,
    ProtocolFieldCompression,
    lcp_frame,
)
from vpnprobe.wire.pptp import (
    ControlMessage,
    OutgoingCallReply,
    OutgoingCallRequest,
    SetLinkInfo,
    StartControlConnectionReply,
    StartControlConnectionRequest,
)

HERE: Final = Path(__file__).parent

# What the text does not say.
SERVER: Final = IPv4Address("203.0.113.5")
"""Stands for `sip`."""
DATES: Final = {"seed-client": date(2015, 4, 23), "seed-server": date(2015, 4, 24)}
CHINA_STANDARD_TIME: Final = timezone(timedelta(hours=8))
TTL: Final = 64
LINKTYPE_RAW: Final = 101
"""Packets begin with the IP header: there are no link addresses to make up."""
SNAP_LENGTH: Final = 65535
MSCHAPV2: Final = AuthenticationProtocol(0xC223, b"\x81")
CLIENT_OPTIONS: Final[tuple[LcpOption, ...]] = (
    AsyncControlCharacterMap(0),
    MagicNumber(1),
    ProtocolFieldCompression(),
    AddressAndControlFieldCompression(),
)
SERVER_OPTIONS: Final[tuple[LcpOption, ...]] = (
    AsyncControlCharacterMap(0),
    MSCHAPV2,
    MagicNumber(2),
    ProtocolFieldCompression(),
    AddressAndControlFieldCompression(),
)

Endpoint = tuple[IPv4Address, int]

LINE: Final = re.compile(r"(?P<time>\S+) IP (?P<source>\S+)\s+> (?P<destination>\S+): (?P<what>.*)")
TCP: Final = re.compile(
    r"Flags \[(?P<flags>\S+)\], (?:seq (?P<seq>\d+)(?::\d+)?, )?(?:ack (?P<ack>\d+), )?win (?P<win>\d+), "
    r"(?:options \[(?P<options>.*?)\], )?length (?P<length>\d+)(?:: pptp (?P<pptp>.*))?"
)
GRE: Final = re.compile(
    r"GREv1, call (?P<call>\d+), seq (?P<seq>\d+),(?: ack (?P<ack>\d+),)? length (?P<length>\d+): "
    r"LCP, Conf-Request \(0x01\), id (?P<id>\d+), length (?P<lcp>\d+)"
)
FLAGS: Final = {"S": TcpFlag.SYN, "F": TcpFlag.FIN, "P": TcpFlag.PSH, ".": TcpFlag.ACK}
PORTS: Final = {"pptp": 1723}
ANALOG_AND_ASYNC: Final = {"": 0, "A": 1, "E": 3, "Any": 3}
"""tcpdump's letters for the capability and type bits."""


@dataclass(frozen=True, slots=True)
class TcpLine:
    """What a line says about a TCP packet. Sequence and acknowledgment numbers as printed; None: not printed."""

    source: Endpoint
    destination: Endpoint
    flags: TcpFlag
    sequence: int | None
    acknowledgment: int | None
    window: int
    options: bytes
    length: int
    payload: bytes

    @classmethod
    def read(cls, source: Endpoint, destination: Endpoint, said: re.Match[str]) -> "TcpLine":
        flags = TcpFlag(0)
        for letter in said["flags"]:
            flags |= FLAGS[letter]
        payload = control_message(said["pptp"]).encode() if said["pptp"] else b""
        number = {key: None if said[key] is None else int(said[key]) for key in ("seq", "ack")}
        options = tcp_options(said["options"] or "")
        return cls(source, destination, flags, number["seq"], number["ack"], int(said["win"]), options, int(said["length"]), payload)


class Numbering:
    """tcpdump's numbering of one TCP connection, backwards: from what it printed to the numbers in the packets.

    It prints the numbers of a SYN, and of the first packet that it sees, as they are, and counts from them afterwards. Without a handshake
    in the text the first sender's bytes are taken to begin at 0.
    """

    def __init__(self) -> None:
        self._base: dict[Endpoint, int] = {}
        self._following: dict[Endpoint, int] = {}
        """The number after the last byte that was seen: that of an acknowledgment alone, whose line has none."""

    def numbers(self, line: TcpLine) -> tuple[int, int]:
        """The sequence and acknowledgment numbers of the packet that `line` was printed from."""
        if not self._base or TcpFlag.SYN in line.flags:
            self._base[line.source] = line.sequence or 0
            self._following[line.source] = line.sequence or 0
            if line.acknowledgment is not None:
                self._base[line.destination] = line.acknowledgment - 1
                self._following.setdefault(line.destination, line.acknowledgment)
            sequence, acknowledgment = line.sequence or 0, line.acknowledgment or 0
        else:
            base = self._base[line.source]
            sequence = self._following[line.source] if line.sequence is None else base + line.sequence
            acknowledgment = self._base[line.destination] + (line.acknowledgment or 0)
        ends = TcpFlag.SYN in line.flags or TcpFlag.FIN in line.flags
        self._following[line.source] = sequence + line.length + ends
        return sequence, acknowledgment


def endpoint(text: str) -> Endpoint:
    """`sip`, `sip.pptp`, `10.10.5.251` or `10.10.5.251.60129`; the port is 0 where there is none."""
    host, _, port = text.partition(".") if text.startswith("sip") else _split_numeric(text)
    address = SERVER if host == "sip" else IPv4Address(host)
    return address, PORTS.get(port) or int(port or 0)


def _split_numeric(text: str) -> tuple[str, str, str]:
    parts = text.split(".")
    return ".".join(parts[:4]), ".", "".join(parts[4:])


def tcp_options(text: str) -> bytes:
    """In the order printed, padded with zero bytes (end of list) to a multiple of 4."""
    encoded = b""
    for option in text.split(",") if text else ():
        match option.split():
            case ["mss", size]:
                encoded += mss_option(int(size))
            case ["nop"]:
                encoded += b"\x01"
            case ["wscale", shift]:
                encoded += bytes((3, 3, int(shift)))
            case ["sackOK"]:
                encoded += b"\x04\x02"
            case ["TS", "val", value, "ecr", echo]:
                encoded += b"\x08\x0a" + struct.pack("!II", int(value), int(echo))
            case ["eol"]:
                encoded += b"\x00"
            case _:
                raise ValueError(f"TCP option {option!r}")
    return encoded + bytes(-len(encoded) % 4)


def control_message(text: str) -> ControlMessage:
    """From tcpdump's `CTRL_MSGTYPE=NAME FIELD(VALUE) ...`."""
    name, _, rest = text.removeprefix("CTRL_MSGTYPE=").partition(" ")
    said = dict(re.findall(r"(\w+)\(([^)]*)\)", rest))

    def number(key: str) -> int:
        return int(said[key], 0)

    match name:
        case "SCCRQ":
            return StartControlConnectionRequest(
                framing_capabilities=ANALOG_AND_ASYNC[said["FRAME_CAP"]],
                bearer_capabilities=ANALOG_AND_ASYNC[said["BEARER_CAP"]],
                maximum_channels=number("MAX_CHAN"),
                firmware_revision=number("FIRM_REV"),
                host_name=said["HOSTNAME"].encode(),
                vendor_name=said["VENDOR"].encode(),
            )
        case "SCCRP":
            return StartControlConnectionReply(
                result_code=number("RESULT_CODE"),
                error_code=number("ERR_CODE"),
                framing_capabilities=ANALOG_AND_ASYNC[said["FRAME_CAP"]],
                bearer_capabilities=ANALOG_AND_ASYNC[said["BEARER_CAP"]],
                maximum_channels=number("MAX_CHAN"),
                firmware_revision=number("FIRM_REV"),
                host_name=said["HOSTNAME"].encode(),
                vendor_name=said["VENDOR"].encode(),
            )
        case "OCRQ":
            return OutgoingCallRequest(
                call_id=number("CALL_ID"),
                call_serial_number=number("CALL_SER_NUM"),
                minimum_bps=number("MIN_BPS"),
                maximum_bps=number("MAX_BPS"),
                bearer_type=ANALOG_AND_ASYNC[said["BEARER_TYPE"]],
                framing_type=ANALOG_AND_ASYNC[said["FRAME_TYPE"]],
                receive_window_size=number("RECV_WIN"),
                processing_delay=number("PROC_DELAY"),
                phone_number_length=number("PHONE_NO_LEN"),
                phone_number=said["PHONE_NO"].encode(),
                subaddress=said["SUB_ADDR"].encode(),
            )
        case "OCRP":
            return OutgoingCallReply(
                call_id=number("CALL_ID"),
                peer_call_id=number("PEER_CALL_ID"),
                result_code=number("RESULT_CODE"),
                error_code=number("ERR_CODE"),
                cause_code=number("CAUSE_CODE"),
                connect_speed=number("CONN_SPEED"),
                receive_window_size=number("RECV_WIN"),
                processing_delay=number("PROC_DELAY"),
                physical_channel_id=number("PHY_CHAN_ID"),
            )
        case "SLI":
            return SetLinkInfo(number("PEER_CALL_ID"), number("SEND_ACCM"), number("RECV_ACCM"))
        case _:
            raise ValueError(f"control message {name!r}")


def tcp_packet(line: TcpLine, numbering: Numbering) -> bytes:
    """The TCP segment. Raises ValueError where the payload has not the length that was printed."""
    if len(line.payload) != line.length:
        raise ValueError(f"the payload has {len(line.payload)} bytes, the line says {line.length}")
    sequence, acknowledgment = numbering.numbers(line)
    (source, source_port), (destination, destination_port) = line.source, line.destination
    segment = TcpSegment(source_port, destination_port, sequence, acknowledgment, line.flags.value, line.window, line.options, line.payload)
    return segment.encode(source, destination)


def gre_packet(source: IPv4Address, said: re.Match[str]) -> bytes:
    """The GRE packet. tcpdump prints an LCP length 2 larger than the field: it counts the PPP protocol field too."""
    options = SERVER_OPTIONS if source == SERVER else CLIENT_OPTIONS
    request = ConfigureRequest(int(said["id"]), options)
    acknowledgment = None if said["ack"] is None else int(said["ack"])
    packet = EnhancedGre(int(said["call"]), int(said["seq"]), acknowledgment, lcp_frame(request)).encode()
    if (len(packet), len(request.encode())) != (int(said["length"]), int(said["lcp"]) - 2):
        raise ValueError(f"{len(packet)} bytes of GRE with {len(request.encode())} of LCP do not fit the line")
    return packet


def rebuild(text: str, day: date) -> bytes:
    """The capture file that tcpdump printed `text` from, taken on `day` in China. Raises ValueError for a line that cannot be read."""
    capture = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, SNAP_LENGTH, LINKTYPE_RAW)
    numbering = Numbering()
    for number, text_line in enumerate(text.splitlines(), start=1):
        line = LINE.fullmatch(text_line)
        if line is None:
            raise ValueError(f"line {number} is no packet: {text_line!r}")
        source, destination = endpoint(line["source"]), endpoint(line["destination"])
        if said := TCP.fullmatch(line["what"]):
            protocol, payload = IpProtocol.TCP, tcp_packet(TcpLine.read(source, destination, said), numbering)
        elif said := GRE.fullmatch(line["what"]):
            protocol, payload = IpProtocol.GRE, gre_packet(source[0], said)
        else:
            raise ValueError(f"line {number} cannot be read: {text_line!r}")
        packet = IPv4Packet(source[0], destination[0], protocol, TTL, identification=number, payload=payload).encode()
        at = datetime.combine(day, time.fromisoformat(line["time"]), CHINA_STANDARD_TIME)
        capture += struct.pack("<IIII", int(at.timestamp()), at.microsecond, len(packet), len(packet)) + packet
    return capture


def main() -> None:
    for name, day in DATES.items():
        (HERE / f"{name}.pcap").write_bytes(rebuild((HERE / f"{name}.txt").read_text(encoding="ascii"), day))


if __name__ == "__main__":
    main()
