"""What the messages of one end alone prove of a conversation, where a capture holds nothing of the other end.

Most messages are sent only once something came from the other end: a call is asked for when the connection has been granted. So such a
message shows its forerunner too. Each protocol says which (`Implied`); only messages of the end that was not seen are ever concluded, since
those of the other one would be in the capture, if that held the beginning.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Generic

from vpnprobe.conversations.contract import Sender, StateT, TransitionTable

Row = tuple[Sender, type]
"""Who sends a message, and its kind."""
Implied = Mapping[Row, Row]
"""By message: the one that its sender must have got, or that the other end must have sent before that one."""
CHAIN_LIMIT: Final = 8


class OneDirection(Generic[StateT]):
    """Follows a table through the messages of one end."""

    def __init__(self, table: TransitionTable[StateT], implied: Implied) -> None:
        self.state = table.start
        self._table = table
        self._implied = implied

    @property
    def begun(self) -> bool:
        """Whether any message led anywhere."""
        return self.state is not self._table.start

    def saw(self, sender: Sender, kind: type) -> None:
        """Moves along the table, by what the message proves if that leads anywhere, else by the message alone."""
        chain: list[Row] = [(sender, kind)]
        while len(chain) < CHAIN_LIMIT and (before := self._implied.get(chain[0])) is not None and before[0] is not sender:
            chain.insert(0, before)
            if (following := self._through(chain)) is not None:
                self.state = following
                return
        following = self._through([(sender, kind)])
        self.state = self.state if following is None else following

    def _through(self, chain: Iterable[Row]) -> StateT | None:
        """The state that messages one after another lead to; None: they do not fit."""
        state: StateT | None = self.state
        for sender, kind in chain:
            state = None if state is None else self._table.transitions.get((state, sender, kind))
        return state

    @property
    def stage(self) -> str:
        """How far it came, in the published terms."""
        return self._table.stage(self.state)
