"""All dialects, in the order in which a line is offered to them."""

from collections.abc import Mapping, Sequence
from typing import Final

from vpnprobe.capture.printed.dialects.base import Dialect
from vpnprobe.capture.printed.dialects.columns import HEADINGS, ROWS
from vpnprobe.capture.printed.dialects.dumps import DUMPS
from vpnprobe.capture.printed.dialects.fw_monitor import FW_MONITOR
from vpnprobe.capture.printed.dialects.netfilter_log import NETFILTER_LOG
from vpnprobe.capture.printed.dialects.shark_details import SHARK_DETAILS
from vpnprobe.capture.printed.dialects.shark_list import SHARK_LIST
from vpnprobe.capture.printed.dialects.tcpdump import TCPDUMP

DIALECTS: Final[Sequence[Dialect]] = (NETFILTER_LOG, FW_MONITOR, SHARK_DETAILS, SHARK_LIST, TCPDUMP, HEADINGS)
"""DUMPS is not among them: rows of bytes are looked for first, since they may be of any packet; nor ROWS, which follow HEADINGS alone."""
BY_NAME: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in (*DIALECTS, ROWS, DUMPS)}
