"""Certificates, the server's and the client's: what is accepted, what is refused, and what is then typed instead."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tiers import few_of

from asyncdb_nb import Database
from asyncdb_nb.errors import ConnectError

pytest.importorskip("cryptography", reason="certificates are made with it: pip install cryptography")

from certificates import DAY, NOW, Certificate, installed_server, tls_server

if TYPE_CHECKING:
    from certificates import TLSServer

pytestmark = pytest.mark.skipif(installed_server() is None, reason="a PostgreSQL with TLS is not installed here")

LET_IN = "hostssl all all 127.0.0.1/32 trust\nhostssl all all ::1/128 trust\n"
BY_CERTIFICATE = "hostssl all all 127.0.0.1/32 cert\n"
WITH_CERTIFICATE = "hostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def running() -> Iterator[TLSServer]:
    """A server with TLS."""
    import tempfile

    programs = installed_server()
    assert programs is not None
    with tempfile.TemporaryDirectory(prefix="adb-tls-") as place, tls_server(programs, Path(place)) as server:
        yield server


@pytest.fixture(scope="module")
def certificates(folder: Path) -> dict[str, Certificate]:
    """One for each thing that can be wrong with one."""
    authority = Certificate(folder, "authority", "authority", authority=True)
    other = Certificate(folder, "other-authority", "other authority", authority=True)
    return {
        "authority": authority,
        "good": Certificate(folder, "good", "localhost", authority),
        "other host": Certificate(folder, "other-host", "db.example.org", authority),
        "expired": Certificate(folder, "expired", "localhost", authority, NOW - 2 * DAY, NOW - DAY),
        "early": Certificate(folder, "early", "localhost", authority, NOW + DAY, NOW + 2 * DAY),
        "self-signed": Certificate(folder, "self-signed", "localhost"),
        "unknown authority": Certificate(folder, "unknown", "localhost", other),
        "me": Certificate(folder, "me", "me", authority),
        "stranger": Certificate(folder, "stranger", "me", other),
        "late": Certificate(folder, "late", "me", authority, NOW - 2 * DAY, NOW - DAY),
    }


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, without certificates, and no PostgreSQL variable."""
    for name in [*os.environ]:
        if name.startswith("PG") or name == "DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


async def answer(server: TLSServer, user: str = "postgres", **query: Any) -> str:
    """Connect; return `in`, or what the error says."""
    arguments = "&".join(f"{name}={value}" for name, value in query.items())
    async with Database(f"postgresql://{user}@localhost:{server.port}/postgres?{arguments}") as db:
        try:
            async with db.engine.connect():
                return "in"
        except ConnectError as error:
            return str(error)


OTHER_HOST = r"is for another host name \(Hostname mismatch.*Type the name that it was made for as the host"
EXPIRED = r"has expired \(certificate has expired\).*has to renew it"
EARLY = r"is not valid yet \(.*date and time of this machine"
SELF_SIGNED = r"is signed by nobody but itself \(.*Type sslrootcert=FILE with this very certificate"
UNKNOWN = r"cannot be verified with .*authority\.crt \(.*Type sslrootcert=FILE with the authority that signed it"


@pytest.mark.parametrize(
    ("shown", "require", "verify_ca", "verify_full"),
    few_of(
        [
            ("good", "^in$", "^in$", "^in$"),
            ("other host", "^in$", "^in$", OTHER_HOST),
            ("expired", "^in$", EXPIRED, EXPIRED),
            ("early", "^in$", EARLY, EARLY),
            ("self-signed", "^in$", SELF_SIGNED, SELF_SIGNED),
            ("unknown authority", "^in$", UNKNOWN, UNKNOWN),
        ],
        2,
    ),
)
async def test_scenario_71_each_certificate_is_accepted_or_refused_with_what_would_help(
    shown: str, require: str, verify_ca: str, verify_full: str, running: TLSServer, certificates: dict[str, Certificate]
) -> None:
    """Under each `sslmode`; what is advised is about the certificate that was shown."""
    running.show(certificates[shown], certificates["authority"], LET_IN)
    trusted = certificates["authority"].file

    said = [
        await answer(running, sslmode="require"),
        await answer(running, sslmode="verify-ca", sslrootcert=trusted),
        await answer(running, sslmode="verify-full", sslrootcert=trusted),
    ]

    for expected, found in zip((require, verify_ca, verify_full), said, strict=True):
        assert re.search(expected, found), found


async def test_what_is_advised_helps(running: TLSServer, certificates: dict[str, Certificate]) -> None:
    """A certificate that nobody else has signed is its own `sslrootcert`; for another name, verify-ca is enough."""
    running.show(certificates["self-signed"], certificates["authority"], LET_IN)
    own = await answer(running, sslmode="verify-full", sslrootcert=certificates["self-signed"].file)
    running.show(certificates["other host"], certificates["authority"], LET_IN)
    other = await answer(running, sslmode="verify-ca", sslrootcert=certificates["authority"].file)

    assert (own, other) == ("in", "in")


async def test_public_authorities_do_not_know_a_private_one(
    running: TLSServer, certificates: dict[str, Certificate]
) -> None:
    """`sslrootcert=system` trusts those of the machine alone."""
    running.show(certificates["good"], certificates["authority"], LET_IN)

    assert re.search(r"cannot be verified with system \(", await answer(running, sslrootcert="system"))


@pytest.mark.parametrize(
    ("rules", "user", "certificate", "expected"),
    [
        pytest.param(WITH_CERTIFICATE, "me", None, r"wants a certificate of user 'me'.*Type sslcert=FILE", id="none"),
        pytest.param(WITH_CERTIFICATE, "postgres", "me", "^in$", id="any of the authority's"),
        pytest.param(BY_CERTIFICATE, "me", None, r"wants a certificate of user 'me'.*Type sslcert=FILE", id="no cert"),
        pytest.param(
            BY_CERTIFICATE, "postgres", "me", "does not take the client certificate that was shown for user 'postgres'",
            id="another user's",
        ),
        pytest.param(LET_IN, "me", "stranger", r"shown the client certificate .*stranger\.crt, so", id="stranger"),
        pytest.param(LET_IN, "me", "late", r"shown the client certificate .*late\.crt, so", id="expired"),
    ],
)  # fmt: skip
async def test_a_client_certificate_that_is_wanted_or_refused_is_named(
    rules: str,
    user: str,
    certificate: str | None,
    expected: str,
    running: TLSServer,
    certificates: dict[str, Certificate],
) -> None:
    """The message says which one was shown, if any, and which parameters name another."""
    running.show(certificates["good"], certificates["authority"], rules)
    shown = certificates[certificate] if certificate else None
    files = {"sslcert": shown.file, "sslkey": shown.key_file} if shown else {}

    said = await answer(running, user, sslmode="require", **files)

    assert re.search(expected, said), said


@pytest.mark.parametrize(
    ("certificate", "key", "expected"),
    [
        ("me.crt", "stranger.key", r"The key .*stranger\.key does not belong to the client certificate .*me\.crt"),
        ("me.crt", "nowhere.key", r"The file .*nowhere\.key, named for TLS, is not there"),
        ("me.key", "me.key", r"A certificate or key for TLS cannot be read .*me\.key"),
        ("empty", "me.key", r"A certificate or key for TLS cannot be read .*empty"),
    ],
)
async def test_a_client_certificate_that_cannot_be_used_is_named(
    certificate: str,
    key: str,
    expected: str,
    running: TLSServer,
    certificates: dict[str, Certificate],
    folder: Path,
) -> None:
    """Before anything is sent to the server."""
    (folder / "empty").touch()

    said = await answer(running, sslmode="require", sslcert=folder / certificate, sslkey=folder / key)

    assert re.search(expected, said), said
