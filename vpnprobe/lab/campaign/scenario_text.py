"""A topology as the text of a scenario file, which `vpnprobe.lab.scenario` reads back into the same topology.

The keys are the fields of the dataclasses in `vpnprobe.transports.topology`, as `vpnprobe.lab.topologies` reads them; what is as by
default is left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields
from enum import Enum
from typing import Any, Final

from vpnprobe.lab.topologies import PROTOCOLS
from vpnprobe.transports.topology import Topology

PROTOCOL_NAMES: Final[Mapping[int, str]] = {number: name for name, number in PROTOCOLS.items()}


def scenario_text(topology: Topology, description: str, *, seed: int, comments: Iterable[str] = ()) -> str:
    """The whole file: the seed to run it with first, what was wrong last."""
    lines = [f"# --seed {seed}", f"description = {_text(description)}", "", "[topology]"]
    lines += [f"{name} = {_value(name, value)}" for name, value in _told(topology)]
    told = [f"# {' '.join(comment.split())}" for comment in comments]
    return "\n".join([*lines, *(["", *told] if told else [])]) + "\n"


def _told(table: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - any dataclass of a topology
    found = ((one, getattr(table, one.name)) for one in fields(table))
    return [(one.name, value) for one, value in found if value is not None and value != _default(one)]


def _default(one: "Field[Any]") -> object:
    return one.default_factory() if one.default_factory is not MISSING else one.default


def _value(name: str, value: Any) -> str:  # noqa: ANN401 - any field's
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return _text(str(value.value))
    if isinstance(value, bytes):
        return _text(value.hex())
    if isinstance(value, tuple):
        items = [_value(name, item) for item in value]
        return f"[{', '.join(items)}]"
    if isinstance(value, int) and name in ("protocol", "except_protocols") and value in PROTOCOL_NAMES:
        return _text(PROTOCOL_NAMES[value])
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    return f"{{ {', '.join(f'{key} = {_value(key, item)}' for key, item in _told(value))} }}"


def _text(value: str) -> str:
    """As a basic string of TOML."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
