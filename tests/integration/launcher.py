"""Stands in for the launcher of a cloud: the same lines, the same life, and a supervisor of this host behind it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import Any, NoReturn

order = json.loads(sys.stdin.readline())
settings = order["provider_settings"]


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def note(word: str) -> None:
    """Say to the test what has happened."""
    with open(settings["notes"], "a") as file:
        print(word, file=file)


def told(*_: object) -> NoReturn:
    note("told")
    if "left" in settings:
        say(error={"message": f"called off; left: {settings['left']}", "type": "StartError"})
        sys.exit(3)
    sys.exit(0)


signal.signal(signal.SIGTERM, told)
for text in settings.get("progress", ["making a network", "starting the supervisor's machine"]):
    say(progress=text)
match settings.get("way", ""):
    case "hang":
        note("hanging")
        time.sleep(60)
    case "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note("hanging")
        time.sleep(5)
        sys.exit(0)
    case "die":
        sys.exit("the cloud has no flavor 'm1.none'")
    case "nonsense":
        print("Warning: something", flush=True)
    case "refuse":
        say(error={"message": "there is no cloud 'none' in clouds.yaml", "type": settings["type"]})
        sys.exit(1)
inner = {**order, "provider": "local", "provider_settings": {"warm": 0}}
words = [sys.executable, "-P", "-m", "rackactor_runtime.supervisor"]
supervisor = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
assert supervisor.stdin is not None
assert supervisor.stdout is not None
supervisor.stdin.write(json.dumps(inner).encode() + b"\n")
supervisor.stdin.close()
print(supervisor.stdout.readline().decode(), end="", flush=True)
supervisor.wait()
time.sleep(settings.get("slow", 0.0))
note("removed")
if settings.get("way") == "leave":
    sys.exit("the server 4711 does not go: ERROR")
