"""README's commands and configuration samples, run as a reader would.

All shell blocks run in their order, in one bash, as root in namespaces of their own: a network with
nothing but loopback, where port 4369 is free, and copies of /etc, /opt and /usr/local that vanish with
them. What a block prints is compared with the ``output`` block that follows it, "…" standing for
anything. Packages come from a folder that was filled before, since the namespace has no network.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import inspect

from epmdless import config
from epmdless.cli.main import cli
from epmdless.links.ends import MEANINGS
from tests import readme_files
from tests.support.namespaces import require_namespaces
from tests.support.process import run
from tests.support.tools import clean_env, require

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "=== block"
RUNS = re.compile(r"(?:^|-- |\$\(|exec shop )epmdless ([a-z]+)", re.MULTILINE)
SETS_VARIABLES = 'eval "$variables"'
"""Belongs into a release's own script: no other block is to be under it."""

PRELUDE = """
set -euo pipefail
mount -t tmpfs tmpfs /mnt
for dir in etc opt usr/local; do
    mkdir -p /mnt/$dir/upper /mnt/$dir/work
    mount -t overlay overlay -o lowerdir=/$dir,upperdir=/mnt/$dir/upper,workdir=/mnt/$dir/work /$dir
done
ip link set lo up
ip link add eth9 type veth peer name eth9peer
ip address add 10.0.1.23/24 dev eth9
ip link set eth9peer up
ip link set eth9 up
ip route add default via 10.0.1.1
export HOME=/mnt SYSTEMD_OFFLINE=1 PATH=$PATH:/opt/epmdless/bin
printf '[epmd]\\nlisten = ["127.0.0.1:4370"]\\n[metrics]\\nlisten = "127.0.0.1:9568"\\n' >metrics.toml
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
systemctl() {  # nothing was booted here: what is enabled is looked at, not started
    if [ "$1" = daemon-reload ]; then
        systemd-analyze verify /etc/systemd/system/epmdless.service /etc/systemd/system/epmdless.socket
    else
        command systemctl "$1" "${@:3}"  # without --now
    fi
}
answering() {
    for _ in $(seq 600); do
        (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null && return
        sleep 0.1
    done
    echo "nothing answers on port $1" >&2
    return 1
}
registered() {
    for _ in $(seq 100); do
        epmdless-epmd -names | grep -q "^name $1 " && return
        sleep 0.1
    done
    echo "$1 did not register" >&2
    return 1
}
"""


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(README) if kind == language]


def script() -> str:
    """All shell blocks as one script; what runs on in the background is waited for."""
    parts = [PRELUDE]
    for number, block in enumerate(blocks("sh")):
        parts.append(f"echo '{MARK} {number}'\n")
        if SETS_VARIABLES in block:
            parts.append(f"(\n{block})\n")
            continue
        for line in block.splitlines():
            served = re.search(r"epmdless serve(?: --port (\d+))?$", line)
            parts.append(f"({line}) &\nanswering {served[1] or 4369}\n" if served else f"{line}\n")
            if booting := re.search(r"erl -detached -name (\w+)(?:-(\d+))?@", line):
                parts.append(f"answering {booting[2]}\n" if booting[2] else f"registered {booting[1]}\n")
    return "".join(parts)


def expectations() -> Iterator[tuple[int, str]]:
    """(number of the shell block, what it must print) for each ``output`` block."""
    number = -1
    for kind, text in BLOCK.findall(README):
        number += kind == "sh"
        if kind == "output":
            yield number, text


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package's dependencies, and what builds it."""
    folder = tmp_path_factory.mktemp("packages")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    subprocess.run([*pip, "--dest", folder, ".", "hatchling"], cwd=ROOT, check=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def transcript(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """What each shell block printed, by its number."""
    unshare = require_namespaces()
    require("erl", "erlang-base")
    checkout = tmp_path_factory.mktemp("checkout") / "epmdless"
    subprocess.run(["git", "clone", "--quiet", ROOT, checkout], check=True, timeout=60)
    for name in ("README.md", "systemd"):
        subprocess.run(["cp", "-r", ROOT / name, checkout], check=True, timeout=60)
    env = clean_env(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(packages), TERM="dumb")
    log = checkout.parent / "transcript"
    with log.open("w+") as out:
        ran = subprocess.run(
            [unshare, "--net", "--mount-proc", "--pid", "--fork", "--kill-child", "bash", "-c", script()],
            cwd=checkout,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=240,
            check=False,
        )
    text = log.read_text()
    assert ran.returncode == 0, text
    parts = re.split(rf"^{MARK} (\d+)\n", text, flags=re.MULTILINE)[1:]
    return {int(number): said for number, said in zip(parts[::2], parts[1::2], strict=True)}


@pytest.mark.interop
def test_every_command_runs_and_prints_what_is_promised(transcript: dict[int, str]) -> None:
    assert len(transcript) == len(blocks("sh"))
    promised = list(expectations())
    assert promised
    for number, text in promised:
        for line in text.splitlines():
            pattern = re.escape(line.rstrip()).replace("…", ".+")
            assert re.search(rf"^{pattern}\s*$", transcript[number], re.MULTILINE), (line, transcript[number])


@pytest.mark.parametrize("sample", blocks("toml"))
def test_every_configuration_sample_is_accepted(sample: str) -> None:
    config.decode(sample, "README.md")


@pytest.mark.interop
@pytest.mark.parametrize("rules", blocks("nft"))
def test_every_firewall_rule_is_accepted(rules: str, tmp_path: Path) -> None:
    unshare = require_namespaces()
    nft = require("nft", "nftables")
    file = tmp_path / "rules.nft"
    file.write_text(rules)
    checked = run([unshare, "--net", nft, "--check", "--file", file])
    assert (checked.status, checked.stderr) == (0, "")


@pytest.mark.interop
@pytest.mark.parametrize("terms", blocks("erlang"))
def test_every_inetrc_is_taken_by_a_node(terms: str, tmp_path: Path) -> None:
    erl = require("erl", "erlang-base")
    file = tmp_path / "inetrc"
    file.write_text(terms)
    ask = 'io:format("~0p", [inet:getaddr("b1.az-b.internal", inet)]), halt().'
    asked = run([erl, "-noshell", "-eval", ask], env=clean_env(ERL_INETRC=str(file), HOME=str(tmp_path)))
    assert asked.stdout == "{ok,{10,0,1,11}}"


def test_every_end_code_is_in_the_readme() -> None:
    for code, meaning in MEANINGS.items():
        assert f"| `{code.value}` | {meaning} |" in README


def test_readme_starts_with_what_it_is_for_and_then_runs() -> None:
    head, _, _ = README.partition("## Start")
    lines = [line for line in head.splitlines() if line and not line.startswith("#")]
    assert len(lines) == 5
    assert blocks("sh")[0].strip().endswith("epmdless serve")


def test_every_key_and_every_metric_is_in_the_readme() -> None:
    from epmdless import metrics

    shown = config.decode(max(blocks("toml"), key=len), "README.md")
    for section, keys in config.to_plain(shown).items():
        assert f"[{section}]" in README or f"[{section}." in README
        for key in keys:
            assert key in README
    for metric in metrics.TABLE:
        assert f"`{metric.name}`" in README


def sections(kind: inspect.Type) -> Iterator[inspect.StructType]:
    """Every table that the configuration can hold."""
    match kind:
        case inspect.StructType():
            yield kind
            for field in kind.fields:
                yield from sections(field.type)
        case inspect.UnionType():
            for each in kind.types:
                yield from sections(each)
        case inspect.DictType():
            yield from sections(kind.value_type)
        case inspect.VarTupleType():
            yield from sections(kind.item_type)


def test_every_key_of_every_table_stands_in_a_sample_or_in_the_text() -> None:
    keys = {field.encode_name for each in sections(inspect.type_info(config.Config)) for field in each.fields}
    assert {"packet_timeout", "from", "hosts_file", "token_file"} <= keys
    for key in keys:
        assert re.search(rf"\b{key} +=|`{key}\b|^\[.*\b{key}\b.*\]", README, re.MULTILINE), key


def test_the_paths_of_the_units_are_those_of_the_readme() -> None:
    unit = (ROOT / "systemd" / "epmdless.service").read_text()
    assert "ExecStart=/opt/epmdless/bin/epmdless serve\n" in unit
    assert "-m venv /opt/epmdless " in README
    assert os.access(ROOT / "tests" / "run", os.X_OK)


def test_every_rendered_file_is_what_the_command_writes() -> None:
    shown = [match["words"].partition(" ")[0] for match in readme_files.SHOWN.finditer(README)]
    assert shown == ["systemd", "compose", "kubernetes", "fargate-cloudformation", "systemd"]
    assert readme_files.renewed(README) == README, "python -m tests.readme_files puts them in anew"


def test_every_command_that_is_spoken_of_is_one() -> None:
    named = set(RUNS.findall("\n".join(spoken())))
    assert {"serve", "doctor", "exec", "published"} <= named
    assert named <= set(cli.commands), named - set(cli.commands)


def spoken() -> Iterator[str]:
    """Lines of code in README, and what stands between backquotes."""
    for kind, text in BLOCK.findall(README):
        if kind in ("sh", "text"):
            yield from (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    yield from re.findall(r"`([^`\n]+)`", BLOCK.sub("", README))
