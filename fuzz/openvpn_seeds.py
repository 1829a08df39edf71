"""What each fuzz target of OpenVPN begins with: packets of real sessions between our own two ends, profiles, and scripts."""

import random
from collections.abc import Iterator
from typing import Final

import profile_support
from openvpn_support import SERVER_KEY, STATIC_KEY, WRAPS
from openvpn_talking import recorded

from vpnprobe.wire.openvpn import frame
from vpnprobe.wire.openvpn_keying import KeyMethod2, KeySource, options_string, peer_info
from vpnprobe.wire.openvpn_messages import AuthFailed, AuthPending, PushReply
from vpnprobe.wire.openvpn_wrap import RESEND_WRAPPED_KEY

PUSHED: Final = (
    "redirect-gateway def1,dhcp-option DNS 10.8.0.1,route-gateway 10.8.0.1,topology subnet,ping 10,ping-restart 60,"
    "ifconfig 10.8.0.2 255.255.255.0,peer-id 7,cipher AES-256-GCM,key-derivation tls-ekm,"
    "protocol-flags cc-exit tls-ekm dyn-tls-crypt aead-epoch,tun-mtu 1500,push-continuation 2"
)
SAID: Final = (
    b"PUSH_REPLY,peer-id 1,cipher AES-128-GCM,compress stub-v2,protocol-flags cc-exit tls-ekm\0",
    b"PUSH_REPLY,cipher AES-256-GCM,ifconfig 10.8.0.6 10.8.0.5,route 10.8.0.1,topology net30,comp-lzo no\0",
    b"PUSH_REPLY,push-continuation 2,compress\0PUSH_REPLY,push-continuation 1,cipher NONE,ifconfig x y,topology p2p\0",
    b"PUSH_REPLY,ifconfig 10.8.0.2 10.8.0.1,topology p2p,key-derivation tls-ekm\0",
    b"AUTH_FAILED\0",
    b"AUTH_FAILED,CRV1:R,E:abc:dXNlcg==:code?\0",
    b"AUTH_PENDING,timeout 60\0",
    b"RESTART,[N]\0",
    b"HALT,words\0",
    b"INFO_PRE,WEB_AUTH::https://example.net\0EXIT\0",
)
LINES: Final = (
    "client\ndev tun\nproto udp\nremote vpn.example.net 1194\nremote 2001:db8::1 443 tcp6\nauth SHA256\ncipher AES-256-CBC\n",
    "client\n<connection>\nremote a.example 443 tcp\nexplicit-exit-notify 2\n</connection>\nremote-random\nproto-force tcp\nsetenv OPT x\n",
    'client\nremote "vpn.example.net" 1194 # words\nverify-x509-name "C=XX, CN=server" name\nremote-cert-tls server\ncompress lzo\n',
    "client\nremote a.example\nca ca.crt\ncert keys\\client.crt\nkey 'client key'\ntls-auth keys/ta.key 1\nauth-user-pass up\naskpass up\n",
    "client\nremote a.example\ndata-ciphers AES-256-GCM:?CHACHA20-POLY1305\ncomp-lzo no\npeer-fingerprint aa:bb\nremote-cert-ku a0 88\n",
    "client\nremote a\n<auth-user-pass>\nuser\nsecret\n</auth-user-pass>\ntls-version-min 1.2\nstatic-challenge 'code?' 1\nfragment 1300\n",
    "server 10.8.0.0 255.255.255.0\ndh none\n",
    "\ufeffclient\r\nremote vpn.example.net 1194 udp\r\n",
)


def every_packet(*, framed: bool = False) -> Iterator[bytes]:
    for wrap in WRAPS:
        for side in recorded(wrap, False):
            yield from (frame(packet) if framed else packet for packet in side[:12])


def packets() -> Iterator[bytes]:
    yield from every_packet()
    yield b"".join(every_packet(framed=True))[:3000]


def wraps() -> Iterator[bytes]:
    for kind in range(16):
        yield from (bytes([kind]) + packet for packet in list(every_packet())[kind::16])
    yield b"\0" + RESEND_WRAPPED_KEY
    yield b"\0" + bytes(9) + SERVER_KEY.wrap(STATIC_KEY, b"\0user").wrapped


def keying() -> Iterator[bytes]:
    options = options_string(transport="UDPv4", cipher="AES-256-GCM", auth="SHA1", server=False, key_direction=1)
    about = peer_info({"IV_VER": "2.6.3", "IV_PROTO": "990", "IV_CIPHERS": "AES-256-GCM:AES-128-GCM"})
    for pre_master in (b"p" * 48, b""):
        source = KeySource(pre_master, b"1" * 32, b"2" * 32)
        yield KeyMethod2(source, options, "user", "password", about).encode()
        yield KeyMethod2(source, options, "", "", "").encode() + b"PUSH_REQUEST\0"
    yield about.encode()
    yield options.encode()


def messages() -> Iterator[bytes]:
    yield PushReply(tuple(PUSHED.split(","))).encode()
    yield AuthFailed("CRV1:R,E:abc:dXNlcg==:code?").encode() + AuthPending(60).encode()
    yield b"PUSH_REQUEST\0INFO_PRE,WEB_AUTH::https://example.net\0RESTART,[N]\0HALT,x\0EXIT\0SOMETHING,x\0"


def data_channel() -> Iterator[bytes]:
    packets = b"".join(bytes([what, 12]) + b"a tunnel pkt" for what in (0, 0, 4, 3, 5, 0, 0x45, 1, 12, 6, 0x3B, 2))
    for chosen in range(0, 256, 5):
        yield bytes([chosen]) + packets


def keys() -> Iterator[bytes]:
    wrapped = SERVER_KEY.wrap(STATIC_KEY, b"\0user")
    yield from (key.encode().encode() for key in (STATIC_KEY, SERVER_KEY, wrapped))
    yield wrapped.wrapped


def profile() -> Iterator[bytes]:
    block, made = profile_support.block, profile_support.made()
    yield from (lines.encode() for lines in LINES)
    for lines in LINES:
        yield (lines + profile_support.identity()).encode()
    yield (LINES[0] + block("ca", made.ca) + block("tls-crypt-v2", profile_support.client_key().encode())).encode()
    yield (LINES[0] + block("ca", made.ca) + block("cert", made.cert) + block("key", made.old_encrypted_key)).encode()
    yield (LINES[1] + block("tls-auth", STATIC_KEY.encode()) + "key-direction 1\n" + block("tls-crypt", STATIC_KEY.encode())).encode()
    yield LINES[0].encode("utf-16")


def session() -> Iterator[bytes]:
    """Every step, before and after the tunnel is up, with each wrap; and random scripts."""
    chance = random.Random(5)
    for first in range(12):
        for up in (0, 0x80):
            yield bytes([first | up])
            for side in (0, 0x80):
                yield bytes([first | up]) + b"".join(bytes([side | step, 3, 0x20, 0, 1]) for step in range(16))
        control = b"".join(bytes([0x88, kind << 3, 6]) + bytes(5) + b"x" for kind in (3, 4, 5, 7, 8, 10, 11))
        yield bytes([first | 0x80]) + control + control.replace(b"\x88", b"\x08") + b"\x0d\x00\x8d\x00\x0a\xff"
        yield bytes([first | 0x80]) + chance.randbytes(200)
    for chosen, say in enumerate(SAID):
        # Instead of the push reply, and once the tunnel is up; then data both ways, and a goodbye.
        after = b"\0\x0c\x04abcd\x8c\x04abcd\x0f\x04\x0f\x03\0"
        yield bytes([chosen % 16, 15, 1, len(say)]) + say + after
        yield bytes([0x80 | chosen % 16, 0x0B, len(say)]) + say + b"\0\x8b" + bytes([len(say)]) + say + b"\0" + after
    yield from (bytes([first | 0x80, 0x0F, 4]) for first in (0x10, 0x20, 0x30))
