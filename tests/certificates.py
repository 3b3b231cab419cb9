"""
Make certificates, and a server that shows one: for tests of TLS.

The embedded server is built without TLS, so the server is one that is installed on this machine (Debian's, say).
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


class Certificate:
    """A certificate and its key, as files.

    Args:
        folder: Where the files go.
        name: Of the files.
        subject: The host, or the user, that it is for.
        signer: Who signs it; itself if None.
        begin: From when on it is valid.
        end: Until when.
        authority: Whether it may sign others.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        subject: str,
        signer: Certificate | None = None,
        begin: dt.datetime = NOW - DAY,
        end: dt.datetime = NOW + DAY,
        authority: bool = False,
    ) -> None:
        self.file, self.key_file = folder / f"{name}.crt", folder / f"{name}.key"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        signer = signer or self
        serial, public = x509.random_serial_number(), self._key.public_key()
        made = x509.CertificateBuilder(signer._subject, self._subject, public, serial, begin, end)
        if authority:
            made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        else:
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
        signed = made.sign(signer._key, hashes.SHA256())
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        unprotected = (
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )  # fmt: skip
        self.key_file.write_bytes(self._key.private_bytes(*unprotected))
        self.key_file.chmod(0o600)


def installed_server() -> Path | None:
    """The programs of a PostgreSQL that is installed on this machine, newest first; None if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: float(file.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class TLSServer:
    """A server on loopback whose certificate can be changed; `port`."""

    def __init__(self, programs: Path, folder: Path, owner: dict[str, int | str]) -> None:
        self._programs, self._owner = programs, owner
        self.data = folder / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")
        settings = f"port={self.port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories=''\nfsync=off\n"
        (self.data / "postgresql.auto.conf").write_text(settings)

    def show(self, certificate: Certificate, clients: Certificate, rules: str) -> None:
        """Show a certificate from now on, and let in clients by rules of pg_hba.conf, with their authority."""
        files = ((certificate.file, "server.crt"), (certificate.key_file, "server.key"), (clients.file, "root.crt"))
        for file, name in files:
            target = self.data / name
            shutil.copyfile(file, target)
            target.chmod(0o600)
            if self._owner:
                os.chown(target, int(self._owner["user"]), int(self._owner["group"]))
        (self.data / "pg_hba.conf").write_text(rules)
        tls = "-c ssl=on -c ssl_cert_file=server.crt -c ssl_key_file=server.key -c ssl_ca_file=root.crt"
        self._run("pg_ctl", "-D", self.data, "-o", tls, "-l", self.data / "log", "-w", "restart")

    def stop(self) -> None:
        """Stop the server, if it was started: some tests fail before they connect, and may be a worker's only ones."""
        if (self.data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        nothing = subprocess.DEVNULL
        subprocess.run(command, cwd="/", stdin=nothing, stdout=nothing, stderr=nothing, check=True, **self._owner)  # type: ignore[call-overload]


@contextmanager
def tls_server(programs: Path, folder: Path) -> Iterator[TLSServer]:
    """Run a server; as root, under the system user of the embedded one, who owns the folder."""
    owner: dict[str, int | str] = {}
    if os.geteuid() == 0:
        from asyncdb_nb.server.binaries import _system_user

        user, group = _system_user()
        owner = {"user": user, "group": group}
        os.chown(folder, user, group)
    server = TLSServer(programs, folder, owner)
    try:
        yield server
    finally:
        server.stop()
