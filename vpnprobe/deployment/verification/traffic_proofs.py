"""From what left, and from the kernel's word on where it would go, to outcomes and sentences: path, leaks, IPv6, DNS. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from vpnprobe.deployment.verification.asked import Asked
from vpnprobe.deployment.verification.model import Leak, Outcome, Proof, Question, WatchFacts
from vpnprobe.deployment.verification.naming import Resolvers
from vpnprobe.deployment.verification.traffic import Kind, is_excepted
from vpnprobe.deployment.verification.way_out import Answer

LISTED = 5
"""Names in one sentence."""


@dataclass(frozen=True, slots=True)
class Ways:
    """Where packets would go, as it was looked up again and again."""

    device: str
    """Of the tunnel."""
    answers: tuple[Answer, ...]
    asked: Asked

    def astray(self, version: int) -> list[Answer]:
        """Those that lead around the tunnel and should not."""
        whole = self.asked.full4 if version == 4 else self.asked.full
        return [one for one in self._of(version) if one.way.device not in ("", "lo", self.device) and (whole or self._is_through(one))]

    def inside(self, version: int) -> list[Answer]:
        return [one for one in self._of(version) if one.way.device == self.device]

    def _of(self, version: int) -> list[Answer]:
        of_version = [one for one in self.answers if one.question.flow.destination.version == version]
        return [one for one in of_version if not is_excepted(one.question.flow.destination, self.asked)]

    def _is_through(self, answer: Answer) -> bool:
        return any(answer.question.flow.destination in network for network in self.asked.through)


def described(answer: Answer) -> str:
    """`192.0.2.1 on eth0 (the route 192.0.2.0/24 dev eth0)`."""
    because = f" ({answer.question.because})" if answer.question.because else ""
    return f"{answer.question.flow.destination} on {answer.way.device}{because}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(names[:LISTED])}{more}"


def path(ways: Ways, *, broke: bool) -> Proof:
    """What the kernel says of IPv4 (of IPv6 where that alone goes through the tunnel)."""
    version = 4 if ways.asked.full4 or not ways.asked.full6 else 6
    astray, inside = ways.astray(version), ways.inside(version)
    names = list(dict.fromkeys(map(described, astray)))
    numbers = {"looked_up": len(ways.answers), "through": len(inside), "around": names}
    if astray:
        sentence = f"Packets to outside go around the tunnel: {_listed(names)}."
        todo = "delete that route or rule, or except it in the profile ('route NETWORK MASK net_gateway')"
        return Proof(question=Question.PATH, outcome=Outcome.FAILED, sentence=sentence, todo="" if broke else todo, numbers=numbers)
    if ways.asked.full and not inside:
        sentence = "The kernel has no way to addresses outside while the tunnel is up."
        return Proof(
            question=Question.PATH,
            outcome=Outcome.FAILED,
            sentence=sentence,
            todo="see which routes OpenVPN could not set",
            numbers=numbers,
        )
    if not ways.asked.full and ways.asked.through and not inside:
        sentence = "None of the networks that are to go through the tunnel has its way there."
        return Proof(
            question=Question.PATH,
            outcome=Outcome.FAILED,
            sentence=sentence,
            todo="see which routes OpenVPN could not set",
            numbers=numbers,
        )
    what = (
        f"all {len(inside)} addresses outside that were looked up"
        if ways.asked.full
        else f"all {len(ways.asked.through)} networks that are to"
    )
    sentence = f"By the routing table {what} go through {ways.device}."
    return Proof(question=Question.PATH, outcome=Outcome.SHOWN, sentence=sentence, numbers=numbers)


def leaks(found: Sequence[Leak], watch: WatchFacts, *, broke: bool) -> Proof:
    """What was seen to leave beside the tunnel."""
    count = sum(leak.count for leak in found)
    numbers = {"leaked": count, "watched_s": watch.watched_s, "traffic": dict(watch.traffic), "dropped": watch.dropped}
    if found:
        first = found[0]
        by = f" by {first.process}" if first.process else " (sent to see where it goes)" if first.provoked else ""
        names = _listed([f"{leak.name} on {leak.device}" for leak in found[1:]])
        others = f"; also {names}" if names else ""
        when = " after it had broken" if broke else ""
        sentence = f"{count} packets left beside the tunnel{when}: {first.name} on {first.device}{by}, {first.why}{others}."
        return Proof(question=Question.LEAKS, outcome=Outcome.FAILED, sentence=sentence, todo=_mend(first), numbers=numbers)
    if watch.dropped:
        sentence = f"Whether anything leaks is not known: {watch.dropped} packets came too fast to be looked at."
        return Proof(
            question=Question.LEAKS, outcome=Outcome.UNKNOWN, sentence=sentence, todo="try it when there is less traffic", numbers=numbers
        )
    if not watch.through_tunnel.get("provoked"):
        sentence = "Whether anything leaks is not known: none of the packets sent to outside was seen in the tunnel."
        return Proof(question=Question.LEAKS, outcome=Outcome.UNKNOWN, sentence=sentence, numbers=numbers)
    kinds = [f"{count} {kind}" for kind, count in watch.traffic.items() if kind != Kind.TUNNEL]
    beside = f" (seen beside it: {', '.join(kinds)})" if kinds else ""
    provoked = watch.through_tunnel["provoked"]
    sentence = f"Nothing leaked in {watch.watched_s:.1f} s{beside}; {provoked} packets sent to outside went through the tunnel."
    return Proof(question=Question.LEAKS, outcome=Outcome.SHOWN, sentence=sentence, numbers=numbers)


def _mend(leak: Leak) -> str:
    if leak.process and not leak.provoked:
        return f"see why {leak.process} sends beside the tunnel (bound to {leak.device}, or by a route of its own), and block it there"
    return "see 'path', 'ipv6' and 'dns' for the way it takes"


def ipv6(ways: Ways, found: Sequence[Leak]) -> Proof:
    """Covered, refused, absent, or open."""
    astray, inside = ways.astray(6), ways.inside(6)
    leaked = [leak for leak in found if ":" in leak.destination]
    numbers = {"through": len(inside), "around": [described(one) for one in astray], "leaked": sum(leak.count for leak in leaked)}
    if astray or leaked:
        where = _listed(list(dict.fromkeys([one.way.device for one in astray] or [leak.device for leak in leaked])))
        sentence = f"IPv6 leaks: it leaves by {where} beside the tunnel."
        todo = "give the tunnel IPv6 ('redirect-gateway def1 ipv6' with a prefix, or with 'block-ipv6'), or switch IPv6 off on this machine"
        return Proof(question=Question.IPV6, outcome=Outcome.FAILED, sentence=sentence, todo=todo, numbers={**numbers, "state": "leaks"})
    if not ways.asked.full:
        sentence = "IPv6 is left as it is: the tunnel is not to carry all traffic."
        return Proof(question=Question.IPV6, outcome=Outcome.UNKNOWN, sentence=sentence, numbers={**numbers, "state": "not-asked"})
    if inside:
        state, sentence = (
            ("blocked", "IPv6 is refused by the tunnel.") if ways.asked.blocks6 else ("covered", "IPv6 goes through the tunnel.")
        )
        return Proof(question=Question.IPV6, outcome=Outcome.SHOWN, sentence=sentence, numbers={**numbers, "state": state})
    sentence = "This machine has no way out over IPv6, inside the tunnel or beside it."
    return Proof(question=Question.IPV6, outcome=Outcome.SHOWN, sentence=sentence, numbers={**numbers, "state": "absent"})


def dns(resolvers: Resolvers, asked: Asked, watch: WatchFacts, found: Sequence[Leak], beside: Sequence[str]) -> Proof:
    """`beside`: resolvers that the kernel would ask around the tunnel."""
    leaked = [leak for leak in found if leak.port in (53, 853)]
    unused = [str(address) for address in asked.dns if address not in resolvers.asked]
    numbers = {
        "asked": [str(address) for address in resolvers.listed],
        "behind": [str(address) for address in resolvers.behind],
        "pushed": [str(address) for address in asked.dns],
        "queries_in_tunnel": watch.through_tunnel.get("queries", 0),
        "answers_in_tunnel": watch.through_tunnel.get("answers", 0),
        "leaked": [leak.name for leak in leaked],
    }
    todo = _apply(unused) if unused else ""
    if (leaked or beside) and asked.full:
        names = _listed(list(dict.fromkeys([*(leak.destination for leak in leaked), *beside])))
        sentence = f"Names are asked for outside of the tunnel: {names}."
        return Proof(question=Question.DNS, outcome=Outcome.FAILED, sentence=sentence, todo=todo or _use_inside(), numbers=numbers)
    told = f" The resolver that the server names ({', '.join(unused)}) is not in use." if unused else ""
    if not resolvers.listed:
        sentence = f"This machine has no resolver, so that nothing shows how names are asked for.{told}"
        return Proof(question=Question.DNS, outcome=Outcome.UNKNOWN, sentence=sentence, todo=todo, numbers=numbers)
    if not asked.full and not numbers["queries_in_tunnel"]:
        sentence = f"Names are asked for as before: the tunnel is not to carry all traffic.{told}"
        return Proof(question=Question.DNS, outcome=Outcome.UNKNOWN, sentence=sentence, todo=todo, numbers=numbers)
    if not numbers["queries_in_tunnel"]:
        sentence = f"No query for a name was seen, in the tunnel or beside it.{told}"
        return Proof(question=Question.DNS, outcome=Outcome.UNKNOWN, sentence=sentence, todo=todo, numbers=numbers)
    if not numbers["answers_in_tunnel"]:
        sentence = f"All {numbers['queries_in_tunnel']} queries for names went through the tunnel, and no resolver answered one.{told}"
        return Proof(question=Question.DNS, outcome=Outcome.UNKNOWN, sentence=sentence, todo=todo or _use_inside(), numbers=numbers)
    sentence = f"All {numbers['queries_in_tunnel']} queries for names went through the tunnel, and were answered there.{told}"
    return Proof(question=Question.DNS, outcome=Outcome.SHOWN, sentence=sentence, todo=todo, numbers=numbers)


def _apply(unused: Sequence[str]) -> str:
    """On Linux OpenVPN sets no resolver by itself."""
    return (
        f"have it applied: 'apt install openvpn-systemd-resolved' (or openresolv) with 'script-security 2' and its script as 'up' "
        f"and 'down', import the profile into NetworkManager, or put 'nameserver {unused[0]}' first in /etc/resolv.conf"
    )


def _use_inside() -> str:
    return "let the system ask a resolver that is reached through the tunnel, and have the server push one"
