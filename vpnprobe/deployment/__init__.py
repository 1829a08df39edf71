"""From a recommendation to a working OpenVPN, and back: planned, applied with a journal, confirmed or rolled back, proved from a client.

- `steps`: what a plan is made of: files, sysctls, commands with their undoing, units, processes; `settings`: what was chosen
- `encoding`, `decoding`: a plan as a folder; `words`: as a person reads it, against what is there
- `apply`: takes its steps; `checks`: what stands in the way; `effects`: each kind of step; `journal`: what is written before each
- `rollback`, with `undoing` and `durable`: takes back what the journal tells of; needs python3 alone, and tells the journal's format
- `transactions`: confirmed, taken back, told; `taking_back`: with hooks; `watchdog`: without a confirmation, or after a kill
- `supervise`: processes that run where no systemd does; `hooks`: programs of the administrator's own

A plan changes nothing. Each step is written to the journal, with what takes it back, before it is taken; what is not confirmed in time goes
back. Paths in a plan are those of the server itself: `--root` puts another folder in the place of `/`.
"""
