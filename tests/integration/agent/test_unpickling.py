"""The supervisor never unpickles; a group may refuse pickle altogether."""

from __future__ import annotations

import ast
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from strangers import House, answer

import rackactor as rack
import rackactor_runtime.supervisor
from rackactor.errors import ProtocolError
from rackactor.wire.codec import encode
from rackactor.wire.frames import Header, Kind, pack_body, pack_route
from rackactor.wire.stream import Entry, EntryKind, pack_entries

pytestmark = pytest.mark.wire


class Trap:
    """What writes down, when it is unpickled, which OS process did that."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __reduce__(self) -> Any:
        return exec, (f"import os; open({str(self._directory) + '/'!r} + str(os.getpid()), 'w').close()",)


def test_the_supervisor_never_unpickles(house: House, tmp_path: Path) -> None:
    trap = pickle.dumps(Trap(tmp_path))
    me = os.getpid()
    with house.member() as member:
        # as the body of a call, as an argument, as what a call carries, as a message to somebody
        for body in (trap, pack_body({"n": 1, "kind": trap, "name": trap}), pack_body({"n": 1, "kind": "function"})):
            member.seq += 1
            header = Header(Kind.CALL, 1, member.pid, 1, member.seq, (member.seq, "fork")).pack()
            member.socket.send_multipart([pack_route(1), header, body, trap, trap])
            kind, fields = member.hear()
        assert kind.kind is Kind.REPLY
        (pid,) = fields["pids"]
        for to, extra in ((1, (1, 1, 0, 0)), (house.bystander.pid, (1, 1, 0, 0))):
            member.seq += 1
            header = Header(Kind.DATA, 1, member.pid, 1, member.seq, extra).pack()
            member.socket.send_multipart([pack_route(to), header, *pack_entries([Entry(EntryKind.STDIN, 0, trap)])])
        member.seq += 1
        header = Header(Kind.CALL, 1, member.pid, 1, member.seq, (member.seq, "exit")).pack()
        member.socket.send_multipart([pack_route(1), header, pack_body({"how": "exited", "code": 0}), trap])
        assert member.hear()[0].kind in (Kind.REPLY, Kind.EVENT)
    with pytest.raises((rack.RackError, ProtocolError)):
        house.group.process(pid).wait(10)
        raise ProtocolError("it has ended")
    process = house.group.fork(abs, Trap(tmp_path))
    process.wait(10)
    house.check()
    opened = {int(name) for name in os.listdir(tmp_path)}
    assert opened  # the processes it was for have opened it, as they should
    assert house.card["os_pid"] not in opened
    assert me not in opened


def test_no_module_of_the_supervisor_can_unpickle() -> None:
    home = Path(rackactor_runtime.supervisor.__file__).parent
    modules = sorted(home.rglob("*.py"))
    assert len(modules) > 10
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = [f"call.{node.func.id}"]
            for name in names:
                top = name.split(".")[0]
                assert top not in ("pickle", "cloudpickle", "dill", "marshal", "shelve", "copyreg"), f"{path}: {name}"
                assert not name.startswith(
                    ("rackactor.wire.codec", "rackactor.wire.target", "rackactor.syscalls.session")
                ), f"{path}: {name}"
                assert name not in ("call.eval", "call.exec", "rackactor.wire.codec"), f"{path}: {name}"


def test_a_group_that_refuses_pickle(transport: str, tmp_path: Path) -> None:
    with rack.group("plain", transport=transport, pickle=False, grace=2.0, end_grace=0.5) as group:
        process = group.fork(answer)
        assert process.ask({"plain": [1, b"2"]}) == {"plain": [1, b"2"]}
        with pytest.raises(rack.InvalidCall, match="refuses pickle"):
            process.tell(Trap(tmp_path))
        kernel = group.kernel
        kernel.post(process.pid, EntryKind.TELL, encode(Trap(tmp_path)))  # a sender that does not care
        assert process.ask("the next") == "the next"
        assert os.listdir(tmp_path) == []
