"""The installed openvpn, tried with the same profile beside vpnprobe's own try, and how far each of the two came.

- `steps`: what a session comes through, in order, and what is told of each step
- `log_reading`: from openvpn's log to steps
- `own_steps`: from the observations of vpnprobe's own try to steps
- `comparing`: where the two differ, in sentences
- `options`: what is left out of the profile and what is added, so that nothing of this machine is changed
- `trying`: openvpn is run, a remote at a time, and what came of it as a document and as observations

Nothing here gives a verdict: what openvpn came to is an observation, and the rules say what follows.
"""
