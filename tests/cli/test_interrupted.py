"""Ctrl-C, while a command waits for somebody who says nothing: no fault of ours, and nothing to be said."""

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.deadline import eventually
from tests.support.hops import hop_text
from tests.support.process import Program
from tests.support.tools import PYTHON, clean_env

HOST = "127.0.0.1"
ENDED_WITHIN = 10.0

Command = Callable[[int, Path], tuple[list[str], dict[str, str]]]


def doctor(port: int, _: Path) -> tuple[list[str], dict[str, str]]:
    return ["doctor", f"app@{HOST}", "--epmd-port", str(port)], {}


def doctor_json(port: int, _: Path) -> tuple[list[str], dict[str, str]]:
    return ["doctor", f"app@{HOST}", "--epmd-port", str(port), "--json"], {}


def env(port: int, _: Path) -> tuple[list[str], dict[str, str]]:
    return ["env", "--app", "shop"], {"ECS_CONTAINER_METADATA_URI_V4": f"http://{HOST}:{port}/v4/own"}


def hop_check(port: int, folder: Path) -> tuple[list[str], dict[str, str]]:
    config = folder / "epmdless.toml"
    config.write_text(hop_text("", f"{HOST}:{port}"))
    return ["hop", "check", "--config", str(config)], {}


@pytest.mark.parametrize("command", [doctor, doctor_json, env, hop_check])
def test_a_command_that_waits(command: Command, tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as silent:
        silent.settimeout(ENDED_WITHIN)
        words, variables = command(silent.getsockname()[1], tmp_path)
        with Program([PYTHON, "-m", "epmdless", *words], env=clean_env(**variables)) as program:
            accepted, _ = silent.accept()
            with accepted:
                accepted.settimeout(ENDED_WITHIN)
                accepted.recv(65_536)
                program.signal(signal.SIGINT)
                assert program.wait(ENDED_WITHIN) == 1
            assert (program.stdout.strip(), program.stderr.strip()) == ("", "")


def test_what_asks_for_epmds_list_ends_as_epmd_does() -> None:
    with socket.create_server((HOST, 0)) as silent:
        silent.settimeout(ENDED_WITHIN)
        words = ["-port", str(silent.getsockname()[1]), "-names"]
        with Program([PYTHON, "-m", "epmdless.cli.epmd", *words], env=clean_env()) as program:
            accepted, _ = silent.accept()
            with accepted:
                accepted.settimeout(ENDED_WITHIN)
                accepted.recv(65_536)
                program.signal(signal.SIGINT)
                assert program.wait(ENDED_WITHIN) == -signal.SIGINT
            assert (program.stdout, program.stderr) == ("", "")


SLOW_IMPORT = """
import pathlib, sys, time
from epmdless.cli.entry import main

class Slow:
    def find_spec(self, name, *_):
        if name == "epmdless.cli.main":
            pathlib.Path(sys.argv[-1]).touch()
            time.sleep(60)

sys.meta_path.insert(0, Slow())
main()
"""


def test_a_program_that_is_still_starting(tmp_path: Path) -> None:
    importing = tmp_path / "importing"
    with Program([PYTHON, "-c", SLOW_IMPORT, "serve", importing], env=clean_env()) as program:
        eventually(importing.exists, within=ENDED_WITHIN, what=program.report)
        program.signal(signal.SIGINT)
        assert program.wait(ENDED_WITHIN) == -signal.SIGINT
        assert (program.stdout, program.stderr) == ("", "")
