"""The systemd units, looked at by systemd's own tools."""

from pathlib import Path

import pytest

from tests.support.process import run
from tests.support.tools import clean_env, require

UNITS = Path(__file__).parent.parent / "systemd"

pytestmark = pytest.mark.interop


def test_the_units_are_valid(tmp_path: Path) -> None:
    """With another program in ExecStart: ours is not installed where the unit looks for it."""
    analyze = require("systemd-analyze", "systemd")
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/opt/epmdless/bin/epmdless", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    finished = run([analyze, "verify", *tmp_path.iterdir()], env=clean_env())
    assert (finished.status, finished.stderr) == (0, "")


def test_the_service_is_confined() -> None:
    """ "OK" is below 5; what the program needs leaves 1.2."""
    analyze = require("systemd-analyze", "systemd")
    service = UNITS / "epmdless.service"
    finished = run([analyze, "security", "--offline=true", "--threshold=15", service], env=clean_env())
    assert finished.status == 0, finished.stdout


def test_the_socket_unit_names_both_families_and_the_service() -> None:
    text = (UNITS / "epmdless.socket").read_text()
    for line in ("ListenStream=0.0.0.0:4369", "ListenStream=[::]:4369", "Service=epmdless.service"):
        assert f"{line}\n" in text
