"""From a recommendation to a working OpenVPN, and back: planned, applied with a journal, confirmed or rolled back, proved from a client.

- `steps`: what a plan is made of: files, sysctls, commands with their undoing, units, processes; `settings`: what was chosen
- `encoding`, `decoding`: a plan as a folder; `words`: as a person reads it, against what is there
- `apply`: takes its steps; `checks`: what stands in the way; `effects`: each kind of step; `journal`: what is written before each
- `rollback`, with `undoing` and `durable`: takes back what the journal tells of; needs python3 alone, and tells the journal's format
- `transactions`: confirmed, taken back, told; `taking_back`: with hooks; `watchdog`: without a confirmation, or after a kill
- `supervise`: processes that run where no systemd does; `hooks`: programs of the administrator's own
- `pki`, `pki_index`, `pki_adoption`: the authority, what it has issued and revoked, and one that easy-rsa 3 has made
- `pki_forgotten`: what a rollback takes from an authority that stays, which is said
- `site`: all keys of a server, read from it and completed; their files as steps
- `clients`, `client_names`, `client_profiles`, `profile_files`: clients are added, renewed and revoked; their profiles
- `expiry`: what ends, and when
- `openvpn_server`, `openvpn_trial`: a server's configuration, and the real program started with it
- `management`: a running server is asked who is connected, and cuts sessions
- `verification`: the tunnel of a profile proved from a client
- `real_client`: the installed openvpn beside vpnprobe's own try of a profile
- `host`, `choosing`, `planning`, `changing`: what a server is like, what is chosen for it, the plan, and changes of its keys
- `firewall`: the firewall's part of a plan; `listening`: whether what was applied runs

A plan changes nothing. Each step is written to the journal, with what takes it back, before it is taken; what is not confirmed in time goes
back. Paths in a plan are those of the server itself: `--root` puts another folder in the place of `/`.
"""
