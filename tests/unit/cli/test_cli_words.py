"""What the command line's words mean, without a group: pipelines, values, paths, pieces of input."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from rackactor.cli.commands import clouds, images, run, why
from rackactor.cli.commands.files import inside
from rackactor.cli.commands.pipes import lines, pieces
from rackactor.cli.commands.processes import Ps
from rackactor.cli.commands.run import Run
from rackactor.cli.progress import Progress
from rackactor.cli.stages import Stage, StageParser, check
from rackactor.cli.values import from_word, to_bytes, to_json, to_word
from rackactor.errors import InvalidCall
from rackactor.status import Cause


def parse(*words: str) -> Any:
    parser = StageParser(prog="rack pipeline", allow_abbrev=False)
    parser.add_argument("-g", "--group")
    parser.add_argument("--stdin", action="store_true")
    return parser.parse_args(words)


@pytest.mark.parametrize(
    "words, stages",
    [
        (["a b", "c"], [Stage("a b"), Stage("c")]),
        (["a", "b", "-n", "4", "c"], [Stage("a"), Stage("b", 4), Stage("c")]),
        (["a", "-n2", "b", "-n", "03"], [Stage("a", 2), Stage("b", 3)]),
        (["-g", "there", "a", "--stdin", "-n", "2", "b"], [Stage("a", 2), Stage("b")]),
        (["--group=there", "--", "-n", "a"], [Stage("-n"), Stage("a")]),
        ([], []),
    ],
)
def test_the_words_of_a_pipeline(words: Sequence[str], stages: list[Stage]) -> None:
    options = parse(*words)
    assert options.stages == stages
    assert options.stdin is ("--stdin" in words)
    assert options.group == ("there" if any("there" in word for word in words) else None)


@pytest.mark.parametrize("words", [["-n", "4", "a"], ["a", "-n", "0"], ["a", "-n"], ["a", "-n", "²"], ["a", "--oh"]])
def test_words_that_are_no_pipeline(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        parse(*words)
    assert info.value.code == 2
    assert "rack pipeline: error: " in capsys.readouterr().err


def test_pipelines_that_cannot_be_meant() -> None:
    for stages in ([], [Stage("a"), Stage(" ")]):
        with pytest.raises(InvalidCall):
            check(stages)


def test_a_stage_is_named_after_its_command() -> None:
    assert Stage("/usr/bin/sort -u").plan.name == "sort"
    assert Stage("a | b").plan.target == ["sh", "-c", "a | b"]


@pytest.mark.parametrize(
    "value, shown, word, plain",
    [
        ("text", b"text\n", "text", "text"),
        ("a line\n", b"a line\n", '"a line\\n"', "a line\n"),
        (b"\xffraw\n", b"\xffraw\n", '"\\\\xffraw\\n"', "\\xffraw\n"),
        (5, b"5\n", "5", 5),
        (True, b"true\n", "true", True),
        (None, b"null\n", "null", None),
        (["ä", 1.5], '["ä", 1.5]\n'.encode(), '["ä", 1.5]', ["ä", 1.5]),
        (1j, b"1j\n", "1j", "1j"),
    ],
)
def test_values_as_a_shell_sees_them(value: Any, shown: bytes, word: str, plain: Any) -> None:
    assert (to_bytes(value), to_word(value), to_json(value)) == (shown, word, plain)


def test_words_as_values() -> None:
    assert from_word("5", as_json=False) == "5"
    assert from_word("5", as_json=True) == 5
    with pytest.raises(InvalidCall, match="is not JSON"):
        from_word("five", as_json=True)


@pytest.mark.parametrize("path", ["rack:/a/b", "rack:a/b", "/a/b", "a/b/", "/a/../a/b", "//a/b"])
def test_paths_of_the_group(path: str) -> None:
    assert inside(path) == "/a/b"
    assert inside("rack:") == inside("..") == "/"


@pytest.mark.parametrize(
    "text", [b"", b"one", b"one\ntwo", b"one\r\ntwo\n\n", b"x" * 100_000 + b"\n" + b"y\n" * 50_000]
)
def test_input_comes_in_whole_lines(text: bytes) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as file:
            file.write(text)

    writer = threading.Thread(target=write)
    writer.start()
    found = list(pieces(reading))
    writer.join()
    os.close(reading)
    assert b"".join(found) == text
    assert all(piece.endswith(b"\n") or len(piece) >= 64 << 10 for piece in found[:-1])
    assert [line for piece in found for line in lines(piece)][-1:] == text.splitlines(keepends=True)[-1:]


# -- clouds ----------------------------------------------------------------------------------------------


def parse_run(*words: str) -> Any:
    return Run(None, None).get_parser("rack run").parse_args(words)


def test_a_group_on_a_cloud() -> None:
    words = [
        "--cloud",
        "mini",
        "--image",
        "big",
        "--flavor=m1.tiny",
        "--external-network",
        "public",
        "--no-floating-ip",
    ]
    options = parse_run(*words, "--security-group", "a", "--security-group", "b", "script.py", "--cloud", "its own")
    assert (options.script, options.words) == ("script.py", ["--cloud", "its own"])
    settings = {"image": "big", "flavor": "m1.tiny", "external_network": "public", "floating_ip": False}
    settings["security_groups"] = ["a", "b"]
    assert clouds.place(options) == {"cloud": "mini", "provider_settings": settings}


def test_a_pipeline_on_a_cloud() -> None:
    parser = StageParser(prog="rack pipeline", allow_abbrev=False)
    run.add_group_options(parser)
    options = parser.parse_args(["--cloud", "mini", "a", "--anti-affinity", "-n", "2", "b"])
    assert options.stages == [Stage("a", 2), Stage("b")]
    assert clouds.place(options) == {"cloud": "mini", "provider_settings": {"anti_affinity": True}}


def test_a_group_on_this_host() -> None:
    assert clouds.place(parse_run("script.py")) == {}


def test_machines_without_a_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OS_CLOUD", raising=False)
    with pytest.raises(InvalidCall, match=r"^--image, --security-group: on which cloud"):
        clouds.place(parse_run("--image", "x", "--security-group", "a", "script.py"))


def test_a_cloud_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_CLOUD", "mini")
    assert clouds.place(parse_run("--flavor", "x", "script.py"))["cloud"] == "mini"
    assert clouds.place(parse_run("--flavor", "x", "--os-cloud", "other", "script.py"))["cloud"] == "other"
    assert clouds.place(parse_run("script.py")) == {}  # machines cost money: they are asked for


@pytest.mark.parametrize(
    "environment, given, words",
    [
        ({"OS_CLOUD": "mini"}, [], ["--cloud", "mini"]),
        ({"OS_CLOUD": "mini"}, ["--os-cloud", "other"], ["--cloud", "other"]),
        ({"OS_AUTH_URL": "https://keystone"}, [], []),
        ({"OS_CLOUD": "", "OS_AUTH_URL": "https://keystone"}, ["--cloud=mini"], ["--cloud", "mini"]),
    ],
)
@pytest.mark.parametrize("command", [clouds.Gc, images.ImageList, images.ImageUpload])
def test_which_cloud_is_meant(
    monkeypatch: pytest.MonkeyPatch, command: Any, environment: dict[str, str], given: list[str], words: list[str]
) -> None:
    for name in ("OS_CLOUD", "OS_AUTH_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    file = ["a-file"] if command is images.ImageUpload else []
    options = command(None, None).get_parser("rack").parse_args([*given, *file])
    assert clouds.cloud_words(options) == words


def test_no_cloud_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OS_CLOUD", "OS_AUTH_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InvalidCall, match="--cloud or OS_CLOUD"):
        clouds.cloud_words(clouds.Gc(None, None).get_parser("rack gc").parse_args([]))


@pytest.mark.parametrize(
    "commands, told", [(3, {"provider_settings": {"warm": 3}}), (100, {}), (None, {})], ids=["few", "many", "a script"]
)
def test_no_more_is_made_ready_than_commands_need(
    monkeypatch: pytest.MonkeyPatch, commands: int | None, told: dict[str, Any]
) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr(run, "group", lambda name, **options: made.update(options))
    run.make_group(parse_run("--", "true"), None, 5.0, Progress(), commands)
    assert {name: made[name] for name in made if name == "provider_settings"} == told


def test_how_a_group_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr(run, "group", lambda name, **options: made.update(options, name=name))
    run.make_group(parse_run("--cloud", "mini", "--name", "x", "--", "true"), "10", 5.0, Progress(), 1)
    made.pop("progress")("making a network")
    known = {"name": "x", "cloud": "mini", "provider_settings": {}, "transport": None, "deadline": 15.0, "echo": False}
    assert made == known


def test_what_removes_leavings(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def start(words: list[str], check: bool) -> Any:
        started.append(words)
        return type("Done", (), {"returncode": 3})

    monkeypatch.setattr(clouds.subprocess, "run", start)
    gc = clouds.Gc(None, None)
    assert gc.take_action(gc.get_parser("rack gc").parse_args(["--cloud", "mini", "--dry-run", "a-gid"])) == 3
    assert started[0][2:] == ["-m", "rackactor_runtime.providers.nova.gc", "--cloud", "mini", "--dry-run", "a-gid"]
    gc.take_action(gc.get_parser("rack gc").parse_args(["--cloud", "mini", "-f", "json"]))
    assert started[1][-2:] == ["--format", "json"]


def test_addresses_are_shown_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    row: dict[str, Any] = {"pid": 3, "ppid": 2, "pgid": 3, "name": "x", "kind": "actor", "state": "running"}
    row |= {"instance": "i", "what": "X", "status": None, "created": 0.0, "ended": 1.0}
    for more, columns in ({}, 10), ({"address": "10.0.0.9"}, 11):
        group = type("Group", (), {"ps": lambda self, more=more: [row | more]})()
        monkeypatch.setattr(
            "rackactor.cli.commands.processes.visit", lambda _, group=group: contextlib.nullcontext(group)
        )
        ps = Ps(None, None)
        names, (values,) = ps.take_action(ps.get_parser("rack ps").parse_args([]))
        assert len(names) == len(values) == columns
        assert ("Address" in names) is bool(more)


def test_every_cause_of_an_end_is_explained() -> None:
    assert set(why._MEANING) == set(Cause)


def test_why_tells_what_a_process_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "the cloud gives no clear answer since 14:03:22 UTC: HTTP 503"
    row = {"pid": 7, "ppid": 1, "name": "worker", "kind": "function", "what": "", "instance": "", "state": "new"}
    row |= {"created": 1.8e9, "started": None, "ended": None, "status": None, "note": words}
    monkeypatch.setattr(why, "_last_output", lambda group, pid, status: "")
    group: Any = SimpleNamespace()
    lines = list(why.story(group, 7, {"process": row, "signals": []}))
    assert lines[lines.index("  the provider's words") + 1] == f"    {words}"
