"""The script that starts a machine's program: the user-data for a new server on any cloud."""

from __future__ import annotations

import json
import shlex
from typing import Any

#: Where an image has the programs, unless PATH finds them.
PLACE = "/opt/rackactor/bin"

_SCRIPT = """\
#!/bin/sh
# Started by cloud-init, or by the image's own init, at a machine's first boot. See rackactor_runtime.guest.
PATH="{place}:$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export PATH
export HOME="${{HOME:-/root}}" LANG="${{LANG:-C.UTF-8}}"
say() {{ echo "rackactor: $*"; {{ echo "rackactor: $*" >/dev/console; }} 2>/dev/null; }}
off() {{
    for program in rackactor-poweroff "systemctl poweroff" poweroff; do
        command -v ${{program%% *}} >/dev/null && $program && return
    done
    say "nothing here can power this machine off"
}}
{install}if command -v rackactor-guest >/dev/null; then
    rackactor-guest <<'RACKACTOR_BIRTH'
{birth}
RACKACTOR_BIRTH
    say "the guest program ended with code $?"
else
    say "this image has no rackactor-guest, neither in {place} nor in PATH: see the images' README"
    sleep 5 # the console of a container ends with it, and somebody is to read this
fi
{end}
"""

# With a time limit, as the guest program has: until that runs, nothing else ends this machine.
_INSTALL = """\
if ! command -v rackactor-guest >/dev/null; then
    say "installing what this image lacks"
    timeout -s KILL {seconds} sh -c {commands} </dev/null || say "the installation ended with code $?"
fi
"""
#: Seconds for an installation if the birth data have no limit.
_LONG = 300.0


def script(birth: dict[str, Any], install: str = "") -> str:
    """Return the script that starts the guest program with its birth data, and powers the machine off after it.

    Args:
        birth: plain JSON; with `"poweroff": false` the machine is left on at the end.
        install: shell commands that install the guest program on images that lack it.

    Raises:
        ValueError: the birth data are no JSON.
    """
    try:
        text = json.dumps(birth, ensure_ascii=True, allow_nan=False)  # no line of it can end the here-document
    except TypeError as error:
        raise ValueError(f"birth data are plain JSON: {error}") from None
    end = "off" if birth.get("poweroff", True) else ""
    return _SCRIPT.format(place=PLACE, birth=text, install=_installation(birth, install), end=end)


def _installation(birth: dict[str, Any], commands: str) -> str:
    if not commands.strip():
        return ""
    seconds = birth.get("boot_timeout") or birth.get("patience") or _LONG
    return _INSTALL.format(seconds=max(1, round(seconds)), commands=shlex.quote(commands))
