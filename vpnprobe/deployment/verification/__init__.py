"""Proves from a client that a tunnel works: brings it up with the real OpenVPN, watches, and takes it down; all is as before afterwards.

- `verifying`: the whole story, from the profile to a `Verification`
- `model`: what comes out: proofs with three outcomes, leaks, the verdict; its form as JSON, `vpnprobe.verification/1`
- `asked`: what profile and server ask of the tunnel: full or split, routes, resolvers, IPv6
- `management`: the lines of OpenVPN's management interface
- `process`: openvpn with a profile, from its start to its end
- `network_state`: routes, rules, addresses and resolver of this machine, and how they are put back
- `way_out`: which way packets would take, as the kernel says: routes and rules that lead around the tunnel
- `traffic`: whose a packet beside the tunnel is: the tunnel's own, the local network's, or a leak
- `leak_watch`: what leaves while it is watched
- `owners`: which process sent a packet
- `provoking`: traffic of our own, so that silence is no proof
- `echoes`: echo requests through one device
- `trials`: what echo requests show: data both ways, size, speed, whether anything beyond the server answers
- `naming`: which resolvers this system uses
- `beyond`: hosts that the user names
- `proofs`, `traffic_proofs`: from what was seen to outcomes and sentences
- `by_hand`: what to do where none of this can run
"""
