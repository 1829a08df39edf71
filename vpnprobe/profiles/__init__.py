"""Client profiles as they exist in the wild: OpenVPN's (`.ovpn`) are read into one frozen `Profile`, WireGuard's into a `WireguardProfile`.

- `ovpn`: `read_profile` and `parse_profile`; everything else is reached through them
- `model`: the profile and its parts
- `lexing`: lines, quoting, comments, inline blocks
- `known`: the options of OpenVPN 2.x, how many arguments they take, and those that are understood but not carried out
- `connections`: remotes and `<connection>` blocks
- `keys`: what inline blocks and key files hold: PEM, PKCS#12, static keys, fingerprints, names and passwords
- `checks`: ciphers of the data channel, and what is asked of the server's certificate
- `one_remote` and `blocks`: a profile written anew for the installed openvpn, from what was read
- `identity`: by what a server knows a client, to compare a profile with clients that run
- `files`: bounded reading of the files that a profile names
- `wireguard` and `wireguard_model`: WireGuard's, as wg-quick reads them
- `errors`: `ProfileError`, one line with file, line, problem and mend

Any text gives a profile or a `ProfileError`. Nothing is executed, and no file is read but the profile and those that it names.
"""
