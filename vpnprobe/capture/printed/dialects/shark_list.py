"""tshark's list of packets, and Wireshark's as text or CSV: number, time, source, destination, protocol, length and a sentence.

The sentence names the message and few of its fields; ports are printed for bare TCP and UDP alone. So the message is made of what is named,
and what is not printed is taken from earlier lines (`shark_flows`) or left at zero.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from vpnprobe.capture.printed.clocks import STAMP, stamp_of
from vpnprobe.capture.printed.contents import messages
from vpnprobe.capture.printed.contents.base import NOWHERE, Endpoints, cut, datagram, number, port_number
from vpnprobe.capture.printed.contents.ip import enhanced
from vpnprobe.capture.printed.contents.tcp import encoded
from vpnprobe.capture.printed.contents.udp import L2TP_3_CONTROL
from vpnprobe.capture.printed.dialects.base import Dialect, Session
from vpnprobe.capture.printed.dialects.shark_flows import Flows
from vpnprobe.capture.printed.packets import Beginning, Content, NoPacket, PrintedPacket, Read, Reading, Unread
from vpnprobe.wire import ikev1, ikev2, pptp
from vpnprobe.wire.ip import IpProtocol, TcpFlag, TcpSegment
from vpnprobe.wire.isakmp import INITIATOR_FLAG, RESPONSE_FLAG
from vpnprobe.wire.l2tp import PORT as L2TP_PORT
from vpnprobe.wire.l2tp import DataMessage
from vpnprobe.wire.openvpn import Opcode

ETHERNET_IP: Final = 34
"""Bytes of a frame before the payload of IP: Ethernet is taken, since the length of the whole frame is printed."""
ETHERNET_IP_UDP: Final = 42
TCP_HEADER: Final = 20
LINE_LIMIT: Final = 4096

_ADDRESS: Final = r"[\w.:%-]{2,64}"
_LIST: Final = re.compile(
    rf"(?:^|[\s>|*:\]\"'-])(?P<number>\d{{1,9}})[\s|]{{1,16}}{STAMP}[\s|]{{1,16}}(?P<source>{_ADDRESS})[\s|]{{1,16}}"
    rf"(?:(?:\u2192|->|>)[\s|]{{1,16}})?(?P<destination>{_ADDRESS})[\s|]{{1,16}}(?=[A-Za-z])"
)
_CSV: Final = re.compile(rf'"(?P<number>\d{{1,9}})","{STAMP}","(?P<source>{_ADDRESS})","(?P<destination>{_ADDRESS})","')
_REST: Final = re.compile(
    r"^(?P<protocol>[A-Za-z][^\"]{0,24}?)(?:[\s|]{1,16}|\",\")(?P<length>\d{1,6})(?:[\s|]{1,16}|\",\"|$)(?P<info>.*)", re.DOTALL
)
_PORTS: Final = re.compile(r"(?<![\w.])([\w-]{1,32}) {1,4}(?:\u2192|->|>) {1,4}([\w-]{1,32})(?![\w.])")
_FLAGS: Final = re.compile(r"\[((?:SYN|ACK|PSH|FIN|RST|URG|ECN|CWR|ECE|NS|, )+)\]")
_NUMBERS: Final = {name: re.compile(rf"\b{name}=(\d{{1,12}})") for name in ("Seq", "Ack", "Len")}
_IDS: Final = re.compile(r"\(tunnel id=(?P<tunnel>\d{1,9}), session id=(?P<session>\d{1,9})\)")
_HEX: Final = {name: re.compile(rf"{name}=0x([0-9a-fA-F]{{1,8}})") for name in ("sender", "receiver", "SPI")}
_COUNTER: Final = re.compile(r"counter=(\d{1,20})")
_IKE_2: Final = re.compile(
    r"^(?P<exchange>IKE_SA_INIT|IKE_AUTH|CREATE_CHILD_SA|INFORMATIONAL)(?: MID=(?P<id>[0-9a-fA-F]{1,8}))?(?P<roles>.*)"
)
_IKE_2_EXCHANGES: Final = {"IKE_SA_INIT": 34, "IKE_AUTH": 35, "CREATE_CHILD_SA": 36, "INFORMATIONAL": 37}
_IKE_1_EXCHANGES: Final = {"Identity Protection": 2, "Aggressive": 4, "Informational": 5, "Transaction": 6, "Quick Mode": 32}
_CLEAR_MAIN_MESSAGES: Final = 2
"""Of each end; those after them are encrypted, RFC 2409 section 5."""
_PPTP: Final[Mapping[str, str]] = {
    "Start-Control-Connection-Request": "SCCRQ",
    "Start-Control-Connection-Reply": "SCCRP",
    "Outgoing-Call-Request": "OCRQ",
    "Outgoing-Call-Reply": "OCRP",
    "Echo-Request": "ECHORQ",
    "Echo-Reply": "ECHORP",
    "Set-Link-Info": "SLI",
    "Call-Clear-Request": "CCRQ",
    "Call-Disconnect-Notify": "CDN",
    "Stop-Control-Connection-Request": "STOPCCRQ",
    "Stop-Control-Connection-Reply": "STOPCCRP",
}


def begins(line: str) -> Beginning | None:
    """A line of a list: a number, a time and two addresses."""
    found = _CSV.search(line, 0, LINE_LIMIT) or _LIST.search(line, 0, LINE_LIMIT)
    if found is None or not (_is_address(found["source"]) and _is_address(found["destination"])):
        return None
    return Beginning(found.start("number"), stamp_of(found), found.start("source"))


def _is_address(text: str) -> bool:
    return ("." in text or ":" in text) and not text.replace(".", "").isalpha()


def read(packet: PrintedPacket, session: Session) -> Reading:
    """The packet that a line names."""
    text = packet.joined(session.width)
    found = re.match(rf"({_ADDRESS})(?:[\s|]+(?:\u2192|->|>))?(?:[\s|]+|\",\")({_ADDRESS})(?:[\s|]+|\",\")(.*)", text, re.DOTALL)
    rest = _REST.match(found[3]) if found else None
    if found is None or rest is None:
        return Unread("has no protocol and length behind its addresses")
    told = rest["protocol"].strip(), number(rest["length"]), rest["info"].strip().strip('"')
    content = content_named(found[1], found[2], *told, session.flows)
    return content if isinstance(content, NoPacket | Unread) else Read(found[1], found[2], content)


def content_named(source: str, destination: str, protocol: str, length: int, info: str, flows: Flows) -> Content | NoPacket | Unread:
    """The packet that Wireshark's columns Protocol, Length and Info name between two hosts."""
    return _Line(source, destination, protocol, length, info, flows).content()


class _Line:
    """One line, taken apart."""

    def __init__(self, source: str, destination: str, protocol: str, length: int, info: str, flows: Flows) -> None:
        self.source, self.destination = source, destination
        self.protocol, self.length, self.info, self.flows = protocol, min(length, 0xFFFF), info, flows

    def content(self) -> Content | NoPacket | Unread:
        for prefix, reader in _READERS.items():
            if self.protocol.upper().startswith(prefix):
                return reader(self)
        if _PORTS.search(self.info) and ("Seq=" in self.info or "Len=" in self.info):
            return self._tcp() if "Seq=" in self.info else self._udp()
        return NoPacket(f"a packet of {self.protocol}")

    def _ends(self, default: int = 0) -> Endpoints:
        """With the ports that are printed; `default` in their place."""
        found = _PORTS.search(self.info)
        ports = [port_number(name) for name in found.groups()] if found else [None, None]
        return Endpoints(
            self.source, ports[0] if ports[0] is not None else default, self.destination, ports[1] if ports[1] is not None else default
        )

    def _number(self, name: str) -> int:
        found = _NUMBERS[name].search(self.info)
        return cut(found[1]) if found else 0

    def _payload(self, before: int) -> int:
        return max(0, self.length - before)

    def _tcp(self) -> Content:
        ends, way = self._ends(), self.flows.way(self.source, self.destination)
        names = _FLAGS.search(self.info)
        flags = sum({TcpFlag[name].value for name in (names[1].split(", ") if names else ()) if name in TcpFlag.__members__})
        sequence, length = self._number("Seq"), min(self._number("Len"), 0xFFFF - TCP_HEADER)
        if ends.source_port or ends.destination_port:
            way.ports = (ends.source_port, ends.destination_port)
            self.flows.way(self.destination, self.source).ports = (ends.destination_port, ends.source_port)
        way.overhead = max(ETHERNET_IP + TCP_HEADER, self.length - length)
        way.next_sequence = (sequence + length + bool(flags & (TcpFlag.SYN | TcpFlag.FIN))) & 0xFFFFFFFF
        segment = TcpSegment(ends.source_port, ends.destination_port, sequence, self._number("Ack"), flags)
        self.flows.note(self.source, self.destination, "tcp")
        return Content(IpProtocol.TCP, segment.encode(NOWHERE, NOWHERE), TCP_HEADER + length)

    def _udp(self) -> Content:
        return datagram(b"", self._number("Len") or self._payload(ETHERNET_IP_UDP), self._ends())

    def _pptp(self) -> Content:
        name = next((short for long, short in _PPTP.items() if self.info.startswith(long)), "")
        message = PPTP_BY_NAME.get(name)
        payload = encoded(message, _required(message)) if message is not None else b""
        length = len(payload) or self._payload(self.flows.way(self.source, self.destination).overhead)
        asks = not name.endswith("P")
        return self.flows.segment(self.source, self.destination, payload, length, (0, pptp.PORT) if asks else (pptp.PORT, 0))

    def _gre(self) -> Content:
        numbers = self.flows.way(self.source, self.destination)
        acknowledges_alone = not self.info or self.info.startswith("Encapsulated PPP")
        length = self._payload(ETHERNET_IP)
        if acknowledges_alone:
            return enhanced(None, None, str(max(0, self.flows.way(self.destination, self.source).numbers.get("gre", 0) - 1)), length)
        return enhanced(None, str(numbers.count("gre")), None, length)

    def _ppp(self) -> Content:
        code = next((code for name, code in messages.LCP_CODES.items() if self.info.lower().startswith(name)), 0)
        frame = messages.lcp_frame(code, 0, 4) if self.protocol.upper() == "PPP LCP" and code else b""
        if self.flows.has(self.source, self.destination, "l2tp"):
            data = DataMessage(0, 0, frame).encode()
            return datagram(
                data, max(len(data), self._payload(ETHERNET_IP_UDP)), Endpoints(self.source, L2TP_PORT, self.destination, L2TP_PORT)
            )
        numbers = self.flows.way(self.source, self.destination)
        return enhanced(None, str(numbers.count("gre")), None, self._payload(ETHERNET_IP), frame)

    def _l2tp(self) -> Content | NoPacket:
        ends = Endpoints(self.source, L2TP_PORT, self.destination, L2TP_PORT)
        if "V3" in self.protocol.upper():
            return datagram(L2TP_3_CONTROL, max(len(L2TP_3_CONTROL), self._payload(ETHERNET_IP_UDP)), ends)
        self.flows.note(self.source, self.destination, "l2tp")
        ids = _IDS.search(self.info)
        tunnel, session = (cut(ids["tunnel"], 0xFFFF), cut(ids["session"], 0xFFFF)) if ids else (0, 0)
        name = self.info.partition(" - ")[2].split(" ", 1)[0].strip()
        if not self.info.startswith("Control"):
            data = DataMessage(tunnel, session, b"").encode()
            return datagram(data, max(len(data), self._payload(ETHERNET_IP_UDP)), ends)
        there, back = self.flows.way(self.source, self.destination), self.flows.way(self.destination, self.source)
        ns = there.numbers.get("l2tp", 0) if name == "ZLB" else there.count("l2tp")
        data = messages.l2tp_control(name, tunnel, session, ns, back.numbers.get("l2tp", 0))
        return datagram(data, len(data), ends) if data else NoPacket(f"an L2TP message called {name}")

    def _wireguard(self) -> Content:
        kinds = {"Handshake Initiation": 1, "Handshake Response": 2, "Cookie": 3, "Transport Data": 4, "Keepalive": 4}
        kind = next((kind for name, kind in kinds.items() if name in self.info), 0)
        numbers = {name: int(found[1], 16) if (found := _HEX[name].search(self.info)) else 0 for name in ("sender", "receiver")}
        counter = int(found[1]) if (found := _COUNTER.search(self.info)) else 0
        size = self._payload(ETHERNET_IP_UDP)
        data = messages.wireguard(kind, size, sender=numbers["sender"], receiver=numbers["receiver"], counter=counter)
        return datagram(data, max(size, len(data)), self._ends())

    def _openvpn(self) -> Content:
        name = re.search(r"P_[A-Z_]+[0-9]", self.info)
        opcode = messages.OPENVPN_OPCODES.get(name[0]) if name else None
        self.flows.note(self.source, self.destination, "openvpn")
        return self._openvpn_packet(opcode or Opcode.CONTROL_V1)

    def _openvpn_packet(self, opcode: Opcode) -> Content:
        ends = Endpoints(self.source, 0, self.destination, 0)
        way = self.flows.way(self.source, self.destination)
        if self.flows.has(self.source, self.destination, "tcp") and way.ports is not None:
            length = max(16, self._payload(way.overhead))
            packet = messages.openvpn(opcode, length - 2, messages.session_id(ends), number=way.count("openvpn"))
            return self.flows.segment(self.source, self.destination, (length - 2).to_bytes(2, "big") + packet, length, way.ports)
        size = self._payload(ETHERNET_IP_UDP)
        packet = messages.openvpn(opcode, size, messages.session_id(ends), number=way.count("openvpn"))
        return datagram(packet, max(size, len(packet)), self._ends())

    def _tls(self) -> Content | NoPacket:
        """TLS between hosts that speak OpenVPN is its control channel's; of other hosts it is none of ours."""
        if self.flows.has(self.source, self.destination, "openvpn"):
            return self._openvpn_packet(Opcode.CONTROL_V1)
        way = self.flows.way(self.source, self.destination)
        if way.ports is None:
            return NoPacket("TLS of a connection whose ports are not printed")
        return self.flows.segment(self.source, self.destination, b"", self._payload(way.overhead), way.ports)

    def _isakmp(self) -> Content | NoPacket:
        ends = Endpoints(self.source, 500, self.destination, 500)
        second = _IKE_2.match(self.info)
        if second:
            exchange = _IKE_2_EXCHANGES[second["exchange"]]
            roles = second["roles"].lower()
            told = "responder" in roles or "initiator" in roles
            opens = exchange == ikev2.Exchange.IKE_SA_INIT and "request" in roles
            by_initiator = "initiator" in roles if told else self._is_initiator(opens=opens)
            answers = "response" in roles if told else not by_initiator
            flags = INITIATOR_FLAG * by_initiator | RESPONSE_FLAG * answers
            spis = messages.made_up_spis(ends, initiator=by_initiator, opening=exchange == 34 and by_initiator)
            first = int(ikev2.PayloadType.SA) if self.length >= messages.SA_LEAST else 0
            head = messages.ike(spis, 0x20, exchange, flags, int(second["id"] or "0", 16), next_payload=first)
        else:
            exchange = next((number for name, number in _IKE_1_EXCHANGES.items() if self.info.startswith(name)), 0)
            if not exchange:
                return NoPacket("a packet of ISAKMP that has no name")
            way = self.flows.way(self.source, self.destination)
            first = exchange in (2, 4) and not self.flows.has(self.source, self.destination, "ikev1")
            by_initiator = self._is_initiator(opens=first)
            count = way.count(f"ike-{exchange}")
            self.flows.note(self.source, self.destination, "ikev1")
            encrypted = exchange not in (2, 4) or count >= _CLEAR_MAIN_MESSAGES
            opening = exchange in (2, 4) and by_initiator and count == 0
            spis = messages.made_up_spis(ends, initiator=by_initiator, opening=opening)
            opens_with_sa = count == 0 and exchange in (2, 4)
            payload = int(ikev1.PayloadType.SA) if opens_with_sa else 0
            head = messages.ike(spis, 0x10, exchange, int(encrypted), 0, next_payload=payload)
        return messages.ike_datagram(head, self._payload(ETHERNET_IP_UDP), ends, marked=False)

    def _is_initiator(self, *, opens: bool) -> bool:
        return self.flows.initiator(self.source, self.destination, opens=opens) == self.source

    def _esp(self) -> Content:
        found = _HEX["SPI"].search(self.info)
        spi = int(found[1], 16) if found else 0
        head = spi.to_bytes(4, "big") + self.flows.way(self.source, self.destination).count(f"esp-{spi}").to_bytes(4, "big")
        if self._is_in_udp():
            return datagram(head, self._payload(ETHERNET_IP_UDP), Endpoints(self.source, 4500, self.destination, 4500))
        return Content(IpProtocol.ESP, head, max(8, self._payload(ETHERNET_IP)))

    def _is_in_udp(self) -> bool:
        """Whether the length fits blocks of a cipher behind UDP and does not by itself: nothing else in the line tells."""
        bare, in_udp = (any((self._payload(before) - 24 - icv) % 16 == 0 for icv in (12, 16)) for before in (ETHERNET_IP, ETHERNET_IP_UDP))
        return in_udp and not bare

    def _ah(self) -> Content:
        found = _HEX["SPI"].search(self.info)
        head = bytes((IpProtocol.UDP, 4, 0, 0)) + (int(found[1], 16) if found else 0).to_bytes(4, "big") + bytes(4)
        return Content(IpProtocol.AH, head, max(12, self._payload(ETHERNET_IP)))

    def _icmp(self) -> Content:
        return Content(IpProtocol.ICMP, bytes((255, 0, 0, 0)), max(8, self._payload(ETHERNET_IP)))


def _required(message: type[pptp.ControlMessage]) -> dict[str, int | bytes]:
    """Zeros for the fields that a message has to have."""
    from dataclasses import MISSING, fields

    return {field.name: 0 for field in fields(message) if field.default is MISSING and field.default_factory is MISSING}


PPTP_BY_NAME: Final = {message.NAME.upper(): message for message in pptp.MESSAGES} | {
    "STOPCCRQ": pptp.StopControlConnectionRequest,
    "STOPCCRP": pptp.StopControlConnectionReply,
    "ECHORQ": pptp.EchoRequest,
    "ECHORP": pptp.EchoReply,
}

_READERS: Final[Mapping[str, Callable[[_Line], Content | NoPacket | Unread]]] = {
    "TCP": _Line._tcp,
    "UDPENCAP": lambda _line: NoPacket("a keepalive of ESP in UDP"),
    "UDP": _Line._udp,
    "PPTP": _Line._pptp,
    "GRE": _Line._gre,
    "PPP": _Line._ppp,
    "L2TP": _Line._l2tp,
    "WIREGUARD": _Line._wireguard,
    "OPENVPN": _Line._openvpn,
    "TLS": _Line._tls,
    "SSL": _Line._tls,
    "ISAKMP": _Line._isakmp,
    "IKE": _Line._isakmp,
    "ESP": _Line._esp,
    "AH": _Line._ah,
    "ICMP": _Line._icmp,
}
"""In this order: the first that the protocol's name begins with."""

SHARK_LIST: Final = Dialect("tshark's list", begins, read)
