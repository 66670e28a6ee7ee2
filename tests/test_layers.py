"""Imports point down only.

```
L4  cli ─► app  doctor                        builds everything, one nursery; signals, reload, stop
L3  epmd  relay  gateway  cluster  publish    never import each other; app hands them what they share
L2  resolve  net  links  hop  platforms       trio lives from here up; dnspython only in resolve/srv*, dns*
L1  wire  schemes  registry  policy  config  metrics  releases  render    pure: no trio, sockets, clock
L0  names  addresses  errors                  standard library only
```

Every import counts: in functions, under TYPE_CHECKING, and `import_module` with a literal name.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import epmdless
from tests.support.process import run

PACKAGE = "epmdless"
ROOT = Path(epmdless.__file__).parent

LAYERS: Mapping[str, int] = {
    PACKAGE: 0,  # the package's own __init__: the version
    "names": 0,
    "addresses": 0,
    "errors": 0,
    "wire": 1,
    "schemes": 1,
    "registry": 1,
    "policy": 1,
    "rules": 1,
    "grants": 1,
    "config": 1,
    "metrics": 1,
    "render": 1,
    "releases": 1,
    "log": 2,
    "resolve": 2,
    "links": 2,
    "hop": 2,
    "net": 2,
    "supervisor": 2,
    "platforms": 2,
    "epmd": 3,
    "relay": 3,
    "gateway": 3,
    "cluster": 3,
    "publish": 3,
    "doctor": 4,
    "launch": 4,
    "inspection": 4,
    "app": 4,
    "cli": 4,
    "__main__": 4,
}

SAME_LAYER = {
    ("names", "errors"),  # a bad name is one of the package's own errors
    ("addresses", "errors"),  # and so is a bad address
    ("registry", "wire"),  # a registration holds the node as it was announced, and its encoded replies
    ("config", "schemes"),  # each scheme's own keys are checked by making the scheme
    ("config", "policy"),  # access lists are checked by parsing them
    ("config", "rules"),  # a rule's section makes the rule; routes whose patterns overlap are found by them
    ("rules", "policy"),  # rules are about networks too
    ("config", "grants"),  # what a gateway allows is made from its section
    ("grants", "rules"),  # the globs that grants are written in
    ("grants", "policy"),  # and their networks
    ("render", "config"),  # files name the ports that a configuration has by default
    ("render", "schemes"),  # a name must promise the port that stands beside it
    ("resolve", "log"),
    ("resolve", "net"),  # the file of the system's DNS servers is watched as every file is
    ("links", "net"),  # the pump turns in net's loop, over net's TLS
    ("links", "log"),
    ("hop", "net"),
    ("hop", "log"),
    ("hop", "links"),  # a link's pace is its hop's
    ("hop", "resolve"),  # far EPMD servers are asked through a hop
    ("net", "log"),
    ("supervisor", "net"),  # standard descriptors, of which its first may lack some
    ("releases", "schemes"),  # the port that a name promises
    ("platforms", "net"),  # the body of an answer by HTTP is read as everywhere
    ("app", "launch"),
    ("app", "inspection"),  # what is looked at is built with the rest
    ("cli", "doctor"),  # the walk is made in the command's own process, and printed from its report
    ("cli", "launch"),
    ("cli", "app"),
    ("__main__", "cli"),
}
"""Arrows inside a layer that are allowed, each for its reason. L3 has none: app hands over what is shared."""

IMPURE = frozenset(
    {
        *("trio", "asyncio", "threading", "multiprocessing", "concurrent", "subprocess"),
        *("socket", "ssl", "select", "selectors", "signal"),
        *("time", "datetime", "random", "secrets"),
        *("logging", "structlog", "rich", "click", "dns"),
    }
)
"""Not in L0 and L1: what waits, what talks to the world, the clock, chance, and what prints."""


def test_the_package_keeps_its_layers() -> None:
    assert list(violations(ROOT)) == []


def violations(root: Path) -> Iterator[str]:
    """Describe every import in the package at `root` that breaks a rule."""
    for path in sorted(root.rglob("*.py")):
        unit = _unit(root, path)
        if unit not in LAYERS:
            yield f"{unit}: give it a layer"
            continue
        for line, module in _imports(root, path):
            problem = _problem(root, path, module)
            if problem:
                yield f"{path.relative_to(root)}:{line}: {problem}"


def _unit(root: Path, path: Path) -> str:
    """Return the top-level module or package that a file belongs to."""
    first = path.relative_to(root).parts[0].removesuffix(".py")
    return PACKAGE if first == "__init__" else first


def _problem(root: Path, path: Path, module: str) -> str | None:
    """Say what is wrong with importing `module` in the file, or None."""
    unit = _unit(root, path)
    top, _, rest = module.partition(".")
    if top == PACKAGE:
        return _arrow_problem(unit, rest.partition(".")[0] or PACKAGE)
    if LAYERS[unit] == 0 and top not in sys.stdlib_module_names:
        return f"{unit} (L0) imports {module}: standard library only"
    if LAYERS[unit] <= 1 and top in IMPURE:
        return f"{unit} (L{LAYERS[unit]}) is pure, and imports {module}"
    if top == "dns" and not (unit == "resolve" and path.name.startswith(("srv", "dns"))):
        return f"dnspython only in resolve/srv*.py and resolve/dns*.py, not here: {module}"
    return None


def _arrow_problem(unit: str, target: str) -> str | None:
    if target == unit or (unit, target) in SAME_LAYER:
        return None
    if target not in LAYERS:
        return f"{target}: give it a layer"
    here, there = LAYERS[unit], LAYERS[target]
    if there < here:
        return None
    return f"{unit} (L{here}) imports {target} (L{there}): {'up' if there > here else 'sideways'}"


def _imports(root: Path, path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full name of every module that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = _base(root, path, node)
            for alias in node.names:
                yield node.lineno, _resolved(root, base, alias.name)
        elif isinstance(node, ast.Call) and _is_import_call(node):
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield node.lineno, argument.value


def _base(root: Path, path: Path, node: ast.ImportFrom) -> str:
    """Return the full name of the module after `from`, a relative one made whole."""
    if node.level == 0:
        return node.module or ""
    package = (PACKAGE, *path.relative_to(root).parts[:-1])
    kept = package[: len(package) - node.level + 1]
    return ".".join((*kept, *([node.module] if node.module else [])))


def _resolved(root: Path, base: str, name: str) -> str:
    """Tell `from epmdless import wire`, a module, from `from epmdless import __version__`, an attribute."""
    if base != PACKAGE:
        return base
    is_module = (root / name).is_dir() or (root / f"{name}.py").exists() or name in LAYERS
    return f"{base}.{name}" if is_module else base


def _is_import_call(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in {"import_module", "__import__"} and bool(node.args)


GOOD = {
    "__init__.py": "__version__ = '0'",
    "names.py": "import re",
    "wire/__init__.py": "",
    "wire/epmd.py": "from ..names import parse\nfrom . import other",
    "registry.py": "from epmdless.wire import epmd",
    "log.py": "import structlog, time",
    "resolve/srv_source.py": "import dns.message, trio\nfrom epmdless.log import log",
    "resolve/dns_client.py": "import dns.message, trio",
    "epmd/server.py": "import trio\nfrom epmdless import __version__, metrics, registry",
    "app.py": "from epmdless.epmd.server import serve\nfrom epmdless.relay import serve as other",
    "cli/main.py": "def main():\n    from epmdless.app import run",
}

BAD = [
    ("names.py", "import msgspec", "standard library only"),
    ("names.py", "from epmdless import wire", "names (L0) imports wire (L1): up"),
    ("wire/epmd.py", "from .. import registry", "wire (L1) imports registry (L1): sideways"),
    ("wire/epmd.py", "import socket", "is pure, and imports socket"),
    ("metrics.py", "def now():\n    import time", "is pure, and imports time"),
    (
        "policy.py",
        "if TYPE_CHECKING:\n    from epmdless.net import access",
        "policy (L1) imports net (L2): up",
    ),
    ("net/listen.py", "from epmdless.resolve.chain import Chain", "net (L2) imports resolve (L2): sideways"),
    ("log.py", "import epmdless.net", "log (L2) imports net (L2): sideways"),
    ("resolve/chain.py", "import dns.name", "dnspython only in resolve/srv*.py and resolve/dns*.py"),
    ("cluster/sources/dns.py", "import dns.name", "dnspython only in resolve/srv*.py and resolve/dns*.py"),
    ("epmd/server.py", "from epmdless.relay import links", "epmd (L3) imports relay (L3): sideways"),
    ("epmd/server.py", "importlib.import_module('epmdless.app')", "epmd (L3) imports app (L4): up"),
    ("epmd/server.py", "from epmdless import helpers", "helpers: give it a layer"),
    ("app.py", "from .cli.main import main", "app (L4) imports cli (L4): sideways"),
    ("helpers.py", "", "helpers: give it a layer"),
]


def _plant(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_checker_accepts_arrows_that_point_down(tmp_path: Path) -> None:
    _plant(tmp_path, GOOD)
    assert list(violations(tmp_path)) == []


@pytest.mark.parametrize(("name", "text", "complaint"), BAD)
def test_the_checker_sees_a_bad_arrow(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    _plant(tmp_path, {**GOOD, "helpers.py": ""} if "helpers" in text else GOOD)
    _plant(tmp_path, {name: text})
    found = list(violations(tmp_path))
    assert any(complaint in line for line in found), found


LIGHT = {"cli", "net", "wire", *(unit for unit, layer in LAYERS.items() if layer == 0)}
"""What the client half of epmdless-epmd may load of the package."""

HEAVY = {
    "trio",
    "asyncio",
    "click",
    "rich",
    "msgspec",
    "structlog",
    "logging",
    "dns",
    "h11",
    "prometheus_client",
}


def test_the_epmd_command_loads_little() -> None:
    """`erl` runs it at each boot, so loading it must not load what only a server needs."""
    code = "import epmdless.cli.epmd, sys; print(*sys.modules, sep='\\n')"
    done = run([sys.executable, "-I", "-c", code])
    assert done.status == 0, done.stderr
    loaded = [name.split(".") for name in done.stdout.split()]
    assert not HEAVY & {parts[0] for parts in loaded}
    assert {parts[1] for parts in loaded if parts[0] == PACKAGE and len(parts) > 1} <= LIGHT
