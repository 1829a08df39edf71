"""From a recommendation to a working OpenVPN, and back: planned, applied with a journal, confirmed or rolled back, proved from a client.

- `steps`: what a plan is made of, and its form as JSON: files, sysctls, commands with their undoing, units, processes
- `verification`: the tunnel of a profile proved from a client

A plan changes nothing. Each step is written to the journal, with what takes it back, before it is taken; what is not confirmed in time goes
back. Paths in a plan are those of the server itself: `--root` puts another folder in the place of `/`.
"""
