"""What a VPN server and its clients are set up with: certificates, and the text of configuration files.

- `certificates`: the one place that builds keys and X.509 certificates; the control channel, live sessions and the lab build theirs with it
- `revocation_lists`: the one place that builds and reads lists of revoked certificates
- the configuration of a server and the profile of its client as text: one module a program

Everything here is a function from values to bytes or text. Nothing is written to a disk, and no program is started.
"""
