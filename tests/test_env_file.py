"""Configuration files decide which server gets a connection, so only the user's own word counts."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncdb_nb.database.database import Database
from asyncdb_nb.engine.conninfo.parameters import Target
from asyncdb_nb.engine.conninfo.resolve import resolve
from asyncdb_nb.errors import DatabaseURLError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these tests are about Unix permissions")
as_root = pytest.mark.skipif(sys.platform != "win32" and os.geteuid() != 0, reason="only root can give files away")

SOMEBODY = 54321


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project's folder, which is the working directory, in a folder `shared`; no variable and an empty home."""
    for name in [*os.environ]:
        if name.startswith("PG") or name == "DATABASE_URL":
            monkeypatch.delenv(name)
    project, home = tmp_path / "shared" / "project", tmp_path / "home"
    project.mkdir(parents=True)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(project)
    return project


def write(file: Path, text: str = "DATABASE_URL=postgresql://u@a.invalid/d\n", mode: int = 0o644) -> Path:
    file.write_text(text)
    file.chmod(mode)
    return file


def found() -> Target:
    target = resolve()
    assert target is not None
    return target


def of_somebody(project: Path) -> Path:
    file = write(project / ".env")
    os.chown(file, SOMEBODY, -1)
    return file


def in_somebodys_folder(project: Path) -> Path:
    write(project.parent / ".env")
    os.chown(project.parent, SOMEBODY, -1)
    return project.parent


def under_somebodys_folder(project: Path) -> Path:
    write(project / ".env")
    os.chown(project.parent, SOMEBODY, -1)
    return project.parent


def link_of_somebody(project: Path) -> Path:
    link = project / ".env"
    link.symlink_to(write(project.parent / "mine"))
    os.chown(link, SOMEBODY, -1, follow_symlinks=False)
    return link


def writable_file(project: Path) -> Path:
    return write(project / ".env", mode=0o646)


def writable_by_the_group(project: Path) -> Path:
    file = write(project / ".env", mode=0o664)
    os.chown(file, -1, SOMEBODY)
    return file


def writable_folder(project: Path) -> Path:
    write(project / ".env")
    project.chmod(0o777)
    return project


def sticky_folder(project: Path) -> Path:
    write(project / ".env")
    project.chmod(0o1777)
    return project


def writable_parent(project: Path) -> Path:
    write(project / ".env")
    project.parent.chmod(0o777)
    return project.parent


def link_into_a_writable_folder(project: Path) -> Path:
    folder = project.parent / "open"
    folder.mkdir()
    (project / ".env").symlink_to(Path("..") / "open" / write(folder / "settings").name)
    folder.chmod(0o777)
    return folder


def linked_folder(project: Path) -> Path:
    folder = project.parent / "open"
    folder.mkdir()
    write(folder / ".env")
    (project / "settings").symlink_to(folder)
    (project / ".env").symlink_to(project / "settings" / ".env")
    folder.chmod(0o777)
    return folder


@as_root
@pytest.mark.parametrize(
    "prepare",
    [
        of_somebody,
        in_somebodys_folder,
        under_somebodys_folder,
        link_of_somebody,
        writable_file,
        writable_by_the_group,
        writable_folder,
        sticky_folder,
        writable_parent,
        link_into_a_writable_folder,
        linked_folder,
    ],
)
def test_scenario_62_an_env_file_that_others_could_have_written_is_not_read(prepare, project: Path) -> None:  # type: ignore[no-untyped-def]
    """It is passed over, and a warning says which file, whose fault it is, and what to type."""
    culprit = prepare(project)

    with pytest.warns(UserWarning, match=r"\.env is not read\. ") as warned:
        target = resolve()

    said = str(warned[0].message)
    assert target is None
    assert str(culprit) in said
    assert re.search(r"Type in a shell: chmod go-w /|or type the URL: connect\(", said)


@as_root
def test_behind_an_env_file_of_somebody_elses_the_own_one_is_found(project: Path) -> None:
    """One that is passed over is as if it were not there."""
    of_somebody(project)
    write(project.parent / ".env")

    with pytest.warns(UserWarning, match="is not read"):
        target = found()

    assert target.origin == f"DATABASE_URL in {project.parent / '.env'}"


@as_root
def test_an_env_file_of_root_or_behind_a_sticky_folder_is_read(project: Path) -> None:
    """In a folder such as /tmp nobody can rename what belongs to someone else."""
    project.parent.chmod(0o1777)
    write(project / ".env", mode=0o600)

    assert found().server == "a.invalid:5432"


def test_the_origin_is_shown_with_its_path(project: Path) -> None:
    """Whoever looks at a `Database` sees which file named its server."""
    file = write(project / ".env")

    assert f"a.invalid:5432 (from DATABASE_URL in {file})" in repr(Database())


@as_root
@pytest.mark.parametrize("variable", ["PGSERVICEFILE", "PGSYSCONFDIR", None])
def test_a_service_file_that_others_could_have_written_is_refused(
    variable: str | None, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service was asked for, so this is an error, with the file and what to type."""
    place = {"PGSERVICEFILE": project / "services", "PGSYSCONFDIR": project / "pg_service.conf"}
    file = place.get(variable or "", Path(os.environ["HOME"]) / ".pg_service.conf")
    write(file, "[prod]\nhost=a.invalid\n", mode=0o666)
    if variable:
        monkeypatch.setenv(variable, str(file.parent if variable == "PGSYSCONFDIR" else file))

    with pytest.raises(DatabaseURLError, match=f"service file {file} is not read. Other users may write to {file}"):
        resolve("prod")


@as_root
def test_a_password_file_of_somebody_else_is_ignored_aloud(project: Path) -> None:
    """Root could read it, and would send somebody else's password."""
    file = write(Path(os.environ["HOME"]) / ".pgpass", "*:*:*:*:secret\n", mode=0o600)
    os.chown(file, SOMEBODY, -1)

    with pytest.warns(UserWarning, match=f"{file} belongs to user '?{SOMEBODY}"):
        target = resolve("postgresql://h/d")

    assert target is not None
    assert "password" not in target.parameters


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user has for a server of their own."""
    for name, value in {"PGUSER": "me", "PGPASSWORD": "secret", "PGDATABASE": "mine", "PGPORT": "7"}.items():
        monkeypatch.setenv(name, value)
    write(Path(os.environ["HOME"]) / ".pgpass", "*:*:*:*:secret\n", mode=0o600)
    write(Path(os.environ["HOME"]) / ".pg_service.conf", "[prod]\nhost=own.invalid\npassword=secret\n")


@pytest.mark.parametrize(
    "line",
    [
        "DATABASE_URL=postgresql://a.invalid:55999",
        "DATABASE_URL=postgresql://u@a.invalid/d",
        "DATABASE_URL='host=a.invalid'",
        "PGHOST=a.invalid",
    ],
)
@pytest.mark.usefixtures("credentials")
def test_the_host_of_an_env_file_gets_no_credentials_of_another_source(line: str, project: Path) -> None:
    """Neither user, password and database of the environment, nor a password that is kept for any host."""
    write(project / ".env", line)

    target = found()

    assert (target.addresses[0][0], target.connect_args["password"]) == ("a.invalid", "")
    assert (target.user, target.database, target.addresses[0][1]) not in [("me", "mine", 7)]
    assert {"PGUSER", "PGPASSWORD", "PGDATABASE", "PGPORT"} <= {*target.withheld}


@pytest.mark.parametrize("place", ["a.invalid/d", ":7/d"])
@pytest.mark.usefixtures("credentials")
def test_a_place_in_an_env_file_gets_no_password_of_a_service(place: str, project: Path) -> None:
    """A service's password is for the service's host and port."""
    write(project / ".env", f"DATABASE_URL=postgresql://{place}?service=prod")

    with pytest.raises(DatabaseURLError, match=r"names the service 'prod' and a (host|port) of its own"):
        resolve()


@pytest.mark.parametrize(
    ("others", "password"), [("", ""), ("b.invalid:*:*:u:other\n", ""), ("b.invalid:*:*:u:one\n", "one")]
)
@pytest.mark.usefixtures("credentials")
def test_a_second_host_of_an_env_file_gets_no_password_of_the_first(others: str, password: str, project: Path) -> None:
    """All hosts of a list receive one password, so it has to be the user's word for each of them."""
    (Path(os.environ["HOME"]) / ".pgpass").write_text(f"*:*:*:*:any\na.invalid:*:*:u:one\n{others}")
    write(project / ".env", "DATABASE_URL=postgresql://u@a.invalid,b.invalid/d")

    assert found().connect_args["password"] == password


@pytest.mark.usefixtures("credentials")
def test_the_users_own_word_is_enough(project: Path) -> None:
    """A service that an env file names, an entry that names the host, a URL that was typed."""
    passfile = Path(os.environ["HOME"]) / ".pgpass"
    passfile.write_text("*:*:*:*:other\na.invalid:*:*:u:for this host\n")

    write(project / ".env", "DATABASE_URL=postgresql://u@a.invalid/d")
    by_entry = found()
    write(project / ".env", "DATABASE_URL=postgresql://u@/d?service=prod")
    by_service = found()
    typed = resolve("postgresql://b.invalid")

    assert by_entry.parameters["password"] == "for this host"
    assert (by_service.server, by_service.parameters["password"]) == ("own.invalid:5432", "secret")
    assert typed is not None
    assert (typed.user, typed.parameters["password"], typed.server) == ("me", "secret", "b.invalid:7")


def test_an_env_file_without_a_host_is_not_led_to_one_of_the_environment(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its password does not go to the server that `$PGHOST` names: asyncpg is told where to look."""
    monkeypatch.setenv("PGHOST", "elsewhere.invalid")
    write(project / ".env", "DATABASE_URL=postgresql://u:secret@/d")

    target = found()

    assert target.addresses == []
    assert target.connect_args["host"][-1] == "localhost"


def test_variables_in_an_env_file_are_its_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`${NAME}` is what the file says; a secret of the environment cannot be taken into the URL."""
    monkeypatch.setenv("TOKEN", "secret")
    write(project / ".env", "WORD=own\nDATABASE_URL=postgresql://u:${WORD}@a.invalid/${NAME:-d}\n")
    own = found()
    write(project / ".env", "DATABASE_URL=postgresql://${TOKEN}@a.invalid/d\n")

    assert (own.parameters["password"], own.database) == ("own", "d")
    with pytest.raises(DatabaseURLError, match=r"takes \$\{TOKEN\}, which that file does not define") as caught:
        resolve()
    assert "secret" not in str(caught.value)


def test_libpqs_variables_in_an_env_file_name_the_server(project: Path) -> None:
    """`PGHOST` alone is enough, and the file's other variables complete it."""
    file = write(project / ".env", "PGHOST=a.invalid\nPGUSER=u\nPGPASSWORD=p\nPGDATABASE=d\n")

    target = found()

    assert (target.server, target.user, target.database) == ("a.invalid:5432", "u", "d")
    assert (target.parameters["password"], target.origin) == ("p", f"PGHOST in {file}")


def test_libpqs_variables_in_an_env_file_complete_its_url(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the URL says counts first, then the file's own variables; none of the environment names the place."""
    monkeypatch.setenv("PGHOST", "elsewhere.invalid")
    write(project / ".env", "DATABASE_URL=postgresql:///d\nPGHOST=a.invalid\nPGPORT=7\nPGUSER=u\nPGPASSWORD=p\n")
    without_host = found()
    write(project / ".env", "DATABASE_URL=postgresql://v@b.invalid/d\nPGHOST=a.invalid\nPGUSER=u\nPGPASSWORD=p\n")
    with_host = found()

    assert (without_host.server, without_host.user, without_host.database) == ("a.invalid:7", "u", "d")
    assert without_host.parameters["password"] == "p"
    assert (with_host.server, with_host.user, with_host.parameters["password"]) == ("b.invalid:5432", "v", "p")


@pytest.mark.parametrize(
    "text", ["DATABASE_URL=postgresql://u:p@a.invalid/d\n", "PGHOST=a.invalid\nPGUSER=u\nPGPASSWORD=p\n"]
)
def test_an_env_file_that_others_can_write_by_now_is_not_read_again(project: Path, text: str) -> None:
    file = write(project / ".env", text)
    target = found()
    assert target.again is not None
    again = target.again()
    file.chmod(0o666)

    with pytest.warns(UserWarning, match="is not read"):
        later = target.again()

    assert again == target
    assert later is None


@pytest.mark.parametrize("name", ["DATABASE_URI", "DB_URL", "SQLALCHEMY_DATABASE_URI", "POSTGRES_URL", "database_url"])
@pytest.mark.parametrize("in_file", [True, False], ids=["file", "environment"])
def test_a_url_under_a_name_that_nobody_reads_is_said(
    name: str, in_file: bool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, the embedded server was opened in silence."""
    url = "postgresql+asyncpg://u:hunter2@h/d"
    if in_file:
        write(project / ".env", f"{name}={url}")
    else:
        monkeypatch.setenv(name, url)

    place = project / ".env" if in_file else "the environment"
    with pytest.raises(DatabaseURLError, match=f"There is a {name} in {place}, and only DATABASE_URL") as caught:
        resolve()
    assert "hunter2" not in str(caught.value)


def test_an_env_file_without_a_database_is_none(project: Path) -> None:
    """What other programs keep there is no concern of ours."""
    write(project / ".env", "DEBUG=1\nREDIS_URL=redis://h\nPGUSER=u\n")

    assert resolve() is None
