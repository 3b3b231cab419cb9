"""
Stop an embedded server when the last process that uses it is gone.

Every process that uses a server holds a lock on a file of its own in `users/`, and the server's processes hold one on
`alive.lock`, which they inherit when they start. The kernel frees a lock when its holders end, however they end, so
neither a killed process nor a re-used pid can deceive anyone. The reaper is one small process per server: it waits for
the users' locks, and stops the server when none is left. This file is also its script, and imports only the standard
library, so that the reaper starts in milliseconds.

    directory/
        start.lock      held while somebody starts, stops, joins or counts
        alive.lock      held by the running server
        reaper.lock     held by the reaper
        users/          one locked file for each process that uses the server; it says what that process runs
        keep            exists while the server shall outlive its users (`asyncdb-nb server start`)
        throwaway       exists when the directory goes with the server; names the socket's directory, to go as well
        data/           the cluster
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOCK = "reaper.lock"
"""The file in a server's directory that its reaper has locked."""

POLL = 0.02
"""Seconds between two looks at a lock that is waited for with a bound."""


def main(directory: Path) -> None:
    """Wait until nobody uses the server in `directory`, then stop it, unless it shall be kept."""
    reaper = FileLock(directory / LOCK, create=True)
    if not reaper.try_acquire():
        return
    while True:
        with FileLock(directory / "start.lock"):
            users = live_users(directory)
            if not users:
                _end(directory)
                reaper.release()  # before start.lock, so that who comes next sees that it needs a new reaper
                return
        users[0].lock.wait_until_free()


def join(directory: Path) -> FileLock:
    """Enter this process among the users of `directory`; it leaves by `release()` or by ending. Needs `start.lock`."""
    entry = FileLock(directory / "users" / f"{os.getpid()}-{secrets.token_hex(4)}", create=True)
    entry.acquire()
    entry.path.write_text(" ".join([Path(sys.argv[0] or "python").name, *sys.argv[1:]])[:200])
    return entry


@dataclass(frozen=True)
class User:
    """A process that uses an embedded server."""

    pid: int
    command: str
    lock: FileLock


def live_users(directory: Path) -> list[User]:
    """The processes that use `directory` now, oldest first; entries of dead ones are removed. Needs `start.lock`."""
    users = []
    for path in sorted((directory / "users").glob("*-*"), key=lambda path: path.stat().st_mtime_ns):
        lock = FileLock(path)
        if lock.is_free():
            path.unlink(missing_ok=True)
        else:
            users.append(User(int(path.name.partition("-")[0]), _read(path), lock))
    return users


def server_is_alive(directory: Path) -> bool:
    """Whether any process of the server in `directory` is there, ready or not."""
    return not FileLock(directory / "alive.lock").is_free()


def server_pid(directory: Path) -> int | None:
    """The pid in `postmaster.pid`; it means something only while the server is alive."""
    lines = _read(directory / "data" / "postmaster.pid").splitlines()
    return int(lines[0]) if lines and lines[0].isdigit() else None


def stop_server(directory: Path) -> bool:
    """Stop the server in `directory`, cleanly if it lets us; say whether it is stopped. Needs `start.lock`."""
    # "Fast" shutdown, "immediate" shutdown (https://www.postgresql.org/docs/current/server-shutdown.html), and force.
    for number, seconds in ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)):
        if not server_is_alive(directory):
            return True
        if (pid := server_pid(directory)) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if FileLock(directory / "alive.lock").wait_until_free(seconds):
            return True
    return False


def remove_if_throwaway(directory: Path) -> None:
    """Remove the directory of a stopped server, if it was made for one use. Needs `start.lock`."""
    if (directory / "throwaway").exists():
        shutil.rmtree(_read(directory / "throwaway"), ignore_errors=True)
        gone = directory.with_name(f"{directory.name}.gone")
        directory.rename(gone)  # at once: nobody can make a lock file in a directory that is half removed
        shutil.rmtree(gone, ignore_errors=True)


class FileLock:
    """
    An exclusive lock on a file, freed by the kernel when every process that holds it has ended.

    Two objects exclude each other in one process too. `with` waits as long as it takes. Only with `create` is a missing
    file made; else locking it raises `FileNotFoundError`, so that looking at a directory that somebody removes does not
    bring it back.
    """

    def __init__(self, path: Path, create: bool = False) -> None:
        self.path = path
        self._flags = os.O_RDWR | (os.O_CREAT if create else 0)
        self._file: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock if it is free; say whether it was."""
        file = os.open(self.path, self._flags, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        self._file = file
        return True

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait for the lock, at most `timeout` seconds; say whether it was got."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.try_acquire():
            if end is not None and time.monotonic() > end:
                return False
            time.sleep(POLL)
        return True

    def wait_until_free(self, timeout: float | None = None) -> bool:
        """Wait until nobody holds the lock, at most `timeout` seconds; say whether that came to pass."""
        if timeout is None:
            with suppress(FileNotFoundError), self.path.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # the kernel wakes us; a reaper may wait for days
            return True
        end = time.monotonic() + timeout
        while not (free := self.is_free()) and time.monotonic() < end:
            time.sleep(POLL)
        return free

    def is_free(self) -> bool:
        """Whether nobody held the lock just now; a missing file is free."""
        try:
            free = self.try_acquire()
        except FileNotFoundError:
            return True
        self.release()
        return free

    def fileno(self) -> int:
        """The descriptor that holds the lock, to be inherited by another process."""
        assert self._file is not None, f"{self.path} is not locked"  # noqa: S101
        return self._file

    def hand_over(self) -> None:
        """Close our descriptor, and leave the lock to the processes that inherited it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def release(self) -> None:
        """Free the lock, also for a child that was forked meanwhile."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self.hand_over()

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()


def _end(directory: Path) -> None:
    if (directory / "keep").exists():
        return
    if stop_server(directory):
        remove_if_throwaway(directory)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    if os.fork():
        os._exit(0)  # the starter waits for this process only, and has no child to look after
    os.setsid()  # Ctrl-C in the starter's terminal is not for us
    with suppress(FileNotFoundError):  # the directory was removed: nothing is left to do
        main(Path(sys.argv[1]))
