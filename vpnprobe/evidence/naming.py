"""How checks are named in observations: ids, and what tells forms apart."""

from typing import Any

from vpnprobe.evidence.checks import PROFILE, is_existing, spec_of
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Direction


def form_detail(check: Check) -> dict[str, Any]:
    """What tells a check apart from others of its probe, check and port.

    `profile` (true) and which `remote` of it (a number as text; absent: the only one); where it can be wrapped `wrap`; else `form`.
    """
    if not check.variant:
        return {}
    if is_existing(check):
        remote = check.variant.removeprefix(PROFILE).removeprefix("-")
        return {"profile": True} | ({"remote": remote} if remote else {})
    spec = spec_of(check)
    return {"wrap" if spec is not None and spec.wrapped else "form": check.variant}


def identifier(check: Check, way: Direction) -> str:
    """The observation's id: every part of the check that it answers. Over IPv6 the transport has a 6 behind it."""
    carrier = check.transport.value if check.family == 4 else f"{check.transport.value}{check.family}"
    parts = [check.probe, check.name, check.variant, carrier]
    parts += [str(check.port)] if check.port is not None else []
    return "-".join([part for part in parts if part] + [way.value])
