"""PID 1 of a guest, in a virtual machine and in a container alike.

It does what a process needs of a machine and nothing more: file systems, an address by DHCP, Nova's metadata, the
keypair's login, and the user-data, which is a program. The program starts a second after the kernel has handed over,
so this imports little: no subprocess, no urllib, no ctypes, which take an emulated processor longer than all else here.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time

#: Where the metadata is left for the agent.
METADATA = "/run/rackactor/meta_data.json"
USER_DATA = "/run/rackactor/user-data"
SERVICE = ("169.254.169.254", 80)
#: Seconds for which metadata is asked for before the machine gives up and ends.
PATIENCE = 120.0
#: Seconds that programs have between SIGTERM and SIGKILL when the machine goes down.
GRACE = 2.0
#: What the main loop waits for. They are blocked all along, and unblocked in the programs that are started.
SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPWR}

ENVIRONMENT = {
    "PATH": "/opt/rackactor/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "linux",
}
#: libvirt tells a container's init that it is in one.
CONTAINER = "container" in os.environ


def say(text: str) -> None:
    """Write a line to the console, with the seconds since the kernel started."""
    with open("/proc/uptime") as uptime:
        up = uptime.read().partition(" ")[0]
    print(f"rackactor-init {up}: {text}", flush=True)


def spawn(*words: str, quiet: bool = False) -> int:
    """Start a program and return its number."""
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    if quiet:
        actions += [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    return os.posix_spawnp(words[0], words, ENVIRONMENT, file_actions=actions, setsigmask=())


def run(*words: str, quiet: bool = False) -> int:
    """Run a program to its end; returns its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(spawn(*words, quiet=quiet), 0)[1])


def mount(kind: str, where: str, *options: str) -> None:
    """Mount one of the kernel's own file systems, unless something is mounted there."""
    os.makedirs(where, exist_ok=True)
    if not os.path.ismount(where):
        run("busybox", "mount", "-t", kind, *options, kind, where)


def file_systems() -> None:
    """Mount what programs expect. In a container the host has done most of it."""
    mount("proc", "/proc")
    mount("sysfs", "/sys")
    if not CONTAINER:
        mount("devtmpfs", "/dev")
        mount("devpts", "/dev/pts", "-o", "mode=620,ptmxmode=666")
    mount("tmpfs", "/dev/shm", "-o", "mode=1777")
    mount("tmpfs", "/run", "-o", "mode=755")
    mount("tmpfs", "/tmp", "-o", "mode=1777")
    for link, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        if not os.path.lexists(f"/dev/{link}"):
            os.symlink(f"/proc/self/fd{target}", f"/dev/{link}")
    os.makedirs(os.path.dirname(METADATA), exist_ok=True)


def begin_network() -> list[int]:
    """Start a DHCP client for each interface; returns their numbers."""
    run("busybox", "ifconfig", "lo", "127.0.0.1", "up")
    clients = []
    for device in sorted(os.listdir("/sys/class/net")):
        if device == "lo" or not os.path.exists(f"/sys/class/net/{device}/address"):
            continue
        if not device.startswith(("e", "v")):  # tunl0, sit0 and the like belong to the kernel
            continue
        run("busybox", "ifconfig", device, "up")
        # A try each second: the port may become active only after us. Option 121 holds the way to the metadata.
        words = "busybox udhcpc -f -q -n -T 1 -t 60 -O staticroutes -s /opt/rackactor/init/dhcp -i"
        clients.append(spawn(*words.split(), device, quiet=True))
    return clients


def config_drive() -> str | None:
    """Mount the config drive, if there is one, and return the directory that holds the metadata."""
    if CONTAINER:
        return None
    where = "/run/rackactor/config-drive"
    os.makedirs(where, exist_ok=True)
    for device in ("/dev/sr0", "/dev/vdb", "/dev/vdc", "/dev/sdb"):
        if (
            os.path.exists(device)
            and run("busybox", "mount", "-t", "iso9660", "-o", "ro", device, where, quiet=True) == 0
        ):
            if os.path.isdir(f"{where}/openstack/latest"):
                return f"{where}/openstack/latest"
            run("busybox", "umount", where)
    return None


def get(name: str, timeout: float) -> bytes | None:
    """Fetch a document of the metadata service; None: there is no such document.

    Raises:
        OSError: the service did not answer, or not as one.
    """
    with socket.create_connection(SERVICE, timeout) as line:
        line.sendall(f"GET /openstack/latest/{name} HTTP/1.0\r\nHost: {SERVICE[0]}\r\n\r\n".encode())
        answer = b""
        while piece := line.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(None, 2)[1:2]
    if status == [b"404"]:
        return None
    if status != [b"200"]:
        raise OSError(head.partition(b"\r\n")[0].decode("latin-1") or "an empty answer")
    return body


def metadata() -> tuple[bytes, bytes, str]:
    """Return the metadata, the user-data, and where they come from.

    Raises:
        OSError: there are none.
    """
    clients = begin_network()
    drive = config_drive()
    leases = [os.waitstatus_to_exitcode(os.waitpid(client, 0)[1]) for client in clients]
    say(f"{leases.count(0)} of {len(leases)} interfaces have an address")
    if drive is not None:
        return _read(f"{drive}/meta_data.json"), _read(f"{drive}/user_data"), "config drive"
    end = time.monotonic() + PATIENCE
    # In a network made a moment ago the service may not listen yet: the first attempts are short.
    wait = 2.0
    while True:
        try:
            meta = get("meta_data.json", wait)
            if meta is None:
                raise OSError("no meta_data.json")
            return meta, get("user_data", 10.0) or b"", SERVICE[0]
        except OSError as error:
            if time.monotonic() > end:
                raise OSError(f"neither a config drive nor an answer from {SERVICE[0]}: {error}") from error
            wait = min(10.0, wait + 1)
            time.sleep(0.2)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def write(path: str, content: bytes, mode: int) -> None:
    """Write a file that is complete when it has its name."""
    with open(os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
    os.rename(f"{path}.new", path)


def login(keys: dict[str, str]) -> None:
    """Let the owner of the keypair in by ssh."""
    if not keys or not os.path.exists("/usr/sbin/dropbear"):
        return
    os.makedirs("/root/.ssh", 0o700, exist_ok=True)
    write("/root/.ssh/authorized_keys", "".join(f"{key.strip()}\n" for key in keys.values()).encode(), 0o600)
    os.makedirs("/etc/dropbear", exist_ok=True)
    spawn("/usr/sbin/dropbear", "-F", "-R", "-s")


def grow() -> None:
    """Let the root file system fill its partition, beside everything else."""
    with open("/proc/mounts") as mounts:
        device = next((line.split()[0] for line in mounts if line.split()[1] == "/"), "")
    if device.startswith("/dev/") and not CONTAINER:
        spawn("/sbin/resize2fs", device, quiet=True)


def begin() -> int | None:
    """Bring the machine up; returns the number of the program whose end is the machine's, if it has one."""
    file_systems()
    say(f"began in a {'container' if CONTAINER else 'virtual machine'}")
    content, user_data, source = metadata()
    write(METADATA, content, 0o600)
    meta = json.loads(content)
    try:
        socket.sethostname(str(meta.get("hostname") or "guest").partition(".")[0])
    except OSError:
        pass  # a container may not
    task = None
    if user_data.startswith(b"#!"):
        write(USER_DATA, user_data, 0o700)
        task = spawn(USER_DATA)
    say(f"metadata from {source}, {'user-data started' if task else 'no program in the user-data'}")
    login(meta.get("public_keys") or {})
    grow()
    # RACK's metadata say that the machine is a process. One without them is an ordinary machine, and stays.
    return task if "gid" in (meta.get("meta") or {}) else None


def serve(task: int | None) -> str:
    """Bury the dead until the machine is to end; returns why."""
    while True:
        number = signal.sigwait(SIGNALS)
        if number != signal.SIGCHLD:
            return signal.Signals(number).name
        for pid, status in _dead():
            if pid == task:
                code = os.waitstatus_to_exitcode(status)
                return f"its program ended, {f'exit code {code}' if code >= 0 else f'signal {-code}'}"


def _dead() -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        found.append((pid, status))


def power_off(why: str) -> None:
    """End every program, then the machine."""
    say(f"powering off: {why}")
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(-1, number)
        except ProcessLookupError:
            break  # nobody is left
        end = time.monotonic() + GRACE
        while time.monotonic() < end and _children():
            signal.sigtimedwait({signal.SIGCHLD}, 0.1)
    os.sync()
    if not CONTAINER:
        run("busybox", "poweroff", "-f")
        time.sleep(10)
    os._exit(0)


def _children() -> bool:
    _dead()
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def main() -> None:
    """Be PID 1."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    os.environ.update(ENVIRONMENT)
    sys.stdin.close()
    why = "?"
    try:
        why = serve(begin())
    except BaseException as error:
        # A machine that knows neither its task nor its deadline would stay for ever.
        why = f"{type(error).__name__}: {error}"
    finally:
        power_off(why)
