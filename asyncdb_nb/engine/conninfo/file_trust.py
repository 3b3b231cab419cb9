"""
Say whether a configuration file can be trusted: only the user or root can have written it.

A `.env` in a folder above, or a service file, decides which server gets a connection. So it counts only when nobody but
the user and root could have written it: it belongs to one of them, no other user may write to it or to its folder, and
the same holds for every folder and symbolic link on the way to it. A folder that all may write to and that has the
sticky bit, such as `/tmp`, is allowed on the way, since there nobody can rename what belongs to someone else; as the
file's own folder it is not, since anybody may make a hard link there.
"""

from __future__ import annotations

import os
import stat
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

if sys.platform != "win32":
    import grp
    import pwd


def distrust(file: Path) -> str | None:
    """Say who else could have written a file, and what to type against it; None if nobody could.

    Args:
        file: A file that exists.

    Returns:
        Two sentences, such as `"/srv belongs to user 'ann'. …"`. Always None on Windows, where an access control list
        decides.
    """
    if sys.platform == "win32":
        return None
    folder = file.resolve().parent
    for place in _way_to(file.absolute()):
        found = place.lstat()
        if found.st_uid not in (os.geteuid(), 0):
            return f"{place} belongs to user {_user(found.st_uid)}. {_elsewhere(file)}"
        if not stat.S_ISLNK(found.st_mode) and _others_may_write(found, own_folder=place == folder):
            mine = found.st_uid == os.geteuid()
            remedy = f"Type in a shell: chmod go-w {quote(str(place))}" if mine else _elsewhere(file)
            return f"Other users may write to {place}. {remedy}"
    return None


def another_owner(file: Path) -> str | None:
    """Name the user that a file belongs to, if that is not the current one."""
    if sys.platform == "win32" or (uid := file.stat().st_uid) == os.geteuid():
        return None
    return _user(uid)


def _way_to(file: Path) -> Iterator[Path]:
    """Every folder and symbolic link that decides which file a path means, from the root on, and the file itself."""
    here, steps = Path(file.anchor), deque(file.parts[1:])
    yield here
    while steps:
        step = steps.popleft()
        here = here.parent if step == ".." else here / step
        yield here
        if here.is_symlink():
            target = here.readlink()
            here = Path(target.anchor) if target.is_absolute() else here.parent
            steps.extendleft(reversed(target.parts[1:] if target.is_absolute() else target.parts))


def _others_may_write(found: os.stat_result, own_folder: bool) -> bool:
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX and not own_folder:
        return False
    by_group = found.st_mode & stat.S_IWGRP and not _is_private(found.st_gid)
    return bool(by_group or found.st_mode & stat.S_IWOTH)


def _is_private(gid: int) -> bool:
    """Whether a group is the user's own, as Debian, Ubuntu and Fedora make one for each user (with umask 002)."""
    assert sys.platform != "win32"  # noqa: S101
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    named_alike = gid != 0 and gid == user.pw_gid and group.gr_name == user.pw_name
    return named_alike and set(group.gr_mem) <= {user.pw_name}


def _user(uid: int) -> str:
    assert sys.platform != "win32"  # noqa: S101
    try:
        return repr(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return str(uid)


def _elsewhere(file: Path) -> str:
    return f"Copy {file.name} to a folder of your own, or type the URL: connect('postgresql://user@host:5432/database')"
