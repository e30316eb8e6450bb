"""What of a machine's console is shown to people."""

from __future__ import annotations

from rackactor_runtime.providers.machines.console import tail, worth_showing

SHUTDOWN = "".join(
    f"[\x1b[0;32m  OK  \x1b[0m] Stopped \x1b[0;1;39munit-{number}\x1b[0m.\r\n\r\n" for number in range(100)
)


def test_a_short_console_is_shown_as_it_is() -> None:
    assert worth_showing("booting\nrackactor: no order within 60 s\npowering off\n") == (
        "booting\nrackactor: no order within 60 s\npowering off"
    )


def test_nothing_is_nothing() -> None:
    assert tail("\r\n \n") == ""


def test_a_shutdown_does_not_hide_why_the_machine_ended() -> None:
    said = "Starting cloud-final\n[   60.1] cloud-init[400]: rackactor: this image has no rackactor-guest\n"
    shown = worth_showing(f"{SHUTDOWN}{said}{SHUTDOWN}").splitlines()
    where = shown.index("[   60.1] cloud-init[400]: rackactor: this image has no rackactor-guest")
    assert shown[where - 1 : where + 2] == ["Starting cloud-final", shown[where], "[...]"]
    assert shown[-1] == "[  OK  ] Stopped unit-99."  # without colours
    assert len(shown) < 35


def test_a_traceback_before_the_last_word_is_shown_with_it() -> None:
    said = "Traceback (most recent call last):\nModuleNotFoundError: No module named 'zmq'\n"
    shown = worth_showing(f"{said}rackactor: the guest program ended with code 1\n{SHUTDOWN}")
    assert "No module named 'zmq'" in shown


def test_a_system_that_says_nothing_of_ours_ends_with_its_last_lines() -> None:
    shown = worth_showing(SHUTDOWN).splitlines()
    assert len(shown) == 30
    assert shown[-1].endswith("Stopped unit-99.")


def test_a_line_without_an_end_is_cut() -> None:
    assert len(worth_showing("x" * 100_000)) < 1000
