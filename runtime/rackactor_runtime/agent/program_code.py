"""The code that was sent with the program, in a process that cannot see the program's disk.

It is unpacked, and not imported from its archive: packages find their data files, tracebacks show their lines, and
commands find their files. The directory belongs to the process, and is removed with it.
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
#: A lock held while this process lives: so others know which directories are abandoned.
_lock = -1


def unpack(session: Session, welcome: Welcome) -> None:
    """Fetch the code of this process and unpack it: first in `sys.path`, or a command's working directory.

    Raises:
        OSError: it cannot be fetched, or there is no room for it.
        RackError: it differs from what was sent.
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
    """Remove the directory."""
    if _place:
        shutil.rmtree(_place, ignore_errors=True)


def missing(session: Session, error: BaseException) -> str:
    """Return advice for an import that failed because a module is missing, or ""."""
    if not session.kernel.welcome.remote or not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    name = error.name.partition(".")[0]
    return (
        f" ({name!r} is not in the image of this process, and was not sent along with the program, as what is installed"
        " or compiled never is: install it into the image)"
    )


def advise(session: Session, error: BaseException) -> None:
    """Add advice to an error."""
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
