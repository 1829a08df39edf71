"""From what was tried to outcomes and sentences: up, data, beyond, size, throughput, restored. Pure."""

from collections.abc import Mapping, Sequence

from vpnprobe.deployment.verification.asked import OVERHEAD_BYTES, Asked
from vpnprobe.deployment.verification.beyond import Reached
from vpnprobe.deployment.verification.model import Outcome, Proof, Question, TunnelFacts
from vpnprobe.deployment.verification.trials import Beyond, Data, Size, Speed
from vpnprobe.transports.stack import Address

SEEN_BY = "name a service that says from which address it is asked: --seen-by URL"


def not_up(problem: str, *, interrupted: bool) -> Proof:
    """It never came up."""
    if interrupted:
        return Proof(
            question=Question.UP, outcome=Outcome.UNKNOWN, sentence="Whether the tunnel comes up is not known: it was interrupted."
        )
    return Proof(question=Question.UP, outcome=Outcome.FAILED, sentence=f"The tunnel does not come up: {problem}.", todo=_mend(problem))


def _mend(problem: str) -> str:
    """What to do about OpenVPN's own words."""
    words = problem.lower()
    if "auth" in words and ("fail" in words or "password" in words):
        return "check the user name and the password, and the server's log"
    if "certificate" in words or "tls error" in words or "tls key" in words:
        return (
            "check that the server runs, that nothing on the way drops its packets ('vpnprobe run --solo --profile FILE'), "
            "and that the certificate is neither expired nor revoked"
        )
    return "try it with 'vpnprobe run --solo --profile FILE', which names what stops a session"


def up(tunnel: TunnelFacts, broke_after_s: float | None, detail: str) -> Proof:
    """It came up. `broke_after_s`: seconds until it was not up any more; None: it stayed. `detail`: OpenVPN's word on coming up."""
    numbers = {"up_after_s": tunnel.up_after_s, "addresses": list(tunnel.addresses), "pushed": list(tunnel.pushed)}
    if broke_after_s is not None:
        sentence = f"The tunnel came up and broke {broke_after_s:.1f} s later."
        todo = "what is sent then goes beside it: keep it up (persist-tun), or block what does not go through it"
        return Proof(
            question=Question.UP, outcome=Outcome.FAILED, sentence=sentence, todo=todo, numbers={**numbers, "broke_after_s": broke_after_s}
        )
    kind = "all traffic is to go through it" if tunnel.full else f"{len(tunnel.routes)} networks are to go through it"
    sentence = (
        f"The tunnel is up after {tunnel.up_after_s:.2f} s: {', '.join(tunnel.addresses) or 'no address'} on {tunnel.device}; {kind}."
    )
    if detail not in ("SUCCESS", ""):
        sentence += f" OpenVPN says that not everything could be set ({detail.lower().replace('_', ' ')})."
    return Proof(question=Question.UP, outcome=Outcome.SHOWN, sentence=sentence, numbers=numbers)


def data(found: Data, received: int) -> Proof:
    """Whether data passes both ways; `received`: packets that came out of the tunnel."""
    numbers = {
        "sent": found.sent,
        "answered": found.answered,
        "received": received,
        "delay_ms": None if found.delay_s is None else round(found.delay_s * 1000, 2),
        "gateway": None if found.gateway is None else str(found.gateway),
        "by": found.by,
    }
    if found.gateway is not None and found.delay_s is not None:
        sentence = f"Data passes both ways: {found.gateway} answers through the tunnel in {found.delay_s * 1000:.1f} ms ({found.by})."
        return Proof(question=Question.DATA, outcome=Outcome.SHOWN, sentence=sentence, numbers=numbers)
    if received:
        sentence = f"Data passes both ways: {received} packets came out of the tunnel, though its server answers no echo request."
        return Proof(question=Question.DATA, outcome=Outcome.SHOWN, sentence=sentence, numbers=numbers)
    sentence = f"Nothing came out of the tunnel for {found.sent} requests: whether data passes is not known."
    todo = "let the server answer pings from the tunnel, and see that it forwards; 'vpnprobe run --solo --profile FILE' tries its data too"
    return Proof(question=Question.DATA, outcome=Outcome.UNKNOWN, sentence=sentence, todo=todo, numbers=numbers)


Seen = Address | str


def beyond(found: Beyond | None, others: Sequence[Address], named: Sequence[Reached], seen: tuple[Seen, Seen, bool | None] | None) -> Proof:
    """`others`: whose packets came out of the tunnel beside the server's own.

    `seen`: the address without the tunnel and with it, or what went wrong, and whether they differ; None: nobody was asked.
    """
    if (found is None or found.source is None) and others:
        found = Beyond(others[0], 0, "")
    numbers = {
        "named": [{"host": str(one.host), "answered": one.answered, "how": one.how} for one in named],
        "answered_from": None if found is None or found.source is None else str(found.source),
        "hops": 0 if found is None else found.hops,
        "seen_before": None if seen is None else str(seen[0]),
        "seen_as": None if seen is None else str(seen[1]),
    }
    silent = [one for one in named if not one.answered]
    if silent:
        sentence = f"{silent[0].host} beyond the server does not answer through the tunnel ({silent[0].how})."
        todo = (
            "see that the server forwards (net.ipv4.ip_forward=1), translates addresses (NAT) or is routed to, and what its firewall says"
        )
        return Proof(question=Question.BEYOND, outcome=Outcome.FAILED, sentence=sentence, todo=todo, numbers=numbers)
    if seen is not None:
        return _seen(*seen, numbers)
    if named:
        sentence = f"{named[0].host} beyond the server answers through the tunnel ({named[0].how})."
        return Proof(question=Question.BEYOND, outcome=Outcome.SHOWN, sentence=sentence, todo=SEEN_BY, numbers=numbers)
    if found is not None and found.source is not None:
        hop = f" (hop {found.hops})" if found.hops else ""
        sentence = f"{found.source} answers from beyond the server{hop}: it forwards, and answers find their way back."
        return Proof(question=Question.BEYOND, outcome=Outcome.SHOWN, sentence=sentence, todo=SEEN_BY, numbers=numbers)
    why = f"the server's end says {found.refused_by}" if found is not None and found.refused_by else "nothing beyond the server answered"
    sentence = f"Whether the server carries anything on is not known: {why if found is not None else 'nobody beyond it was named'}."
    todo = "name a host beyond it that answers: --beyond HOST[:PORT]"
    return Proof(question=Question.BEYOND, outcome=Outcome.UNKNOWN, sentence=sentence, todo=todo, numbers=numbers)


def _seen(before: Seen, now: Seen, other: bool | None, numbers: Mapping[str, object]) -> Proof:
    if other is None:
        why = now if isinstance(now, str) else f"it is {now}, and without the tunnel {before}"
        sentence = f"From which address the outside sees this client is not known: {why}."
        return Proof(question=Question.BEYOND, outcome=Outcome.UNKNOWN, sentence=sentence, numbers=numbers)
    if other:
        sentence = f"The outside sees this client as {now}, and without the tunnel as {before}."
        return Proof(question=Question.BEYOND, outcome=Outcome.SHOWN, sentence=sentence, numbers=numbers)
    sentence = f"The outside sees this client as {now}, with the tunnel as without."
    todo = "see which route leads there beside the tunnel, or whether both ends have one address outside"
    return Proof(question=Question.BEYOND, outcome=Outcome.FAILED, sentence=sentence, todo=todo, numbers=numbers)


SILENT = "the server's end answers no echo request"
CUT_SHORT = "it was not tried to its end"


def size(found: Size | None, asked: Asked, transport: str, why: str) -> Proof:
    """Whether full-sized packets pass. Where TCP's fit all the same, it is a limit and no failure. `why`: it is not known."""
    if found is None or found.largest_bytes is None:
        sentence = f"How large a packet may be is not known: {why}."
        return Proof(question=Question.SIZE, outcome=Outcome.UNKNOWN, sentence=sentence, todo="let the server answer pings from the tunnel")
    largest, mtu = found.largest_bytes, found.mtu_bytes
    segment = None if transport == "tcp" else asked.segment_bytes
    numbers = {"mtu_bytes": mtu, "largest_bytes": largest, "tcp_bytes": None if segment is None else min(segment, mtu)}
    if largest >= mtu:
        sentence = f"Full-sized packets pass both ways: {mtu} bytes, the tunnel's MTU."
        return Proof(question=Question.SIZE, outcome=Outcome.SHOWN, sentence=sentence, numbers=numbers)
    todo = f"set 'tun-mtu {largest}' on both ends (or 'mssfix {largest + OVERHEAD_BYTES}' for TCP alone)"
    if segment is not None and segment <= largest:
        sentence = f"TCP passes (kept to packets of {segment} bytes), and no packet over {largest} bytes does; the tunnel's MTU is {mtu}."
        return Proof(question=Question.SIZE, outcome=Outcome.SHOWN, sentence=sentence, todo=todo, numbers=numbers)
    sentence = f"No packet over {largest} bytes passes, though the tunnel's MTU is {mtu}: large transfers stall."
    return Proof(question=Question.SIZE, outcome=Outcome.FAILED, sentence=sentence, todo=todo, numbers=numbers)


def throughput(tunnel: Speed | None, direct: Speed | None, why: str) -> Proof:
    """As numbers with their method; nothing is judged. `why`: it is not known."""
    numbers = {
        "tunnel_megabits_s": None if tunnel is None else tunnel.megabits_s,
        "direct_megabits_s": None if direct is None else direct.megabits_s,
        "lost": None if tunnel is None else max(0, tunnel.sent - tunnel.answered),
        "method": "echo requests of 1200 bytes to the server, inside the tunnel and before it beside; at most 256 on the way",
    }
    if tunnel is None or tunnel.megabits_s is None:
        sentence = f"How fast it is is not known: {why}."
        return Proof(question=Question.THROUGHPUT, outcome=Outcome.UNKNOWN, sentence=sentence, numbers=numbers)
    beside = (
        "the server answers none beside the tunnel" if direct is None or direct.megabits_s is None else f"{direct.megabits_s:.3g} beside it"
    )
    method = f"echo requests for {tunnel.lasted_s:.1f} s"
    sentence = f"At least {tunnel.megabits_s:.3g} Mbit/s each way at once through the tunnel, {beside} ({method})."
    return Proof(question=Question.THROUGHPUT, outcome=Outcome.SHOWN, sentence=sentence, numbers=numbers)


def restored(differences: Sequence[str], others: Sequence[str]) -> Proof:
    """Whether all is as before. `others`: what has changed meanwhile that the tunnel has nothing to do with."""
    if not differences and others:
        sentence = f"The tunnel left nothing behind; something else has changed meanwhile: {'; '.join(others[:3])}."
        return Proof(question=Question.RESTORED, outcome=Outcome.SHOWN, sentence=sentence, numbers={"others": list(others)})
    if not differences:
        sentence = "Routes, rules, addresses and the resolver are as they were before."
        return Proof(question=Question.RESTORED, outcome=Outcome.SHOWN, sentence=sentence)
    sentence = f"Not all is as before: {'; '.join(differences[:5])}."
    todo = "put it back by hand, unless another program changed it meanwhile"
    return Proof(
        question=Question.RESTORED, outcome=Outcome.FAILED, sentence=sentence, todo=todo, numbers={"differences": list(differences)}
    )
