"""Every form of every file that can be rendered, and how a test looks into each."""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from epmdless.config import Config, HostPort, decode
from epmdless.render import containers, fargate, hosts, values
from epmdless.render.values import FarHost, Node

NEAR = values.networks("--from", ["10.0.1.0/24", "fd00:1::/64"])
RELAYS = values.relays(["10.0.1.0/24", "10.9.0.0/24"])
SUBNETS = values.networks("--subnet", ["10.0.2.0/24", "10.0.3.0/24"])
FAR = [
    FarHost("b1.az-b.internal", "10.0.1.11", "10.0.2.7"),
    FarHost("b2.az-b.internal", "fd00:1::12", "b2.az-b.internal"),
]
GATEWAY = HostPort("gw.az-b.internal", 4370)
IMAGE = "registry.internal:5000/team/shop:1.2"


def _stack(node: Node, **relay: Any) -> fargate.Stack:
    return fargate.Stack(node, values.release(None, node.app), 3, IMAGE, "nodes.internal", **relay)


def _container(form: Callable[..., str], **more: Any) -> Callable[[Node], str]:
    return lambda node: form(node, IMAGE, values.release(None, node.app), 3, **more)


FORMS: Mapping[str, Callable[[Node], str]] = {
    "fargate-cdk": lambda node: fargate.cdk(_stack(node)),
    "fargate-cdk --relay": lambda node: fargate.cdk(_stack(node, relays=RELAYS, subnets=SUBNETS)),
    "fargate-cloudformation": lambda node: fargate.cloudformation(_stack(node)),
    "fargate-cloudformation --relay": lambda node: fargate.cloudformation(
        _stack(node, relays=RELAYS, subnets=SUBNETS)
    ),
    "kubernetes": _container(containers.kubernetes),
    "kubernetes --relay": _container(containers.kubernetes, relays=RELAYS),
    "compose": _container(containers.compose),
    "compose --relay": _container(containers.compose_relay),
    "systemd": lambda node: hosts.systemd(node, node.app, "shop.internal"),
    "systemd --ec2": lambda node: hosts.systemd(node, node.app, None),
    "systemd --relay": lambda node: hosts.systemd_relay(node, FAR, None),
    "systemd --relay --gateway": lambda node: hosts.systemd_relay(node, FAR, GATEWAY),
    "nftables": lambda node: hosts.nftables(node, NEAR),
    "nftables --relay": lambda node: hosts.nftables_relay(node, NEAR, FAR),
    "vm.args": hosts.vm_args,
    "env.sh": hosts.env_sh,
    "inetrc": lambda node: hosts.inetrc(node, FAR),
}

SHOP = values.node("shop", 9001)


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: ``!Ref Image`` is ``{"Ref": "Image"}``."""


def _short_form(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    name = tag if tag == "Ref" else f"Fn::{tag}"
    return {name: loader.construct_scalar(node)}  # type: ignore[arg-type]


_Loader.add_multi_constructor("!", _short_form)


def documents(text: str) -> list[Any]:
    """What a file of YAML holds."""
    return [each for each in yaml.load_all(text, _Loader) if each is not None]


def find(value: Any, key: str) -> Iterator[Any]:
    """Everything that stands under a key, however deep."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name == key:
                yield item
            else:
                yield from find(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from find(item, key)


def variables(value: Any) -> Iterator[tuple[str, str]]:
    """The variables of all containers of a file of YAML, in whichever of the three ways it writes them."""
    for key in ("environment", "env", "Environment"):
        for given in find(value, key):
            pairs = given.items() if isinstance(given, dict) else map(_pair, given or ())
            yield from ((name, text) for name, text in pairs if isinstance(text, str))


def _pair(entry: Mapping[str, Any]) -> tuple[str, Any]:
    return entry.get("name") or entry["Name"], entry.get("value") or entry.get("Value")


def files_of_script(text: str) -> dict[str, str]:
    """The files that a script writes, by path."""
    return dict(re.findall(r"^cat >(\S+) <<'END'\n(.*?)^END$", text, re.MULTILINE | re.DOTALL))


def config_texts(name: str, text: str) -> list[str]:
    """All configurations of epmdless in a rendered file."""
    if name.startswith("systemd"):
        return [files_of_script(text)["/etc/epmdless/epmdless.toml"]]
    if name.startswith("fargate-cdk"):
        return re.findall(r"^const \w+_CONFIG = `\n(.*?)`;$", text, re.MULTILINE | re.DOTALL)
    if name.startswith(("fargate", "kubernetes", "compose")):
        found = (variables(document) for document in documents(text))
        return [toml for each in found for key, toml in each if key == "EPMDLESS_CONFIG_TOML"]
    return []


def configs(name: str, text: str) -> list[Config]:
    """The same, as epmdless reads them."""
    return [decode(toml, name) for toml in config_texts(name, text)]


def entry_points(name: str, text: str) -> list[list[str]]:
    """The command lines of ``epmdless exec`` in a rendered file."""
    if name.startswith("systemd"):
        return [shlex.split(line) for line in re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)]
    if name.startswith("fargate-cdk"):
        words = [list(re.findall(r'"([^"]*)"|`\$\{(\w+)\}`', line)) for line in _entry_lines(text)]
        return [[quoted or _constant(text, name) for quoted, name in line] for line in words]
    found = (find(each, key) for each in documents(text) for key in ("entrypoint", "command", "EntryPoint"))
    return [words for each in found for words in each if "exec" in words]


def _entry_lines(text: str) -> list[str]:
    return re.findall(r'entryPoint: \[("epmdless".*)\],$', text, re.MULTILINE)


def _constant(text: str, name: str) -> str:
    (value,) = re.findall(rf"^const {name} = (\d+);$", text, re.MULTILINE)
    return str(value)
