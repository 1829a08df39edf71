"""TOML -> `RuleSet`: the default rules, and a user's file merged over them key by key.

A user's file may hold any part of `default.toml`: what has the same name is changed key by key (lists as a whole), the rest is added,
`enabled = false` takes a rule away. Every mistake is one line with the file, the table or the line, and what to do.

Invariant: what comes out is complete (see `model`), whatever the file holds; a bad file is `UsageError` with status UNREADABLE.
"""

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final, cast

from vpnprobe.observations.schema import Cause, Outcome, Transport
from vpnprobe.rules.model import (
    CANDIDATE,
    KNOWN_CHECKS,
    SCHEMA,
    ClientOs,
    ClientSystem,
    Combine,
    Condition,
    Criterion,
    Derived,
    DiagnosisText,
    DirectionScope,
    FailureText,
    FailureWords,
    Need,
    ObservationSelector,
    Preset,
    ProtocolTraits,
    RowQuantifier,
    Rule,
    RuleSet,
    Security,
    Sentences,
    Source,
    Support,
    Treatment,
    Truth,
    Weight,
)
from vpnprobe.rules.table import Table, refuse

MAX_BYTES: Final = 1_000_000
WHY_KEYS: Final = (
    "not-measured",
    "skipped",
    "error",
    "no-answer",
    "no-answer-and-skipped",
    "no-listener",
    "outside-session",
    "refused",
    "unanswered",
    "unanswered-because",
    "answers-lost",
    "unfinished",
    "host-firewall",
    "opened-before",
    "after-server",
    "unwatched",
    "taken",
)
REMARK_KEYS: Final = (
    "loss",
    "loss-around",
    "limit",
    "other-port",
    "control-port",
    "outage",
    "outages",
    "late",
    "own-queue",
    "own-firewall",
    "routes",
    "slow-line",
    "wrap",
    "profile",
    "real-client",
    "real-client-stops",
    "failure",
    "said",
    "sizes",
    "cut",
)
LARGEST_TAKEN_OFF: Final = 1000
SIDES: Final = ("client", "server", "way-there", "way-back", "path", "unknown")
"""On whose side a diagnosis may be."""

Content = Mapping[str, object]


@cache
def load_default() -> RuleSet:
    """The rules that come with vpnprobe."""
    return _rule_set("default.toml", _default())


def load(path: Path | str) -> RuleSet:
    """The default rules with those of a file merged over them. Raises UsageError (status UNREADABLE)."""
    file = str(path)
    own = _parse(file, _bytes_of(Path(path)))
    default = _default()
    return _rule_set(file, _merged(default, own), default_rules=_names(default, "rule"), own_rules=_names(own, "rule"))


def _default() -> Content:
    files = ("default.toml", "diagnoses.toml")
    rules, diagnoses = (_parse(name, resources.files("vpnprobe.rules").joinpath(name).read_bytes()) for name in files)
    return {**rules, **diagnoses}


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as problem:
        refuse(f"{path}: cannot be read ({problem.strerror}): name a rules file (TOML)")
    except ValueError:
        refuse(f"{str(path)!r} is no file name: name a rules file (TOML)")
    if len(data) > MAX_BYTES:
        refuse(f"{path}: longer than {MAX_BYTES} bytes, so no rules file: name a rules file (TOML)")
    return data


def _parse(file: str, data: bytes) -> Content:
    try:
        return cast("Content", tomllib.loads(data.decode()))
    except UnicodeDecodeError as problem:
        refuse(f"{file}: not UTF-8 text at byte {problem.start}, so no rules file: name a rules file (TOML)")
    except tomllib.TOMLDecodeError as problem:
        refuse(f"{file}: not TOML: {problem}: correct the file there")
    except RecursionError:
        refuse(f"{file}: nested too deep for a rules file: name a rules file (TOML)")


def _names(content: Content, key: str) -> tuple[str, ...]:
    value = content.get(key)
    return tuple(cast("Mapping[str, object]", value)) if isinstance(value, dict) else ()


def _merged(below: Content, above: Content) -> Content:
    """`above` over `below`, table by table."""
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            both[key] = _merged(cast("Content", old), cast("Content", value))
        else:
            both[key] = value
    return both


def _rule_set(file: str, content: Content, *, default_rules: Iterable[str] = (), own_rules: Iterable[str] = ()) -> RuleSet:
    top = Table(file, "", content)
    if (schema := top.text("schema", SCHEMA)) != SCHEMA:
        top.refuse(f"schema = {schema!r} is not understood: this version reads {SCHEMA!r}")
    selectors = {name: _selector(name, table) for name, table in top.table("selector").tables().items()}
    profiles = {name: _profile(name, table) for name, table in top.table("protocol").tables().items()}
    rules = {
        name: rule
        for name, table in top.table("rule").tables().items()
        if (rule := _rule(name, table, tuple(selectors), tuple(profiles), _names(content, "rule"))) is not None
    }
    presets = {name: _preset(name, table, tuple(profiles)) for name, table in top.table("preset").tables().items()}
    why, remarks = (_sentences(top.table(key), keys) for key, keys in (("why", WHY_KEYS), ("remark", REMARK_KEYS)))
    causes = _causes(top.table("cause"))
    failures = {name: _failure(table, tuple(profiles)) for name, table in top.table("failure").tables().items()}
    diagnoses = {name: found for name, table in top.table("diagnosis").tables().items() if (found := _diagnosis(table)) is not None}
    top.finish()
    for name in profiles:
        if not any(rule.protocol == name and rule.need is Need.REQUIRED for rule in rules.values()):
            top.refuse(f"protocol.{name} has no required rule, so it could get no verdict: add one, or keep it enabled")
    known = frozenset(default_rules)
    own = tuple(own_rules)
    return RuleSet(
        selectors=selectors,
        rules=rules,
        profiles=profiles,
        presets=presets,
        why=why,
        causes=causes,
        remarks=remarks,
        failures=failures,
        diagnoses=diagnoses,
        added=tuple(name for name in own if name not in known),
        overridden=tuple(name for name in own if name in known),
    )


def _selector(name: str, table: Table) -> ObservationSelector:
    probe = table.name("probe", KNOWN_CHECKS)
    selector = ObservationSelector(
        name=name,
        what=table.template("what"),
        probe=probe,
        check=table.name("check", KNOWN_CHECKS[probe]),
        transport=table.optional_choice("transport", Transport),
        port=table.port_or("port", CANDIDATE),
        form=table.optional_text("form"),
        scope=table.choice("direction", DirectionScope, DirectionScope.BOTH),
        quantifier=table.choice("rows", RowQuantifier, RowQuantifier.ANY),
        reads=_reads(table),
        unit=table.text("unit", "packet"),
    )
    table.finish()
    return selector


def _reads(table: Table) -> Mapping[Outcome, Truth] | None:
    if not table.has("reads"):
        return None
    reads = table.table("reads")
    found = {outcome: reads.choice(outcome, Truth) for outcome in Outcome if reads.has(outcome)}
    reads.finish()
    return found


def _condition(table: Table, selectors: tuple[str, ...]) -> Condition | None:
    if not table.has("when"):
        return None
    when = table.table("when")
    return {when.name_of_key(name, selectors): when.choices(name, Truth) for name in when.own_keys()}


def _source(table: Table, selectors: tuple[str, ...]) -> Source:
    source = Source(
        selector=table.name("selector", selectors),
        falsified_by=table.names("falsified_by", selectors),
        proof_only=table.flag("proof_only", default=False),
        instead_of=table.name("instead_of", selectors) if table.has("instead_of") else None,
        when=_condition(table, selectors),
        unmet=table.optional_template("unmet"),
        settings=table.settings("settings"),
        sentences=Sentences(table.optional_template("true"), table.optional_template("false"), table.optional_template("unknown")),
    )
    table.finish()
    return source


def _rule(name: str, table: Table, selectors: tuple[str, ...], protocols: tuple[str, ...], rules: tuple[str, ...]) -> Rule | None:
    """None: the rule is not enabled."""
    enabled = table.flag("enabled", default=True)
    rule = Rule(
        id=name,
        protocol=table.name("protocol", protocols),
        question=table.text("question"),
        need=table.choice("need", Need, Need.REQUIRED),
        weight=table.choice("weight", Weight, Weight.DECISIVE),
        combine=table.choice("combine", Combine, Combine.FIRST),
        sources=tuple(_source(source, selectors) for source in table.table_list("sources")),
        sentences=Sentences(table.template("true"), table.template("false"), table.template("unknown")),
        advice=_causes(table.table("advice")),
        when=_condition(table, selectors),
        after=table.name("after", rules) if table.has("after") else None,
        derived={name: _derived(one) for name, one in table.table("derived").tables().items()},
    )
    table.finish()
    if rule.need is Need.REQUIRED and rule.when is not None:
        table.refuse("a required rule always applies: remove `when`, or make it if-measured or informative")
    if not rule.sources:
        table.refuse("sources is empty: name at least one selector")
    return rule if enabled else None


def _derived(table: Table) -> Derived:
    derived = Derived(table.text("from"), table.whole("less", low=0, high=LARGEST_TAKEN_OFF))
    table.finish()
    return derived


def _failure(table: Table, protocols: tuple[str, ...]) -> FailureText:
    words, own = FailureWords(table.template("what"), table.template("advice")), table.table("of")
    failure = FailureText(
        words,
        own_words={own.name_of_key(protocol, protocols): _failure_words(own.table(protocol), words) for protocol in own.own_keys()},
        check=table.optional_text("check"),
        outcomes=table.choices("outcomes", Outcome) if table.has("check") else frozenset(),
        cause=table.optional_choice("cause", Cause),
        settles=table.flag("settles", default=False),
    )
    table.finish()
    return failure


def _failure_words(table: Table, usual: FailureWords) -> FailureWords:
    own = FailureWords(table.template("what", usual.what), table.template("advice", usual.advice))
    table.finish()
    return own


def _diagnosis(table: Table) -> DiagnosisText | None:
    """None: it is not enabled."""
    enabled = table.flag("enabled", default=True)
    found = DiagnosisText(
        fact=table.text("fact"),
        what=table.template("what"),
        advice=table.template("advice"),
        side=table.name("side", SIDES),
        protocols=frozenset(table.words("protocols")),
        stages=frozenset(table.words("stages")),
        messages=frozenset(table.words("messages")),
        by=table.name("by", ("client", "server", "")) if table.has("by") else "",
        place=table.name("place", ("sender", "receiver", "unknown")) if table.has("place") else "",
        least=table.whole("least", low=1, high=1000) if table.has("least") else 1,
        stops=table.flag("stops", default=True),
    )
    table.finish()
    return found if enabled else None


def _causes(table: Table) -> Mapping[Cause, str]:
    found = {cause: table.template(cause) for cause in Cause if table.has(cause)}
    table.finish()
    return found


def _sentences(table: Table, keys: Iterable[str]) -> Mapping[str, str]:
    found = {key: table.template(key) for key in keys}
    table.finish()
    return found


def _scores(table: Table) -> Mapping[Criterion, float]:
    scores = {criterion: table.number(criterion, low=0, high=1) for criterion in Criterion}
    table.finish()
    return scores


def _client(table: Table) -> ClientSystem:
    client = ClientSystem(table.choice("support", Support), table.text("note", ""))
    table.finish()
    return client


def _profile(name: str, table: Table) -> ProtocolTraits:
    clients = table.table("client")
    profile = ProtocolTraits(
        name=name,
        title=table.text("title"),
        candidate=table.flag("candidate", default=False),
        default_port=table.port("default_port"),
        per_port=table.flag("per_port", default=False),
        ports=table.ports("ports"),
        preferred_ports=table.ports("preferred_ports"),
        wraps=table.words("wraps"),
        security=table.choice("security", Security, Security.SOUND),
        security_note=table.text("security_note", ""),
        measured_by=table.text("measured_by", ""),
        scores=_scores(table.table("score")),
        conversations=table.words("conversations"),
        clients={system: _client(clients.table(system)) for system in ClientOs if clients.has(system)},
    )
    clients.finish()
    table.finish()
    return profile


def _preset(name: str, table: Table, protocols: tuple[str, ...]) -> Preset:
    treatment, penalty, scores, weights = (table.table(key) for key in ("treatment", "clients_penalty", "score", "weight"))
    preset = Preset(
        name=name,
        title=table.text("title"),
        weights={criterion: weights.number(criterion, low=0, high=1000) for criterion in Criterion},
        treatment={security: treatment.choice(security, Treatment, Treatment.ALLOW) for security in Security},
        scores={scores.name_of_key(protocol, protocols): _scores(scores.table(protocol)) for protocol in scores.own_keys()},
        clients_penalty={support: penalty.number(support, low=0, high=1) if penalty.has(support) else 0.0 for support in Support},
    )
    for part in (treatment, penalty, weights, table):
        part.finish()
    return preset
