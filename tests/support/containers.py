"""Containers on bridges, as a container engine makes them: each has a network with an address of its own and
a default route, mounts, a host name, and a first process with process ids of its own.

```
c1 10.0.0.1   c2 .2   c3 .3 ... ──bridge── .254 the gateway, which forwards nothing; services run on it
```

    with network(release) as net:
        with net.container() as c1, c1.running(["bin/shop", "start"], {"RELEASE_COOKIE": …}, Rights()): ...

Its files are this machine's, seen through a layer of its own: epmdless is in /opt/epmdless, the release in
/opt/shop, which is the working directory; what it writes goes with it.
"""

import os
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.deadline import eventually
from tests.support.machine import Machine
from tests.support.process import Finished, Program, run
from tests.support.releases import Release
from tests.support.subnets import BRIDGES_ONLY_BRIDGE
from tests.support.tools import PYTHON, require, search_path
from tests.support.trees import SUITES, cache_folder

PREFIX: Final = "10.0.0"
"""The first three numbers of addresses in a network, unless another one is wanted."""

GATEWAY: Final = f"{PREFIX}.254"

FOLDER: Final = "/opt/shop"
"""The release, and the working directory."""

CHECKOUT: Final = Path(__file__).parent.parent.parent
"""What is installed there leads back to it; it may be in /tmp, of which a container has its own."""

VENV: Final = Path(PYTHON).parent.parent
"""Where epmdless is installed."""

IMAGE_USER: Final = 10001
IMAGE_ENV: Final = {
    "PATH": f"/opt/epmdless/bin:{search_path()}",
    "LANG": "C.UTF-8",
    "HOME": "/tmp",
    "RELEASE_TMP": "/tmp",
}
"""What README's image says."""

STARTED_WITHIN = 10.0
ENDED_WITHIN = 20.0
COMMAND_WITHIN = 20.0

ROOT: Final = "/mnt/root"
"""Where the container's own root is among the files of its machine."""

STRANGE: Final = ("/proc/", "/sys/", "/dev/", "/run/", "/tmp/", "/mnt/", "/etc/")
"""Folders of which a container has others, or none."""

# A layer for the container above this machine's files; mounts within them do not show there by themselves.
# Programs that run as somebody else need Python, too, which may be in root's home.
LAYER = """
checkout="$1" venv="$2" release="$3" gateway="$4" address="$5" name="$6"; shift 6
mount -t tmpfs tmpfs /mnt
cd /mnt
mkdir root upper work shop shop-work
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
for mounted; do mount --bind "$mounted" "root$mounted"; done
cd root
mount --rbind /dev dev
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs sys/class
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs run
case $checkout in /tmp/*) mkdir -p ".$checkout"; mount --bind "$checkout" ".$checkout";; esac
chmod 755 root
mkdir -p opt/epmdless opt/shop
mount --bind "$venv" opt/epmdless
mount -t overlay overlay -o "lowerdir=$release,upperdir=/mnt/shop,workdir=/mnt/shop-work" opt/shop
rm -rf .dockerenv etc/resolv.conf etc/hosts etc/epmdless
printf 'nameserver %s\n' "$gateway" >etc/resolv.conf
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" >etc/hosts
"""

# As an engine does for `read_only` or `readOnlyRootFilesystem`.
READ_ONLY = """
for folder in / /opt/epmdless /opt/shop /tmp /run; do mount -o remount,bind,ro "/mnt/root$folder"; done
checkout="$1"; shift
for folder; do mount -t tmpfs tmpfs "/mnt/root$folder"; done
case $checkout in /tmp/*)
    if [ ! -e "/mnt/root$checkout" ]; then
        mkdir -p "/mnt/root$checkout"; mount --bind "$checkout" "/mnt/root$checkout"
    fi;;
esac
"""


@dataclass(frozen=True, slots=True)
class Rights:
    """What the programs in a container may do.

    :ivar user: number of the user as whom they run.
    :ivar is_confined: no capability, and no way to get one.
    :ivar is_read_only: nothing can be written but the folders `writable`, which are empty at first.
    """

    user: int = IMAGE_USER
    is_confined: bool = False
    is_read_only: bool = False
    writable: Sequence[str] = ()

    @property
    def words(self) -> list[str]:
        """The words in front of a command that take the other rights away."""
        words = [require("setpriv", "util-linux"), f"--reuid={self.user}", f"--regid={self.user}"]
        words.append("--clear-groups")
        if self.is_confined:
            words += ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        return words


class Container(Machine):
    """A container, in which nothing runs at first.

    :ivar address: its own.
    """

    def __init__(self, name: str, address: str, hosts: Path) -> None:
        super().__init__(name, hosts)
        self.address = address
        self._env: dict[str, str] = {}
        self._rights = Rights()
        self._main: Program | None = None

    @property
    def main(self) -> Program:
        """Its program, as seen from outside: its output is the container's log."""
        assert self._main is not None, "nothing runs in it"
        return self._main

    @property
    def first(self) -> int:
        """The process id, as seen from outside, of its first process."""
        children = Path(f"/proc/{self.main.pid}/task/{self.main.pid}/children")

        def found() -> str:
            assert not self.main.ended, self.main.report()
            return children.read_text()

        return int(eventually(found, within=STARTED_WITHIN, what=self.main.report))

    @contextmanager
    def running(self, argv: Sequence[str], env: Mapping[str, str], rights: Rights) -> Iterator["Container"]:
        """Run a command as its first process until the context ends.

        :param env: what is added to the image's.
        """
        if rights.is_read_only:
            self.run(READ_ONLY, str(CHECKOUT), *rights.writable)
        self._rights = rights
        self._env = {**IMAGE_ENV, "HOSTNAME": self.name, **env}
        unshare = [require("unshare", "util-linux"), "--pid", "--fork", "--kill-child", "--mount-proc"]
        words = [*self.prefix, *unshare, f"--root={ROOT}", f"--wd={FOLDER}", "--", *rights.words, *argv]
        self._main = Program(words, env=self._env)
        try:
            yield self
        finally:
            self._main.close()
            self._main = None

    def execute(self, *words: str, **env: str) -> Finished:
        """Run a command beside what runs in it, as `docker exec` does."""
        return run([*self.beside, *self._rights.words, *words], env=self._env | env, within=COMMAND_WITHIN)

    def begin(self, words: Sequence[str], env: Mapping[str, str]) -> Program:
        """Start a program beside what runs in it, with this environment alone; the caller ends it."""
        return Program([*self.beside, *words], env=env)

    @property
    def beside(self) -> list[str]:
        """The words in front of a command to run it beside what runs in it."""
        spaces = ["--net", "--mount", "--uts", "--pid", "--root", f"--target={self.first}"]
        return [require("nsenter", "util-linux"), *spaces, f"--wd=/proc/{self.first}/root{FOLDER}", "--"]

    def stop(self) -> int:
        """End it as `docker stop` does: SIGTERM for its first process. Returns its exit status."""
        os.kill(self.first, signal.SIGTERM)
        return self.main.wait(ENDED_WITHIN)

    def path(self, inside: str) -> Path:
        """A file in it, as seen from outside."""
        return Path(f"/proc/{self.pid}/root{ROOT}{inside}")


class Network:
    """A bridge, the gateway's machine, and a container more whenever one is wanted.

    :ivar name_server: the gateway's address.
    """

    def __init__(self, gateway: Machine, folder: Path, release: Release, prefix: str = PREFIX) -> None:
        """Make it.

        :param folder: for files of its containers.
        :param prefix: the first three numbers of its addresses.
        """
        self.gateway = gateway
        self.name_server = f"{prefix}.254"
        self._prefix = prefix
        self._folder = folder
        self._release = release
        self._made = 0
        self._bridge = f"b{prefix}"
        gateway.run(
            'ip link add "$1" type bridge; ip address add "$2/24" dev "$1"; ip link set "$1" up;'
            f" echo 0 >/proc/sys/net/ipv4/ip_forward; {BRIDGES_ONLY_BRIDGE}",
            self._bridge,
            self.name_server,
        )

    def beside(self, prefix: str) -> "Network":
        """Make another network, to which no way leads from this one."""
        return Network(self.gateway, self._folder, self._release, prefix)

    def serve_at(self, address: str) -> None:
        """Let the gateway have one more address, at which all containers reach it."""
        self.gateway.run(f"ip address add {address}/32 dev {self._bridge}")

    @contextmanager
    def container(self, address: str | None = None) -> Iterator[Container]:
        """Make a container.

        :param address: None: one that nobody had before.
        """
        self._made += 1
        name = f"c{self._made}"
        hosts = self._folder / f"hosts-{self._prefix}-{self._made}"
        hosts.touch()
        container = Container(name, address or f"{self._prefix}.{self._made}", hosts)
        try:
            self.connect(container, container.address)
            container.run(f"ip route add default via {self.name_server}")
            where = [self.name_server, container.address, container.name]
            container.run(LAYER, str(CHECKOUT), str(VENV), str(self._release.root), *where, *_mounted())
            _tell_trees(container)
            yield container
        finally:
            container.close()

    def connect(self, container: Container, address: str, interface: str = "eth0") -> None:
        """Lay a cable to a container, which gets this address."""
        cable = f"v{address}"
        self.gateway.run(
            f"ip link add {cable} type veth peer name {interface} netns {container.pid};"
            f" ip link set {cable} master {self._bridge} up"
        )
        container.run(f"ip address add {address}/24 dev {interface}; ip link set {interface} up")


def _tell_trees(container: Container) -> None:
    """Let the trees of other OTP releases find hosts as the container does."""
    for suite in SUITES.values():
        folder = container.path(str(cache_folder() / suite / "etc"))
        for name in ("hosts", "resolv.conf"):
            if folder.exists():
                (folder / name).unlink(missing_ok=True)
                (folder / name).write_bytes(container.path(f"/etc/{name}").read_bytes())


def _mounted() -> list[str]:
    """Folders and files of this machine that are mounts within its root, and a container's as well."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    return [point for point in points if point != "/" and not f"{point}/".startswith(STRANGE)]


@contextmanager
def network(release: Release) -> Iterator[Network]:
    """Make a network whose containers hold this release."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="network-")))
        hosts = folder / "hosts"
        hosts.touch()
        gateway = Machine("gateway", hosts)
        stack.callback(gateway.close)
        yield Network(gateway, folder, release)
