"""What one end's messages prove, by the tables of the protocols that say it."""

import pytest

from vpnprobe.conversations import ikev1, ikev2, l2tp, pptp
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.one_direction import Implied, OneDirection
from vpnprobe.wire import ikev1 as wire_ikev1
from vpnprobe.wire import ikev2 as wire_ikev2
from vpnprobe.wire import l2tp as wire_l2tp
from vpnprobe.wire import pptp as wire_pptp

CLIENT, SERVER = Sender.INITIATOR, Sender.RESPONDER
PPTP = (pptp.TABLE, pptp.IMPLIED)
L2TP = (l2tp.TABLE, l2tp.IMPLIED)
IKEV1 = (ikev1.TABLE, ikev1.IMPLIED)
IKEV2 = (ikev2.TABLE, ikev2.IMPLIED)


@pytest.mark.parametrize(
    ("protocol", "sender", "kinds", "stage"),
    [
        (PPTP, CLIENT, [wire_pptp.StartControlConnectionRequest], "sccrq-unanswered"),
        (PPTP, CLIENT, [wire_pptp.StartControlConnectionRequest, wire_pptp.OutgoingCallRequest], "ocrq-unanswered"),
        (
            PPTP,
            CLIENT,
            [wire_pptp.StartControlConnectionRequest, wire_pptp.OutgoingCallRequest, wire_pptp.SetLinkInfo, wire_pptp.SetLinkInfo],
            "call-up",
        ),
        (PPTP, SERVER, [wire_pptp.StartControlConnectionReply, wire_pptp.OutgoingCallReply], "call-up"),
        (PPTP, SERVER, [pptp.ControlRefusal], "control-rejected"),
        (PPTP, SERVER, [wire_pptp.StartControlConnectionReply, pptp.CallRefusal], "call-rejected"),
        (PPTP, SERVER, [wire_pptp.OutgoingCallReply], "midstream-control"),
        (PPTP, CLIENT, [wire_pptp.SetLinkInfo], "midstream-control"),
        (PPTP, CLIENT, [wire_pptp.StartControlConnectionRequest, wire_pptp.SetLinkInfo], "sccrq-unanswered"),
        (L2TP, CLIENT, [wire_l2tp.StartControlConnectionRequest, wire_l2tp.StartControlConnectionConnected], "tunnel-up"),
        (
            L2TP,
            CLIENT,
            [
                wire_l2tp.StartControlConnectionRequest,
                wire_l2tp.StartControlConnectionConnected,
                wire_l2tp.IncomingCallRequest,
                wire_l2tp.IncomingCallConnected,
            ],
            "session-up",
        ),
        (L2TP, SERVER, [wire_l2tp.StartControlConnectionReply, wire_l2tp.IncomingCallReply], "session-answered"),
        (L2TP, SERVER, [wire_l2tp.IncomingCallReply], "midstream-control"),
        (IKEV1, CLIENT, [wire_ikev1.MainModeSa, wire_ikev1.MainModeKeys, wire_ikev1.MainModeAuth], "main-answered"),
        (IKEV1, CLIENT, [wire_ikev1.AggressiveModeSa, wire_ikev1.AggressiveModeAuth], "aggressive-complete"),
        (IKEV1, SERVER, [wire_ikev1.MainModeSa, wire_ikev1.MainModeKeys], "main-response-only"),
        (IKEV2, CLIENT, [wire_ikev2.SaInit, wire_ikev2.Auth], "auth-request-unanswered"),
        (IKEV2, CLIENT, [wire_ikev2.SaInit, wire_ikev2.Auth, wire_ikev2.Informational], "auth-answered"),
        (IKEV2, SERVER, [wire_ikev2.SaInit, wire_ikev2.Auth], "auth-answered"),
    ],
)
def test_what_a_direction_proves(protocol: tuple[object, Implied], sender: Sender, kinds: list[type], stage: str) -> None:
    alone: OneDirection[object] = OneDirection(*protocol)  # type: ignore[arg-type]
    for kind in kinds:
        alone.saw(sender, kind)
    assert alone.stage == stage


def test_whether_anything_led_anywhere() -> None:
    followed = OneDirection(*PPTP)
    followed.saw(CLIENT, str)
    assert not followed.begun
    followed.saw(CLIENT, wire_pptp.StartControlConnectionRequest)
    assert followed.begun
