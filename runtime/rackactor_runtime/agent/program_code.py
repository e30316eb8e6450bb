"""The code that came with the program, in a process that does not see the program's disk.

It is unpacked rather than imported from its archive: packages find their data files, tracebacks show their lines, and
commands have their files before them. The directory is the process's own and ends with it.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sys
import zipfile

from rackactor.errors import RackError
from rackactor.launch import directories
from rackactor.program import shipping
from rackactor.syscalls.session import Session
from rackactor.wire import unpacked
from rackactor.wire.welcome import Welcome

_place = ""
#: Held while this process lives: by it others know whose directories are left.
_lock = -1


def unpack(session: Session, welcome: Welcome) -> None:
    """Fetch what came with this process and unpack it: first in `sys.path`, or a command's working directory.

    Raises:
        OSError: it cannot be had, or there is no room for it.
        RackError: it is not what was sent.
    """
    global _place, _lock
    names = welcome.code
    if not names:
        return
    _place, _lock = directories.make_code_directory()
    made = []
    for number, name in enumerate(names):
        with session.open(shipping.path_of(name), "rb") as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != name:
            raise RackError(f"the program's code has changed on its way: {shipping.path_of(name)} is not what was sent")
        made.append(os.path.join(_place, str(number)))
        _extract(data, made[-1])
    if welcome.kind == "command":
        os.chdir(made[0])
        return
    unpacked.directories[:] = made
    sys.path[:0] = made


def remove() -> None:
    """Remove it."""
    if _place:
        shutil.rmtree(_place, ignore_errors=True)


def missing(session: Session, error: BaseException) -> str:
    """Return what to do about an import that failed for want of a module, or ""."""
    if not session.kernel.welcome.remote or not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    name = error.name.partition(".")[0]
    return (
        f" ({name!r} is not in the image of this process, and was not sent along with the program, as what is installed"
        " or compiled never is: install it into the image)"
    )


def advise(session: Session, error: BaseException) -> None:
    """Say under an error what to do about it."""
    words = missing(session, error)
    if words:
        error.add_note(words.strip(" ()"))


def _extract(data: bytes, place: str) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(place)
        for info in archive.infolist():
            if info.external_attr >> 16 & 0o100:
                os.chmod(os.path.join(place, info.filename), 0o755)
    os.makedirs(place, exist_ok=True)
