"""What a VPN server and its clients are set up with: certificates.

- `certificates`: the one place that builds keys and X.509 certificates; the control channel, live sessions and the lab build theirs with it

Everything here is a function from values to bytes. Nothing is written to a disk, and no program is started.
"""
