"""The source `command`: programs that print names, and programs that do not behave."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from epmdless.cluster.peers import Known, LookError, Peer, Unknown
from epmdless.cluster.sources.build import build
from epmdless.cluster.sources.command import NamesCommand
from epmdless.cluster.sources.name_text import MAX_BYTES
from epmdless.cluster.sources.program import KEPT_COMPLAINT, Program
from epmdless.config import CommandSource, Duration
from tests.cluster.sources.saying import AROUND
from tests.support.deadline import eventually

LONG = 60.0
"""Seconds that a well-behaved program has: a slow machine does not matter."""

SHORT = 0.3
"""Seconds that a program has that uses them all up."""


def source(*argv: str, seconds: float = LONG) -> NamesCommand:
    return NamesCommand(CommandSource(argv=argv, timeout=Duration(seconds)))


def shell(script: str, *words: str | Path, seconds: float = LONG) -> NamesCommand:
    return source("/bin/sh", "-c", script, "sh", *map(str, words), seconds=seconds)


async def names(source: NamesCommand) -> list[str]:
    return [peer.name for peer in await source.look()]


async def failure(source: NamesCommand) -> LookError:
    with pytest.raises(LookError) as caught:
        await source.look()
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 500
    return caught.value


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No child, running or ended, and no descriptor more than before."""
    before, servers = descriptors(), children()
    yield
    eventually(lambda: children() <= servers, within=10, what=lambda: f"no more than {servers}: {children()}")
    assert descriptors() <= before  # those of other tests may go meanwhile


def children() -> set[str]:
    """Processes that we started and have not reaped; a server of other tests may be among them."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def descriptors() -> set[str]:
    """The numbers of those that are open, but for the one that lists them."""
    return {each.name for each in Path("/proc/self/fd").iterdir() if each.exists()}


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for init to reap it does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends(pid_file: Path) -> None:
    """Wait for the end of the process whose number a script wrote down."""
    pid = int(pid_file.read_text())
    eventually(lambda: not is_running(pid), within=10, what=f"the end of {pid}")


def kill(pid_file: Path) -> None:
    """End the process whose number a script wrote down."""
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    ends(pid_file)


async def appears(path: Path) -> None:
    """Wait for a file that a script makes."""
    await trio.to_thread.run_sync(lambda: eventually(path.exists, within=20, what=str(path)))


# What a program prints.


async def test_text_is_names() -> None:
    assert await names(shell("echo app@10.0.0.7; echo; echo '# the last'; echo app@fd00::7")) == [
        "app@10.0.0.7",
        "app@fd00::7",
    ]


async def test_json_is_names_and_ports() -> None:
    program = shell("""echo '[{"name": "app@b1", "port": 9001}, "app@b2"]'""")
    assert await program.look() == (Peer("app@b1", 9001), Peer("app@b2"))


async def test_nothing_printed_is_nobody() -> None:
    assert await names(shell("true")) == []


async def test_each_look_runs_it_anew(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("app@b1\n")
    program = shell('cat "$1"', tmp_path / "nodes")
    assert await names(program) == ["app@b1"]
    (tmp_path / "nodes").write_text("app@b2\n")
    assert await names(program) == ["app@b2"]


async def test_the_same_output_is_the_same_list() -> None:
    program = shell("echo app@b1")
    assert await program.look() is await program.look()


async def test_a_long_list_comes_whole() -> None:
    script = "for n in range(10_000): print(f'app-{n}@b{n}.internal')"
    assert await names(source(sys.executable, "-c", script)) == [
        f"app-{n}@b{n}.internal" for n in range(10_000)
    ]


async def test_it_has_our_environment_and_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "b1.internal")
    assert await names(shell("cat; echo app@$PGHOST")) == ["app@b1.internal"]


async def test_it_is_found_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nodes-of").write_text("#!/bin/sh\necho app@b1\n")
    (tmp_path / "nodes-of").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert await names(source("nodes-of")) == ["app@b1"]


# What is no list.


async def test_with_another_exit_status_what_it_printed_does_not_count() -> None:
    error = await failure(shell("echo app@b1; echo 'no such table' >&2; exit 3"))
    assert (error.reason, error.detail) == ("failed", "/bin/sh: exit status 3: no such table")


async def test_a_silent_failure_is_one_too() -> None:
    error = await failure(shell("exit 1"))
    assert (error.reason, error.detail) == ("failed", "/bin/sh: exit status 1")


async def test_the_signal_that_ended_it_is_told() -> None:
    error = await failure(shell("echo app@b1; kill -SEGV $$"))
    assert (error.reason, error.detail) == ("failed", "/bin/sh: ended by SIGSEGV")
    assert "ended by signal 40" in (await failure(shell("kill -40 $$"))).detail


async def test_the_last_lines_of_a_complaint_are_told_as_one() -> None:
    script = r"printf 'one\ntwo\n\nthree\n   \n  \033[2Jfour\377\n' >&2; exit 1"
    error = await failure(shell(script))
    assert error.detail == r"/bin/sh: exit status 1: two; three; \x1b[2Jfour�"


@pytest.mark.parametrize("password", ["s3cret", "s3@c/r:e#t"])
async def test_a_password_in_a_url_is_not_repeated(password: str) -> None:
    """psql takes what is no URL for it as the name of a database, and says that there is none such."""
    script = """echo "FATAL:  database \\"postgress://app:$1@db.test/nodes\\" does not exist" >&2; exit 2"""
    error = await failure(shell(script, password))
    assert error.detail == (
        '/bin/sh: exit status 2: FATAL:  database "postgress://…@db.test/nodes" does not exist'
    )


async def test_of_an_endless_complaint_the_end_is_kept() -> None:
    script = f"import sys; sys.stderr.write('x' * {KEPT_COMPLAINT * 20} + '\\nthe end\\n'); sys.exit(1)"
    error = await failure(source(sys.executable, "-c", script))
    assert error.detail.startswith(f"{sys.executable}: exit status 1: xxx")
    error = await failure(source(sys.executable, "-c", script.replace("'x' *", "'x\\n' *")))
    assert error.detail == f"{sys.executable}: exit status 1: x; x; the end"


async def test_what_is_no_name_is_malformed() -> None:
    error = await failure(shell("echo app@b1; echo Service Unavailable"))
    assert (error.reason, error.detail) == ("malformed", "line 2: 'Service Unavailable' is not NAME@HOST")


@pytest.mark.parametrize("argv", ["/no/such/program", "no-such-program-anywhere", "/", "/etc/passwd"])
async def test_what_cannot_be_run_is_a_failure(argv: str) -> None:
    error = await failure(source(argv))
    assert error.reason == "failed"
    assert error.detail.startswith(f"{argv}: ")
    assert "No such file" in error.detail or "denied" in error.detail


async def test_a_file_that_is_no_program_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"\0\1\2")
    (tmp_path / "program").chmod(0o755)
    error = await failure(source(str(tmp_path / "program")))
    assert (error.reason, "Exec format error" in error.detail) == ("failed", True)


async def test_where_ends_of_children_are_not_told_it_fails() -> None:
    """As under a parent that ignores SIGCHLD: a failure would look like exit status 0, and so like nobody."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        error = await failure(shell("exit 1"))
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert (error.reason, "SIGCHLD is ignored" in error.detail) == ("failed", True)


# Programs without end.


async def stopped(program: NamesCommand, at: Path) -> None:
    """Stop a source whose program has come so far as to make this file."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.run, lambda _: None)
        await appears(at)
        nursery.cancel_scope.cancel()


async def test_one_that_does_not_end_is_a_time_out() -> None:
    error = await failure(shell("echo app@b1; sleep 1000 & sleep 1000", seconds=SHORT))
    assert (error.reason, error.detail) == ("timeout", f"/bin/sh: not done within {SHORT} s")


async def test_all_that_it_started_ends_with_it(tmp_path: Path) -> None:
    script = 'sleep 1000 & echo $! >"$1"; echo $$ >"$2"; (sleep 1000; echo no) & : >"$3"; wait'
    files = [tmp_path / name for name in ("child", "self", "ready")]
    await stopped(shell(script, *files), files[-1])
    ends(tmp_path / "child")
    ends(tmp_path / "self")


async def test_one_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    script = 'trap "" TERM; echo $$ >"$1"; : >"$2"; while :; do sleep 1000; done'
    await stopped(shell(script, tmp_path / "self", tmp_path / "ready"), tmp_path / "ready")
    ends(tmp_path / "self")


async def test_one_that_heeds_sigterm_can_clean_up(tmp_path: Path) -> None:
    script = 'trap "touch \\"$1\\"; exit" TERM; : >"$2"; while :; do sleep 0.01; done'
    await stopped(shell(script, tmp_path / "clean", tmp_path / "ready"), tmp_path / "ready")
    assert (tmp_path / "clean").exists()


async def test_one_that_closes_its_output_and_stays_is_a_time_out() -> None:
    assert (await failure(shell("exec >&- 2>&-; sleep 1000", seconds=SHORT))).reason == "timeout"


async def test_what_it_leaves_in_the_background_holds_nothing_up_and_is_ended(tmp_path: Path) -> None:
    program = shell('sleep 1000 & echo $! >"$1"; echo app@b1', tmp_path / "child")
    assert await names(program) == ["app@b1"]
    ends(tmp_path / "child")


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    open(sys.argv[1], "w").write(str(os.getpid()))
    os.rename(sys.argv[1], sys.argv[2])
    {does}
while not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
print("app@b1")
"""


SLEEPS = "time.sleep(1000)"
WRITES = "while True: os.write(2, b'x' * 65536)"


async def outcome(program: NamesCommand) -> list[str] | str:
    """The names, or the reason why there are none."""
    try:
        return await names(program)
    except LookError as error:
        return error.reason


@pytest.mark.parametrize(
    ("does", "outcomes"),
    [(SLEEPS, [["app@b1"]]), (WRITES, [["app@b1"], "too_many"])],
    ids=["sleeps", "writes"],
)
@pytest.mark.parametrize("is_late", [False, True])
async def test_a_daemon_that_escaped_with_our_pipe_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, outcomes: list[list[str] | str], is_late: bool
) -> None:
    """As `ssh` leaves its master behind.

    :param is_late: nothing is read before the program has ended.
    """
    if is_late:
        monkeypatch.setattr("epmdless.cluster.sources.program._Hearing._read", never)
    files = [str(tmp_path / "new"), str(tmp_path / "daemon")]
    program = source(sys.executable, "-c", DAEMON.format(does=does), *files)
    try:
        assert await outcome(program) in outcomes
    finally:
        kill(tmp_path / "daemon")


async def never(*_: object) -> None:
    """What has no end."""
    await trio.sleep_forever()


async def test_what_was_not_read_when_it_ended_is_read_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epmdless.cluster.sources.program._Hearing._read", never)
    script = "for n in range(2000): print(f'app-{n}@b')"
    assert len(await names(source(sys.executable, "-c", script))) == 2000
    assert "exit status 1: why" in (await failure(shell("echo why >&2; exit 1"))).detail


@pytest.mark.parametrize("where", ["", ">&2"])
async def test_one_that_prints_without_end_is_ended(where: str) -> None:
    error = await failure(shell(f"exec yes app@b1 {where}"))
    assert (error.reason, error.detail) == ("too_many", f"/bin/sh: prints more than {MAX_BYTES} bytes")


async def test_one_that_cannot_be_ended_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that waits for a disk that is gone, or is another user's."""
    program = Program(["sleep", "1000"], seconds=SHORT, most=MAX_BYTES)
    pids = list[int]()
    with monkeypatch.context() as patched:
        patched.setattr(os, "killpg", lambda pid, _: pids.append(pid))
        for _ in range(2):
            with pytest.raises(LookError, match="timeout"):
                await program.run()
    assert len(set(pids)) == 1
    os.killpg(pids[0], signal.SIGKILL)
    eventually(lambda: not is_running(pids[0]), within=10, what="its end")
    with pytest.raises(LookError, match="not done within"):
        await program.run()


# Run as the supervisor does.


async def test_it_says_what_it_sees_and_fails_and_sees_again(tmp_path: Path) -> None:
    nodes = tmp_path / "nodes"
    section = CommandSource(argv=("cat", str(nodes)), poll=Duration(0.1))
    program = build("c", section, AROUND, "epmdless.toml")
    assert isinstance(program, NamesCommand)
    send, receive = trio.open_memory_channel[Known | Unknown](1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.run, send.send_nowait)
        with trio.fail_after(30):
            said = await receive.receive()
            assert isinstance(said, Unknown)
            assert said.detail == f"cat: exit status 1: cat: {nodes}: No such file or directory"
            nodes.write_text("app@b1\n")
            while isinstance(said := await receive.receive(), Unknown):
                assert said.reason == "failed"
            assert said == Known((Peer("app@b1"),))
        nursery.cancel_scope.cancel()
