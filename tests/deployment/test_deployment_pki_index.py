"""The index of an authority: lines that are only ever added, and read back as they were."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.deployment.pki_index import Adoption, Entry, Event, Index, Kind, decode_index
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.provisioning.revocation_lists import Reason, Revoked

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)).map(lambda time: time.replace(microsecond=0, tzinfo=UTC))
NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=70)
ENTRIES = st.builds(
    Entry,
    at=TIMES,
    event=st.sampled_from(Event),
    kind=st.sampled_from(Kind),
    name=NAMES,
    serial=st.integers(0, 2**160 - 1),
    not_after=TIMES,
    fingerprint=st.binary(max_size=32).map(bytes.hex),
    reason=st.none() | st.sampled_from(Reason),
)
ADOPTIONS = st.builds(Adoption, at=TIMES, folder=NAMES, revocation_lists=st.lists(NAMES, max_size=2).map(tuple))


def entry(event: Event = Event.ISSUED, serial: int = 10, name: str = "anna", reason: Reason | None = None) -> Entry:
    return Entry(at=NOW, event=event, kind=Kind.CLIENT, name=name, serial=serial, not_after=NOW, fingerprint="ab", reason=reason)


@given(st.lists(ENTRIES | ADOPTIONS, max_size=4).map(tuple))
def test_what_is_written_is_read_back(lines: tuple[Entry | Adoption, ...]) -> None:
    index = Index(lines)
    assert decode_index(index.encode()) == index


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_any_bytes_are_an_index_or_one_line(data: bytes) -> None:
    try:
        decode_index(data)
    except UsageError as refused:
        assert refused.status is ExitStatus.UNREADABLE
        assert "\n" not in str(refused)


@given(
    st.dictionaries(st.sampled_from(["at", "event", "kind", "name", "serial", "not_after", "reason"]), st.none() | st.integers() | NAMES)
)
def test_any_table_is_a_line_or_refused(plain: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="line 1 of"):
        decode_index(json.dumps({**plain, "fingerprint": 5}).encode())


def test_a_line_is_for_people_too() -> None:
    text = Index((entry(Event.REVOKED, reason=Reason.KEY_COMPROMISE),)).encode().decode()
    assert text == (
        '{"at": "2026-03-01T12:00:00Z", "event": "revoked", "kind": "client", "name": "anna", "serial": "a", '
        '"not_after": "2026-03-01T12:00:00Z", "fingerprint": "ab", "reason": "keyCompromise"}\n'
    )


def test_what_is_revoked_is_the_serial_number_and_for_ever() -> None:
    index = Index((entry(), entry(Event.RENEWED, 11), entry(Event.REVOKED), entry(Event.ISSUED, 12)))
    assert [one.serial for one in index.of("anna")] == [11, 12]
    assert index.of("bert") == ()
    assert index.revoked == (Revoked(serial=10, at=NOW),)
    assert [one.serial for one in index.certificates()] == [10, 11, 12]


def test_an_adopted_authority_is_known() -> None:
    adopted = Adoption(at=NOW, folder="/etc/easy-rsa/pki", revocation_lists=("/etc/openvpn/crl.pem",))
    index = Index((adopted, entry()))
    assert index.adoption == adopted
    assert index.entries == (entry(),)
    assert Index().adoption is None


def test_the_line_is_named() -> None:
    with pytest.raises(UsageError, match=r"line 2 of index\.jsonl cannot be read: it has no 'event'"):
        decode_index(Index((entry(),)).encode() + b"{}\n")
    with pytest.raises(UsageError, match="it is no table"):
        decode_index(b"[]")
