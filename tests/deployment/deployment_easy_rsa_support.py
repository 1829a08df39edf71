"""The real easy-rsa 3, with its folder below a root."""

import hashlib
import os
import subprocess
from pathlib import Path

from vpnprobe.deployment import pki
from vpnprobe.deployment.durable import inside

EASYRSA = "/usr/share/easy-rsa/easyrsa"
FOLDER = "/etc/openvpn/easy-rsa/pki"
SERVED = "/etc/openvpn/crl.pem"


class EasyRsa:
    """One authority."""

    def __init__(self, root: Path, *, passphrase: str = "") -> None:
        self.root, self.passphrase = root, passphrase
        self.folder = inside(root, FOLDER)
        self.folder.parent.mkdir(parents=True)
        self("init-pki")
        self("build-ca", *([] if passphrase else ["nopass"]))

    def __call__(self, *words: str) -> None:
        environment = {**os.environ, "EASYRSA_BATCH": "1", "EASYRSA_PKI": str(self.folder), "EASYRSA_REQ_CN": "Old authority"}
        secrets = ["--passin=env:VPNPROBE_PASS", "--passout=env:VPNPROBE_PASS"] if self.passphrase else []
        environment["VPNPROBE_PASS"] = self.passphrase
        if words[0] != "build-ca":
            del environment["EASYRSA_REQ_CN"]
        subprocess.run([EASYRSA, *secrets, *words], env=environment, capture_output=True, check=True, timeout=60, cwd=self.folder.parent)

    def state(self) -> dict[str, str]:
        files = (path for path in self.folder.rglob("*") if path.is_file() and path.name != "crl.pem")
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def verify(self, name: str, *, authority: str = pki.CERTIFICATE, revocation_list: str = SERVED) -> str:
        files = [str(inside(self.root, path)) for path in (authority, revocation_list, f"{FOLDER}/issued/{name}.crt")]
        command = ["openssl", "verify", "-crl_check", "-CAfile", files[0], "-CRLfile", *files[1:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return done.stderr or done.stdout


def with_clients(root: Path) -> EasyRsa:
    """A server, and of anna, bert and carl anna is revoked; the server reads a copy of the list."""
    made = EasyRsa(root)
    for kind, name in (("server", "old-server"), ("client", "anna"), ("client", "bert"), ("client", "carl")):
        made(f"build-{kind}-full", name, "nopass")
    kept = {path: path.read_bytes() for path in (made.folder / "issued" / "anna.crt", made.folder / "private" / "anna.key")}
    made("revoke", "anna", "keyCompromise")
    for path, content in kept.items():
        path.write_bytes(content)
    made("gen-crl")
    inside(root, SERVED).write_bytes((made.folder / "crl.pem").read_bytes())
    return made
