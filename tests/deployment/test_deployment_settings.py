"""Settings of a server: what is written is read back, and any JSON is settings or one line."""

import json
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
from deployment_site_support import listener, settings
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.deployment.settings import Lifetimes, Listener, Settings, Wrap, decode_settings
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations.schema import Transport
from vpnprobe.provisioning.certificates import KeyAlgorithm

COUNTS = st.integers(1, 65535)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
LISTENERS = st.builds(
    Listener,
    transport=st.sampled_from((Transport.UDP, Transport.TCP)),
    port=COUNTS,
    wrap=st.sampled_from(Wrap),
    device=TEXTS,
    pool=st.just(IPv4Network("10.8.0.0/24")),
    pool6=st.none() | st.just(IPv6Network("fd00::/64")),
)
SETTINGS = st.builds(
    Settings,
    host=TEXTS,
    listeners=st.lists(LISTENERS, min_size=1, max_size=3).map(tuple),
    dns=st.lists(st.sampled_from([ip_address("10.8.0.1"), ip_address("fd00::1")]), max_size=2).map(tuple),
    full_tunnel=st.booleans(),
    routes=st.lists(st.sampled_from([ip_network("10.0.0.0/8"), ip_network("fd00::/8")]), max_size=2).map(tuple),
    key_algorithm=st.sampled_from(KeyAlgorithm),
    lifetimes=st.builds(Lifetimes, authority=COUNTS, server=COUNTS, client=COUNTS),
    mssfix=st.none() | COUNTS,
    tun_mtu=st.none() | COUNTS,
    keepalive=st.tuples(COUNTS, COUNTS),
    user=TEXTS,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(SETTINGS)
def test_what_is_written_is_read_back(value: Settings) -> None:
    assert decode_settings(json.loads(json.dumps(value.as_json()))) == value


@given(JSON)
def test_any_json_is_settings_or_one_line(plain: Any) -> None:
    with pytest.raises(UsageError, match="the settings of the server cannot be read") as refused:
        decode_settings(plain)
    assert refused.value.status is ExitStatus.UNREADABLE


@given(st.sampled_from(sorted(settings().as_json())), JSON)
def test_any_json_in_one_place(key: str, plain: Any) -> None:
    try:
        value = decode_settings({**settings().as_json(), key: plain})
    except UsageError:
        return
    assert decode_settings(value.as_json()) == value


@given(st.sampled_from(sorted(settings().as_json()["listeners"][0])), JSON)
def test_any_json_in_one_place_of_a_listener(key: str, plain: Any) -> None:
    whole = settings().as_json()
    try:
        decode_settings({**whole, "listeners": [{**whole["listeners"][0], key: plain}]})
    except UsageError as refused:
        assert "cannot be read" in str(refused)


def test_defaults_may_be_left_out() -> None:
    plain = settings().as_json()
    assert decode_settings({key: plain[key] for key in ("host", "listeners")}) == settings()


def test_a_listener_has_a_name_of_its_own() -> None:
    assert listener(Transport.TCP, 443).name == "vpnprobe-tcp-443"
