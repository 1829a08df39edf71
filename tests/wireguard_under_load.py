"""A WireGuard responder under load, which vpnprobe itself never is: it answers with cookies (whitepaper section 5.3)."""

from typing import Any

from vpnprobe.conversations.wireguard_ends import Responder
from vpnprobe.wire.wireguard import HandshakeInitiation
from vpnprobe.wire.wireguard_noise import MAC, check_mac1, cookie_reply, with_cookie


class LoadedResponder(Responder):
    """`wants_cookie`: it is under load, and answers no initiation before its cookie comes with one."""

    def __init__(self, *arguments: Any, wants_cookie: bool = False, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.cookies_sent = 0
        self._cookie_wanted = self._entropy(MAC) if wants_cookie else None

    def _initiation_came(self, message: HandshakeInitiation, size: int, now: float) -> None:
        cookie = self._cookie_wanted
        if cookie is None or message.mac2 == with_cookie(message, cookie).mac2:
            super()._initiation_came(message, size, now)
            return
        own = self.identity.public
        check_mac1(message, own)
        self._saw(message, size, now)
        self.cookies_sent += 1
        self._emit(cookie_reply(message, own, cookie=cookie, nonce=self._entropy(24)), now)
