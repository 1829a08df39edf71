"""openvpn's log as steps: real logs of 2.5, 2.6 and 2.7, lines of 2.4, and what may not be shown."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.deployment.real_client.log_reading import TimedLine, plain, read_log, told_lines
from vpnprobe.deployment.real_client.steps import STEPS, Came, Course, Step

LOGS = Path(__file__).parents[1] / "data" / "openvpn-logs"
STOPPED = {
    "2.5-certificate-wrong-ca": (Step.CERTIFICATE, "certificate-wrong-ca"),
    "2.5-credentials-refused": (Step.START, "profile-refused"),
    "2.6-certificate-expired": (Step.CERTIFICATE, "certificate-expired"),
    "2.6-certificate-wrong-ca": (Step.CERTIFICATE, "certificate-wrong-ca"),
    "2.6-certificate-wrong-fingerprint": (Step.CERTIFICATE, "certificate-wrong-fingerprint"),
    "2.6-certificate-wrong-name": (Step.CERTIFICATE, "certificate-wrong-name"),
    "2.6-certificate-wrong-purpose": (Step.CERTIFICATE, "certificate-wrong-purpose"),
    "2.6-client-certificate-expired-tcp": (Step.KEYS, "closed-by-peer"),
    "2.6-closed-at-once-tcp": (Step.RESET, "closed-at-once"),
    "2.6-credentials-refused": (Step.LOGIN, "credentials-refused"),
    "2.6-keysize": (Step.START, "profile-refused"),
    "2.6-name-not-resolved": (Step.CONNECT, "name-not-resolved"),
    "2.6-no-common-data-cipher": (Step.LOGIN, "no-common-data-cipher"),
    "2.6-port-refused": (Step.RESET, "port-refused"),
    "2.6-port-refused-tcp": (Step.CONNECT, "port-refused"),
    "2.6-push-refused": (Step.UP, "push-refused"),
    "2.6-silent": (Step.RESET, "silent"),
    "2.6-tls-version": (Step.CERTIFICATE, "tls-silent"),
    "2.7-certificate-wrong-name": (Step.CERTIFICATE, "certificate-wrong-name"),
    "2.7-client-certificate-expired-tcp": (Step.KEYS, "client-certificate-expired"),
    "2.7-credentials-refused": (Step.LOGIN, "credentials-refused"),
}
"""By log: the step at which it stops, and the cause."""
UP = (
    "2.5-lzo-in-the-profile",
    "2.5-push-refused",
    "2.5-whole-tcp",
    "2.5-whole-udp",
    "2.6-lzo-in-the-profile",
    "2.6-whole-tcp",
    "2.6-whole-udp",
)
OF_2_4 = """\
TCP/UDP: Preserving recently used remote address: [AF_INET]192.0.2.1:1194
UDP link local: (not bound)
UDP link remote: [AF_INET]192.0.2.1:1194
TLS: Initial packet from [AF_INET]192.0.2.1:1194, sid=f1ab4bf6 b2cb2e0d
VERIFY OK: depth=0, CN=server
WARNING: 'link-mtu' is used inconsistently, local='link-mtu 1541', remote='link-mtu 1542'
WARNING: 'comp-lzo' is present in remote config but missing in local config, remote='comp-lzo'
Control Channel: TLSv1.2, cipher TLSv1.2 ECDHE-RSA-AES256-GCM-SHA384, 2048 bit RSA
[server] Peer Connection Initiated with [AF_INET]192.0.2.1:1194
SENT CONTROL [server]: 'PUSH_REQUEST' (status=1)
PUSH: Received control message: 'PUSH_REPLY,route-gateway 10.8.0.1,ping 10,ping-restart 60,ifconfig 10.8.0.2 255.255.255.0,peer-id 0'
Outgoing Data Channel: Cipher 'AES-256-GCM' initialized with 256 bit key
Initialization Sequence Completed
"""


def read(text: str, *, name: str = "", problem: str = "", ended: bool = False) -> Course:
    lines = [TimedLine(0.25 * number, line) for number, line in enumerate(text.splitlines())]
    return read_log(lines, stream=name.endswith("-tcp"), signs_in=True, problem=problem, ended=ended)


def of(name: str) -> Course:
    return read((LOGS / f"{name}.log").read_text(), name=name)


def test_each_log_is_looked_at() -> None:
    assert {*STOPPED, *UP, "2.7-whole-udp"} == {path.stem for path in LOGS.glob("*.log")}


@pytest.mark.parametrize("name", STOPPED)
def test_where_it_stops(name: str) -> None:
    course = of(name)
    assert (course.came_up, course.stopped_at, course.cause) == (False, *STOPPED[name])
    place = STEPS.index(STOPPED[name][0])
    assert [course.steps[step].came for step in STEPS[:place]] == [Came.PASSED] * place
    assert course.steps[STEPS[place]].came is Came.FAILED
    assert {course.steps[step].came for step in STEPS[place + 1 :]} <= {Came.NOT_REACHED, Came.NOT_TRIED}


@pytest.mark.parametrize("name", [*UP, "2.7-whole-udp"])
def test_it_comes_up(name: str) -> None:
    course = of(name)
    assert (course.came_up, course.stopped_at, course.cause) == (True, None, "")
    assert [course.steps[step].came for step in STEPS] == [*[Came.PASSED] * 8, Came.NOT_TRIED]
    assert any("Initial packet" in line for line in course.steps[Step.RESET].words)
    assert any("VERIFY OK: depth=0" in line for line in course.steps[Step.CERTIFICATE].words)
    assert any("PUSH_REPLY" in line for line in course.steps[Step.PUSH].words)
    assert course.steps[Step.RESET].at_s is not None


def test_lines_of_2_4() -> None:
    course = read(OF_2_4)
    assert course.came_up
    assert [line for line in course.steps[Step.UP].words if line.startswith("WARNING")] == [
        "WARNING: 'comp-lzo' is present in remote config but missing in local config, remote='comp-lzo'"
    ]


def test_what_one_end_has_alone_is_told_where_openvpn_says_so() -> None:
    assert any("'comp-lzo' is present in local config" in line for line in of("2.5-lzo-in-the-profile").steps[Step.UP].words)


@pytest.mark.parametrize(
    ("line", "step", "cause"),
    [
        ("AUTH: Received control message: AUTH_FAILED,CRV1:R,E:state:dXNlcg==:Code?", Step.LOGIN, "challenge-wanted"),
        ("AUTH: Received control message: AUTH_FAILED,TEMP[backoff 42]:LDAP is down", Step.LOGIN, "login-put-off"),
        ("VERIFY ERROR: depth=0, error=certificate revoked: CN=x", Step.CERTIFICATE, "certificate-revoked"),
        ("VERIFY ERROR: depth=1, error=self-signed certificate in certificate chain: CN=x", Step.CERTIFICATE, "certificate-wrong-ca"),
        ("VERIFY EKU ERROR", Step.CERTIFICATE, "certificate-wrong-purpose"),
        ("OpenSSL: error:0A00010B:SSL routines::wrong version number", Step.CERTIFICATE, "tls-version"),
        ("OpenSSL: error:0A000410:SSL routines::sslv3 alert handshake failure", Step.CERTIFICATE, "tls-no-common-cipher"),
        ("Pushed option rejected by filter: 'route-gateway 10.8.0.1'.  Restarting.", Step.UP, ""),
        ("tls-crypt unwrap error: packet authentication failed", Step.RESET, "answer-unreadable"),
        ("WARNING: Bad encapsulated packet length from peer (18516)", Step.RESET, "not-openvpn"),
    ],
)
def test_single_lines(line: str, step: Step, cause: str) -> None:
    before = [one for one in OF_2_4.splitlines() if not one.startswith(("Initialization", "WARNING"))]
    marks = {Step.RESET: "UDP link remote", Step.CERTIFICATE: "TLS: Initial", Step.LOGIN: "[server]", Step.UP: "PUSH: "}
    place = next(number for number, one in enumerate(before) if one.startswith(marks[step]))
    course = read("\n".join([*before[: place + 1], line]))
    assert (course.stopped_at, course.cause, course.words) == (step, cause, line)


def test_no_user_name_was_sent() -> None:
    lines = [TimedLine(None, line) for line in (LOGS / "2.6-credentials-refused.log").read_text().splitlines()]
    assert read_log(lines, stream=False, signs_in=False).cause == "session-refused"


def test_of_several_attempts_the_one_that_came_farthest_counts() -> None:
    refused = (
        "TCP: connect to [AF_INET]192.0.2.9:443 failed: Connection refused\nSIGUSR1[soft,connection-failed] received, process restarting\n"
    )
    assert read(refused + OF_2_4).came_up
    found = read((LOGS / "2.6-certificate-expired.log").read_text() + refused)
    assert (found.stopped_at, found.cause) == (Step.CERTIFICATE, "certificate-expired")


def test_a_secret_that_nobody_gave() -> None:
    course = read("", problem="it asks for the secret 'Auth', which nobody gave: run it on a terminal, or put it into the profile")
    assert (course.came_up, course.cause) == (None, "credentials-wanted")
    assert "nobody gave" in course.words


def test_a_port_of_this_machine_that_another_program_has() -> None:
    line = "TCP/UDP: Socket bind failed on local address [AF_INET][undef]:1194: Address already in use (errno=98)"
    course = read(f"{line}\nExiting due to fatal error", ended=True)
    assert (course.came_up, course.cause, course.words) == (None, "", line)


def test_options_of_ours_that_it_does_not_take_say_nothing_of_the_profile() -> None:
    course = read("Options error: Unrecognized option or missing parameter(s) in [CMD-LINE]:1: management (2.6.14)", ended=True)
    assert course.came_up is None


def test_its_own_end_is_no_silence() -> None:
    course = read("UDPv4 link remote: [AF_INET]192.0.2.1:1194\nsomething new", ended=True, problem="it ended by itself with status 1")
    assert (course.stopped_at, course.cause, course.words) == (Step.RESET, "", "it ended by itself with status 1")


def test_what_may_not_be_shown() -> None:
    push = "PUSH: Received control message: 'PUSH_REPLY,auth-token SESS_ID_AT_abc==,auth-token-user dXNlcg==,ping 10'"
    assert plain(push) == "PUSH: Received control message: 'PUSH_REPLY,auth-token [left out],auth-token-user [left out],ping 10'"
    assert "dXNlcg" not in plain("AUTH: Received control message: AUTH_FAILED,CRV1:R,E:state:dXNlcg==:Code?")
    assert plain("it is Pa55word, he said\x1b[2J", ["Pa55word"]) == "it is [left out], he said?[2J"
    for echoed in ("SECRETword", "SECRET_word", "SECRET\tword"):
        assert plain(f"CN={echoed}", ["SECRET\tword"]) == "CN=[left out]"
    for echoed in ("pässwörd", "p_ssw_rd", "p__ssw__rd"):
        assert plain(f"CN={echoed}", ["pässwörd"]) == "CN=[left out]"
    assert plain("___ PUSH_REPLY", ["ääß"]) == "___ PUSH_REPLY"
    assert plain("PIN is 123, not 1234", ["123"]) == "PIN is [left out], not 1234"
    for line, kept in (
        ("Info command was pushed by server ('OPEN_URL:https://sso.example/?token=hidden')", "OPEN_URL:"),
        ("AUTH_PENDING,timeout 60 WEB_AUTH::https://sso.example/hidden", "WEB_AUTH:"),
        (">INFOMSG:CR_TEXT:E,R:hidden question", "CR_TEXT:"),
        ("CR_RESPONSE,hidden", "CR_RESPONSE,"),
        ("Send to HTTP proxy: 'Proxy-Authorization: Digest username=\"hidden\"'", "Proxy-Authorization: "),
    ):
        assert plain(line) == f"{line[: line.index(kept)]}{kept}[left out]"
    assert told_lines([(0.1, 'MANAGEMENT: CMD \'username "Auth" "me"\''), (0.2, "TLS: x"), (0.3, "")]) == (TimedLine(0.2, "TLS: x"),)


def test_a_secret_that_is_in_a_line_hides_no_step() -> None:
    """A password may be any word, also one of openvpn's own."""
    said = "UDPv4 link remote: [AF_INET]192.0.2.1:1194\nTLS: Initial packet from x\nVERIFY OK: depth=0, CN=x"
    lines = told_lines([(None, line) for line in said.splitlines()], ["depth", "0", "packet"])
    course = read_log(lines, stream=False, signs_in=True)
    assert course.stopped_at is Step.KEYS
    assert not [line.text for line in lines if "depth" in line.text or "packet" in line.text]
    assert "depth" not in str(course)


@given(st.lists(st.text(max_size=60) | st.sampled_from(OF_2_4.splitlines()), max_size=40), st.booleans())
def test_any_log_is_some_course(lines: list[str], ended: bool) -> None:
    course = read_log([TimedLine(None, plain(line)) for line in lines], stream=False, signs_in=True, ended=ended)
    assert set(course.steps) == set(STEPS)
    assert (course.stopped_at is None) == bool(course.came_up) or course.came_up is None
