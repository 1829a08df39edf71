"""tshark's and Wireshark's trees (`tshark -V`, a packet copied with its details): one field a line, layer under layer.

The layers that matter are turned back into bytes: what stands in the fields is filled in, encrypted parts and what is not shown are zero. A
line at the margin begins a layer; of tunnels within tunnels the layers that come first are read.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from vpnprobe.capture.printed.clocks import Stamp
from vpnprobe.capture.printed.contents import messages
from vpnprobe.capture.printed.contents.base import LENGTH_LIMIT, NOWHERE, Endpoints, cut, datagram, number
from vpnprobe.capture.printed.contents.details_of_pptp import pptp_message
from vpnprobe.capture.printed.contents.ip import enhanced
from vpnprobe.capture.printed.contents.table import PROTOCOLS
from vpnprobe.capture.printed.contents.udp import L2TP_3_CONTROL
from vpnprobe.capture.printed.dialects.base import Dialect, Session
from vpnprobe.capture.printed.packets import Beginning, Content, NoPacket, PrintedPacket, Read, Reading, Unread
from vpnprobe.wire import l2tp
from vpnprobe.wire.gre import Gre
from vpnprobe.wire.icmp import DestinationUnreachable, Quote, TimeExceeded, Unreachable
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpSegment
from vpnprobe.wire.openvpn import Opcode

_FRAME: Final = re.compile(r"(?:^|[\s>|*])(?P<at>Frame (?P<number>\d{1,9})(?::| \()\s*(?P<length>\d{1,9}) bytes)")
_LAYER: Final = re.compile(r"^(?P<name>[A-Z][^:,(\[]{1,80})")
_FIELD: Final = re.compile(r"^(?:[01. ]{4,48} = )?\[?(?P<name>[A-Za-z][\w '/()-]{0,48}?): (?P<value>.{0,4000})$")
_IP: Final = re.compile(r"^Internet Protocol(?: Version [46])?, Src: (?P<source>[^,]{1,200}), Dst: (?P<destination>[^,]{1,200})")
_NAMED: Final = re.compile(r"\(([^()]{1,64})\)\s*$")
_IN_BRACKETS: Final = re.compile(r"\((?:0x)?([0-9a-fA-F]{1,8})\)")
_BYTES: Final = re.compile(r"(?:UDP|TCP) payload \((\d{1,6}) bytes?\)")
_DATA: Final = re.compile(r"^\s*Data: ([0-9a-fA-F]{2,})(\u2026|\.\.\.|\[truncated\])?")
_DATE: Final = re.compile(r"(\w{3} +\d{1,2}, \d{4} \d\d:\d\d:\d\d)\.(\d{1,9})")
TCP_HEADER: Final = 20


class Layer:
    """One layer: its heading and its fields by name, the first of each."""

    def __init__(self, heading: str) -> None:
        self.heading = heading
        self.fields: dict[str, str] = {}
        self.lines: list[str] = []

    def take(self, line: str) -> None:
        """Takes a field's line."""
        text = line.strip()
        self.lines.append(text)
        found = _FIELD.match(text)
        if found is not None:
            self.fields.setdefault(found["name"].strip().lower(), found["value"].rstrip("]"))

    def text(self, *names: str) -> str | None:
        """The field that has the first of these names that is there; None: none is."""
        return next((self.fields[name] for name in names if name in self.fields), None)

    def number(self, *names: str, base: int = 10) -> int | None:
        """A field as a number: what stands in brackets behind a name, or the number itself; None: there is none."""
        text = self.text(*names)
        if text is None:
            return None
        if text.startswith("0x"):
            return number(text)
        digits = re.match(r"[0-9a-fA-F]{1,32}(?=\s|$)" if base == 16 else r"\d{1,20}(?=\s|$|,)", text)
        if digits is not None:
            return int(digits[0], base)
        named = _IN_BRACKETS.search(text)
        return int(named[1], 16 if "(0x" in text else 10) if named and (named[1].isdigit() or "(0x" in text) else None


def begins(line: str) -> Beginning | None:
    """The first line of a frame's tree."""
    found = _FRAME.search(line, 0, 400) if "Frame " in line else None
    return Beginning(found.start("at"), None, found.start("at")) if found is not None else None


def read(packet: PrintedPacket, _session: Session) -> Reading:
    """The packet that a tree shows."""
    layers = _layers(packet.lines)
    ip = next((found for layer in layers if (found := _IP.match(layer.heading))), None)
    if ip is None:
        return NoPacket("no IP packet") if len(layers) > 1 else Unread("has no layers under its first line")
    source, destination = _address(ip["source"]), _address(ip["destination"])
    behind = layers[next(index for index, layer in enumerate(layers) if _IP.match(layer.heading)) :]
    if behind[0].number("fragment offset"):
        return NoPacket("a later fragment")
    content = _content(behind, source, destination)
    if content is None:
        return NoPacket("a packet of a protocol that does not matter here")
    ttl, identification = behind[0].number("time to live", "hop limit"), behind[0].number("identification")
    return Read(
        source,
        destination,
        content,
        ttl=min(ttl, 255) if ttl is not None else None,
        identification=identification & 0xFFFF if identification is not None else None,
        stamp=_stamp(layers[0]),
    )


def _layers(lines: list[str]) -> list[Layer]:
    layers: list[Layer] = []
    for line in lines:
        if line[:1] not in (" ", "\t", "") and _LAYER.match(line):
            layers.append(Layer(line.strip()))
        elif layers:
            layers[-1].take(line)
    return layers


def _address(text: str) -> str:
    """The address, which stands in brackets where a name is before it."""
    named = _NAMED.search(text)
    return (named[1] if named else text).strip()


def _stamp(frame: Layer) -> Stamp | None:
    """Unix time where it is shown, else the time since the first frame; None: neither is."""
    epoch = re.match(r"\d{1,11}(?:\.\d{1,12})?", frame.text("epoch time", "epoch arrival time") or "")
    if epoch is not None:
        return Stamp(float(epoch[0]), dated=True, of_day=False)
    date = _DATE.search(frame.text("arrival time") or "")
    if date is not None:
        try:
            moment = datetime.strptime(" ".join(date[1].split()), "%b %d, %Y %H:%M:%S").replace(tzinfo=UTC)
        except ValueError:
            return None
        return Stamp(moment.timestamp() + float(f"0.{date[2]}"), dated=True, of_day=False)
    since = re.match(r"\d{1,9}(?:\.\d{1,12})?", frame.text("time since reference or first frame") or "")
    return Stamp(float(since[0]), dated=False, of_day=False) if since is not None else None


def _content(layers: list[Layer], source: str, destination: str) -> Content | None:
    """What is behind the IP header, which is the first of the layers."""
    by_name = {name: layer for layer in reversed(layers) for name in (_name(layer),)}
    for name, reader in _BEHIND_IP.items():
        if name in by_name:
            return reader(by_name, source, destination)
    protocol = PROTOCOLS.get((layers[0].text("protocol", "next header") or "").split(" ")[0].upper())
    return Content(protocol, b"", 0) if protocol is not None else None


def _name(layer: Layer) -> str:
    return re.split(r"[,:(\[]", layer.heading, maxsplit=1)[0].strip()


def _port(layer: Layer, name: str) -> int:
    found = re.search(rf"{name} Port: (?:[\w-]{{1,40}} \()?(\d{{1,5}})", layer.heading)
    told = int(found[1]) if found else layer.number(f"{'source' if name == 'Src' else 'destination'} port") or 0
    return told if told <= 0xFFFF else 0


def _ends(layer: Layer, source: str, destination: str) -> Endpoints:
    return Endpoints(source, _port(layer, "Src"), destination, _port(layer, "Dst"))


def _payload_size(layer: Layer) -> int:
    told = next((int(found[1]) for line in layer.lines if (found := _BYTES.search(line))), None)
    if told is None:
        told = (layer.number("length") or 8) - 8 if layer.heading.startswith("User") else cut(_len(layer.heading))
    return max(0, min(told, LENGTH_LIMIT - 64))


def _len(heading: str) -> str:
    found = re.search(r"Len: (\d{1,9})", heading)
    return found[1] if found else "0"


def _udp(layers: Mapping[str, Layer], source: str, destination: str) -> Content:
    header = layers["User Datagram Protocol"]
    ends, size = _ends(header, source, destination), _payload_size(header)
    marked = any("Non-ESP Marker" in line for line in layers.get("UDP Encapsulation of IPsec Packets", header).lines)
    payload = _udp_payload(layers, ends, size)
    return datagram(bytes(4) + payload if marked and payload else payload, max(size, len(payload)), ends)


def _udp_payload(layers: Mapping[str, Layer], ends: Endpoints, size: int) -> bytes:
    for name, reader in _IN_UDP.items():
        if name in layers:
            return reader(layers, layers[name], ends, size)
    return _shown_bytes(layers.get("Data"))


def _shown_bytes(layer: Layer | None) -> bytes:
    """The bytes of what no dissector knows."""
    if layer is None:
        return b""
    for line in layer.lines:
        found = _DATA.match(line)
        if found is not None:
            return bytes.fromhex(found[1][: len(found[1]) // 2 * 2])
    return b""


def _isakmp(_layers: Mapping[str, Layer], layer: Layer, _ends: Endpoints, size: int) -> bytes:
    spis = b"".join(_hex(layer.text(*names), 8) for names in (("initiator spi", "initiator cookie"), ("responder spi", "responder cookie")))
    version = re.match(r"(\d)\.(\d)", layer.text("version") or "1.0")
    major = int(version[1]) if version else 1
    numbers = [layer.number(name) or 0 for name in ("exchange type", "flags", "message id", "length", "next payload")]
    exchange, flags, message_id, length, following = numbers
    return messages.ike(spis, major << 4, exchange, flags, message_id, length=min(length, size or length), next_payload=following)


def _hex(text: str | None, size: int) -> bytes:
    digits = re.match(r"(?:0x)?([0-9a-fA-F]{2,64})", text or "")
    return bytes.fromhex(digits[1][: 2 * size].ljust(2 * size, "0")) if digits else bytes(size)


def _esp(_layers: Mapping[str, Layer], layer: Layer, _ends: Endpoints, _size: int) -> bytes:
    return cut(str(layer.number("esp spi") or 0)).to_bytes(4, "big") + cut(str(layer.number("esp sequence") or 0)).to_bytes(4, "big")


def _l2tp(layers: Mapping[str, Layer], layer: Layer, _ends: Endpoints, _size: int) -> bytes:
    ids = (cut(str(layer.number(name) or 0), 0xFFFF) for name in ("tunnel id", "session id"))
    tunnel, session = ids
    if "Control Message" not in (layer.text("flags", "packet type") or ""):
        return l2tp.DataMessage(tunnel, session, _lcp(layers)).encode()
    kind = messages.L2TP_BY_NUMBER.get(layer.number("message type") or 0, l2tp.ZeroLengthBody)
    avps = [
        l2tp.Avp(attribute, cut(str(value), 0xFFFF).to_bytes(2, "big"))
        for attribute, name in ((1, "result code"), (9, "assigned tunnel id"), (14, "assigned session"))
        if (value := layer.number(name)) is not None
    ]
    if (host := layer.text("host name")) is not None:
        avps.append(l2tp.Avp(l2tp.AvpType.HOST_NAME, host.encode()[:255]))
    return messages.l2tp_control(kind.name, tunnel, session, layer.number("ns") or 0, layer.number("nr") or 0, tuple(avps))


def _l2tp_3(_layers: Mapping[str, Layer], _layer: Layer, _ends: Endpoints, _size: int) -> bytes:
    return L2TP_3_CONTROL


def _lcp(layers: Mapping[str, Layer]) -> bytes:
    lcp = layers.get("PPP Link Control Protocol")
    if lcp is None:
        return b""
    return messages.lcp_frame(lcp.number("code") or 0, lcp.number("identifier") or 0, lcp.number("length") or 4, lcp.number("magic number"))


def _openvpn(_layers: Mapping[str, Layer], layer: Layer, ends: Endpoints, size: int) -> bytes:
    try:
        opcode = Opcode((layer.number("type") or 0) >> 3)
    except ValueError:
        return b""
    session = layer.number("session id")
    known = session.to_bytes(8, "big") if session is not None and session < 1 << 64 else messages.session_id(ends)
    counted = layer.number("message packet-id", "replay-packet-id") or 0
    return messages.openvpn(opcode, size, known, key_id=(layer.number("type") or 0) & 7, number=counted)


def _wireguard(_layers: Mapping[str, Layer], layer: Layer, _ends: Endpoints, size: int) -> bytes:
    kind, counter = layer.number("type") or 0, layer.number("counter") or 0
    return messages.wireguard(kind, size, sender=layer.number("sender") or 0, receiver=layer.number("receiver") or 0, counter=counter)


def _tcp(layers: Mapping[str, Layer], source: str, destination: str) -> Content:
    header = layers["Transmission Control Protocol"]
    ends, size = _ends(header, source, destination), _payload_size(header)
    payload = b""
    if "Point-to-Point Tunnelling Protocol" in layers:
        payload = pptp_message(layers["Point-to-Point Tunnelling Protocol"].fields)
    elif "OpenVPN Protocol" in layers and size > 2:
        inner = _openvpn(layers, layers["OpenVPN Protocol"], ends, size - 2)
        payload = (size - 2).to_bytes(2, "big") + inner if inner else b""
    else:
        payload = _shown_bytes(layers.get("Data"))
    numbers = (
        header.number("sequence number (raw)", "sequence number"),
        header.number("acknowledgment number (raw)", "acknowledgment number"),
    )
    segment = TcpSegment(
        ends.source_port,
        ends.destination_port,
        sequence=(numbers[0] or 0) & 0xFFFFFFFF,
        acknowledgment=(numbers[1] or 0) & 0xFFFFFFFF,
        flags=(header.number("flags") or 0) & 0x3F,
        payload=payload[:size],
    )
    return Content(IpProtocol.TCP, segment.encode(NOWHERE, NOWHERE), TCP_HEADER + size)


def _gre(layers: Mapping[str, Layer], _source: str, _destination: str) -> Content:
    header = layers["Generic Routing Encapsulation"]
    if (header.number("flags and version") or 0) & 7 == 1 or header.text("call id") is not None:
        shown = [header.number(name) for name in ("call id", "sequence number", "acknowledgment number", "payload length")]
        call, sequence, acknowledgment, length = (str(value) if value is not None else None for value in shown)
        head = 8 + 4 * (sequence is not None) + 4 * (acknowledgment is not None)
        return enhanced(call, sequence, acknowledgment, head + number(length), _lcp(layers))
    protocol, key = header.number("protocol type", base=16), header.number("key")
    head_bytes = Gre(protocol=(protocol or 0x0800) & 0xFFFF, key=key & 0xFFFFFFFF if key is not None else None).encode()
    return Content(IpProtocol.GRE, head_bytes, len(head_bytes))


def _esp_alone(layers: Mapping[str, Layer], source: str, destination: str) -> Content:
    head = _esp(layers, layers["Encapsulating Security Payload"], Endpoints(source, 0, destination, 0), 0)
    return Content(IpProtocol.ESP, head, len(head))


def _ah(layers: Mapping[str, Layer], _source: str, _destination: str) -> Content:
    layer = layers["Authentication Header"]
    head = bytes((IpProtocol.UDP, 4, 0, 0)) + cut(str(layer.number("ah spi") or 0)).to_bytes(4, "big")
    return Content(IpProtocol.AH, head + cut(str(layer.number("ah sequence") or 0)).to_bytes(4, "big"), 24)


def _icmp(layers: Mapping[str, Layer], source: str, destination: str) -> Content:
    layer = layers["Internet Control Message Protocol"]
    quote = _quote(layer, source, destination)
    kind, code = layer.number("type"), layer.number("code")
    if quote is None or kind not in (3, 11):
        return Content(IpProtocol.ICMP, bytes((255, 0, 0, 0)), 8)
    data = TimeExceeded(quote).encode() if kind == 11 else DestinationUnreachable(code if code in list(Unreachable) else 1, quote).encode()
    return Content(IpProtocol.ICMP, data, len(data))


def _quote(layer: Layer, source: str, destination: str) -> Quote | None:
    """The packet that an error is about, whose layers stand within it."""
    from ipaddress import IPv4Address

    inner = next((found for line in layer.lines if (found := _IP.match(line))), None)
    ports = next(
        (Layer(line) for line in layer.lines if line.startswith(("User Datagram Protocol, ", "Transmission Control Protocol, "))), None
    )
    if inner is None:
        return None
    try:
        ends = IPv4Address(_address(inner["source"])), IPv4Address(_address(inner["destination"]))
    except ValueError:
        return None
    named = (layer.text("protocol") or "").split(" ")[0].upper()
    payload = b""
    if ports is not None:
        payload = _port(ports, "Src").to_bytes(2, "big") + _port(ports, "Dst").to_bytes(2, "big") + bytes(4)
    return Quote(IPv4Packet(*ends, PROTOCOLS.get(named, layer.number("protocol") or 0) & 0xFF, payload=payload))


_IN_UDP: Final[Mapping[str, Callable[[Mapping[str, Layer], Layer, Endpoints, int], bytes]]] = {
    "Internet Security Association and Key Management Protocol": _isakmp,
    "Encapsulating Security Payload": _esp,
    "Layer 2 Tunneling Protocol": _l2tp,
    "Layer 2 Tunneling Protocol version 3": _l2tp_3,
    "OpenVPN Protocol": _openvpn,
    "WireGuard Protocol": _wireguard,
}
_BEHIND_IP: Final[Mapping[str, Callable[[Mapping[str, Layer], str, str], Content]]] = {
    "User Datagram Protocol": _udp,
    "Transmission Control Protocol": _tcp,
    "Generic Routing Encapsulation": _gre,
    "Authentication Header": _ah,
    "Encapsulating Security Payload": _esp_alone,
    "Internet Control Message Protocol": _icmp,
}
"""By the names of layers as Wireshark has them."""

SHARK_DETAILS: Final = Dialect("tshark's details", begins, read)
