"""When a session with an existing OpenVPN server is over: it has come to its end, has failed, or nothing leads on any more."""

from collections.abc import Callable
from typing import Final

from vpnprobe.conversations.openvpn_ends import Client
from vpnprobe.conversations.openvpn_session import Stage
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.existing_server import REFUSED_PATIENCE_S, TAIL_S, RemoteSessionOver
from vpnprobe.probes.openvpn_findings import disagreement

RETRANSMIT_AFTER_S: Final = 0.5
RESET_PATIENCE_S: Final = 4.0
"""The reset is sent four times by then."""
PATIENCE_S: Final = 6.5
"""How long a session that had begun goes on though nothing leads on: its packets were repeated several times by then."""
SILENT_DATA_S: Final = 6.0
"""How long a server's own keep-alive is waited for at most where no echo comes back, and OpenVPN itself answers nothing either."""
LEAST_SILENT_S: Final = 3.0
"""As long as OpenVPN itself is asked, and its answer takes."""


class OpenvpnSessionOver(RemoteSessionOver[Client]):
    """A session that has failed is over too."""

    def __init__(
        self, context: ProbeContext, client: Client, enough: Callable[[], bool] = lambda: False, *, patience_s: float = PATIENCE_S
    ) -> None:
        """`enough`: what ends it before. `patience_s`: how long nothing may lead on."""
        super().__init__(context, client)
        self._enough = enough
        self._longest_s = patience_s

    @property
    def came(self) -> int:
        return self._client.progress + self._client.stage

    @property
    def data_came(self) -> bool:
        return self._client.stage is Stage.DATA

    @property
    def finished(self) -> bool:
        client = self._client
        return self._enough() or client.failure is not None or (client.stage >= Stage.CONFIGURED and client.run.all_answered)

    def given_up_at(self) -> float:
        client = self._client
        if client.stage >= Stage.CONFIGURED and client.gateway is None:
            return self._heard + TAIL_S
        if client.stage >= Stage.CONFIGURED and client.run.all_sent and client.run.requests:
            return self._data_given_up_at()
        return self._heard + self._patience_s()

    def _data_given_up_at(self) -> float:
        """By the echo requests and their answers alone: what else a server says keeps no silent data alive."""
        client, requests = self._client, self._client.run.requests.values()
        answers = [request.answered_at for request in requests if request.answered_at is not None]
        last = max(request.sent_at for request in requests)
        if answers:
            return max(last, *answers) + TAIL_S
        if client.options_replies or disagreement(client) is not None:
            return last + TAIL_S
        ping_s = client.push.ping_s if client.push is not None else None
        comes_in_time = ping_s is not None and LEAST_SILENT_S < ping_s + 1.0 <= SILENT_DATA_S
        return last + (ping_s + 1.0 if ping_s is not None and comes_in_time else LEAST_SILENT_S)

    def _patience_s(self) -> float:
        client = self._client
        if client.stage < Stage.ANSWERED:
            return RETRANSMIT_AFTER_S + REFUSED_PATIENCE_S if self.was_refused else min(RESET_PATIENCE_S, self._longest_s)
        return self._longest_s
