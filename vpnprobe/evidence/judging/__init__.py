"""From counted packets to observations. Outcomes are written here and nowhere else.

- `base`: what all kinds share: who would have seen what, what silence means, refusals, host firewalls, counts that nobody could make
- `connection`, `packets`, `conversation`, `data`, `number`: one file a kind of check (`checks.Kind`)
- `facts`: what is told as a whole: skips, failed probes, translated addresses, traces
- `named`: what one end has read inside a conversation, put beside its rows
- `goals`: the messages that end a conversation well or badly

- `unwatched`: what an end may keep whose wire nobody watches

`evidence.judge` has the list of kinds and asks them all. Causes and places are added afterwards (`evidence.causes`), and change no outcome;
by the place `unwatched` takes back what a run has to leave open.
"""
