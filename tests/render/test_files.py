"""What stands in the rendered files: no placeholder, configurations that are taken, one port everywhere."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from epmdless.config import CloudMapSource, DnsSource, Ec2Source, KubernetesSource, StaticSource
from epmdless.errors import ConfigError
from epmdless.names import NodeName, is_node_name
from epmdless.render import containers, values
from epmdless.render.values import Node
from epmdless.schemes import SuffixScheme
from tests.render.forms import (
    FORMS,
    SHOP,
    config_texts,
    configs,
    documents,
    entry_points,
    files_of_script,
    find,
    variables,
)

OTHER = values.node("my-app-2", 31999)
"""A name and a port that stand in no template by themselves."""

WITH_CONFIG = [name for name in FORMS if name.startswith(("fargate", "kubernetes", "compose", "systemd"))]
WITH_NODE = [name for name in WITH_CONFIG if not name.startswith("systemd --relay")]
GATEWAYS = ["fargate-cdk --relay", "fargate-cloudformation --relay", "kubernetes --relay"]
RELAYS = ["compose --relay", "systemd --relay", "systemd --relay --gateway"]

all_forms = pytest.mark.parametrize("name", FORMS)


@all_forms
def test_no_placeholder_is_left(name: str) -> None:
    assert not re.search(r"@[a-z_]+@", FORMS[name](OTHER))


@all_forms
def test_a_file_is_named_after_the_application_and_its_port_alone(name: str) -> None:
    """Nothing of another name or port has been left in a template."""
    text = FORMS[name](OTHER)
    assert "my-app-2-31999" in text or name == "systemd --relay" or "31999" in text
    assert "shop" not in text.replace("shop.internal", "").replace("team/shop", "")
    assert "9001" not in text


@all_forms
def test_a_file_says_at_its_head_what_it_is_and_what_to_do(name: str) -> None:
    lines = FORMS[name](SHOP).splitlines()
    head = [line for line in lines[:16] if line.lstrip("#/% ").strip()]
    assert any("Rendered by epmdless" in line and "To do" in line for line in head[:5])
    assert any("Look: " in line for line in head)
    assert max(map(len, lines)) <= 150


@all_forms
def test_a_file_is_short_enough_to_be_read(name: str) -> None:
    assert len(FORMS[name](SHOP).splitlines()) <= 400


@pytest.mark.parametrize("name", WITH_CONFIG)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(app=st.from_regex(r"[a-z][a-z0-9-]{0,12}[a-z]", fullmatch=True), port=st.integers(1024, 65535))
def test_every_configuration_is_taken(name: str, app: str, port: int) -> None:
    try:
        node = values.node(app, port)
        text = FORMS[name](node)
    except ConfigError:
        return
    assert configs(name, text)
    for toml in config_texts(name, text):
        assert app in toml or str(port) in toml


# The way to a full nodes()


@pytest.mark.parametrize("name", WITH_NODE)
def test_a_node_is_started_by_exec_under_a_name_that_promises_its_port(name: str) -> None:
    entries = entry_points(name, FORMS[name](OTHER))
    assert entries
    for words in entries:
        assert words[0].removeprefix("/opt/epmdless/bin/") == "epmdless"
        assert words[1:6] == ["exec", "--app", "my-app-2", "--port", "31999"]
        assert len(words[6 : words.index("--")]) in (0, 2)
        command = words[words.index("--") + 1 :]
        assert command[0].rpartition("bin/")[2] == "my_app_2" or command[0].endswith("/bin/my-app-2")
        assert command[1:] == ["start"]
    assert SuffixScheme().port_of(OTHER.alive) == 31999


@pytest.mark.parametrize("name", WITH_NODE)
def test_the_source_names_the_nodes_as_exec_does(name: str) -> None:
    joining = [each for each in configs(name, FORMS[name](SHOP)) if each.cluster.source]
    assert joining
    for each in joining:
        for source in each.cluster.source.values():
            match source:
                case CloudMapSource():
                    assert (source.basename, source.names, source.health) == ("shop", "port", "ALL")
                case DnsSource():
                    assert source.basename == "shop-9001"
                    assert source.addresses
                    assert not source.srv
                case KubernetesSource():
                    by_host = name == "kubernetes --relay"
                    assert source.names == ("hostname" if by_host else "ip")
                    assert (source.basename, source.not_ready) == ("shop-9001", True)
                case Ec2Source():
                    assert (source.basename, source.names, source.own_group) == (
                        "shop-9001",
                        "private_ip",
                        True,
                    )
                case _:
                    assert isinstance(source, StaticSource)
                    assert [NodeName.parse(node).alive for node in source.nodes] == ["shop-9001"]


@pytest.mark.parametrize("name", [name for name in WITH_NODE if not name.startswith("systemd")])
def test_in_containers_the_cookie_is_the_releases_own(name: str) -> None:
    text = FORMS[name](SHOP)
    joining = [each for each in configs(name, text) if each.cluster.source]
    assert [each.cluster.cookie_variable for each in joining] == ["RELEASE_COOKIE"]
    assert "RELEASE_COOKIE" in text.replace("cookie_variable", "")


def test_a_host_has_its_cookie_in_files_that_nobody_else_reads() -> None:
    text = FORMS["systemd"](SHOP)
    (config,) = configs("systemd", text)
    assert config.cluster.cookie_file == "/etc/epmdless/cookie"
    assert config.cluster.users == ("shop",)
    assert "install -m 0400 -o epmdless /dev/stdin /etc/epmdless/cookie <<END\n$COOKIE\nEND\n" in text
    assert (
        "install -m 0400 -o root /dev/stdin /etc/shop/cookie.env <<END\nRELEASE_COOKIE=$COOKIE\nEND\n" in text
    )
    unit = files_of_script(text)["/etc/systemd/system/shop.service"]
    assert "EnvironmentFile=/etc/shop/cookie.env\n" in unit
    assert "RuntimeDirectoryMode=0700\n" in unit
    assert "StateDirectoryMode=0700\n" in unit
    assert "ERL_CRASH_DUMP=/var/lib/shop/" in unit


def test_a_host_whose_network_is_late_has_its_node_all_the_same() -> None:
    """`exec` ends with 2 where nobody tells the address; nor does the node hang on the socket's unit."""
    unit = files_of_script(FORMS["systemd"](SHOP))["/etc/systemd/system/shop.service"]
    assert "Restart=on-failure\n" in unit
    assert "RestartSec=5s\n" in unit
    assert "RestartPreventExitStatus" not in unit
    assert "Requires=" not in unit


@pytest.mark.parametrize(("name", "drop_in"), [("systemd", "shop"), ("systemd --relay", "relay")])
def test_a_host_whose_network_is_late_has_its_epmd_server_all_the_same(name: str, drop_in: str) -> None:
    """It ends with 2 where no DNS server is named yet, or a stand-in address is missing, for which the unit
    alone gives up."""
    folder = "/etc/systemd/system/epmdless.service.d"
    lines = files_of_script(FORMS[name](SHOP))[f"{folder}/{drop_in}.conf"].splitlines()
    assert "RestartPreventExitStatus=" in lines
    assert "RestartSec=1s" in lines


@pytest.mark.parametrize("name", ["kubernetes", "kubernetes --relay"])
def test_kubernetes_names_fit_together(name: str) -> None:
    manifest = documents(FORMS[name](SHOP))
    by_kind = {(each["kind"], each["metadata"]["name"]): each for each in manifest}
    service = by_kind["Service", "shop-nodes"]["spec"]
    assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
    assert service["ports"] == [{"name": "dist", "port": 9001, "targetPort": "dist"}]
    workload = by_kind["StatefulSet", "shop"]["spec"]
    assert workload["serviceName"] == "shop-nodes"
    labels = workload["template"]["metadata"]["labels"]
    assert service["selector"] == labels == workload["selector"]["matchLabels"]
    pod = workload["template"]["spec"]
    assert by_kind["RoleBinding", "shop-nodes"]["subjects"] == [
        {"kind": "ServiceAccount", "name": pod["serviceAccountName"]}
    ]
    assert by_kind["Role", "shop-nodes"]["rules"] == [
        {
            "apiGroups": ["discovery.k8s.io"],
            "resources": ["endpointslices"],
            "verbs": ["get", "list", "watch"],
        }
    ]
    config = configs(name, FORMS[name](SHOP))[0]
    (source,) = config.cluster.source.values()
    assert isinstance(source, KubernetesSource)
    assert source.service == "shop-nodes"
    assert str(config.metrics.listen) == "0.0.0.0:9568"


@pytest.mark.parametrize("name", ["kubernetes", "kubernetes --relay"])
def test_a_rollout_goes_on_when_a_node_is_there_and_not_before(name: str) -> None:
    manifest = documents(FORMS[name](SHOP))
    by_kind = {(each["kind"], each["metadata"]["name"]): each.get("spec") for each in manifest}
    workload = by_kind["StatefulSet", "shop"]
    (container,) = workload["template"]["spec"]["containers"]
    (check,) = find(documents(FORMS["compose"](SHOP)), "test")
    assert container["readinessProbe"]["exec"]["command"] == ["sh", "-c", check[1]]
    assert workload["minReadySeconds"] > 0
    budget = by_kind["PodDisruptionBudget", "shop"]
    assert (budget["maxUnavailable"], budget["selector"]) == (1, workload["selector"])


def test_the_probes_of_a_pod_ask_no_address_of_a_version_that_it_may_lack() -> None:
    ((container,),) = find(documents(FORMS["kubernetes"](SHOP)), "containers")
    assert container["livenessProbe"]["exec"]["command"] == ["epmdless-epmd", "-names"]
    assert not list(find(container, "httpGet"))


def test_a_gateway_that_is_started_again_takes_the_certificates_again() -> None:
    """It finds copies of its own, which are for nobody to write to."""
    (script,) = (
        words[2] for words in find(documents(FORMS["kubernetes --relay"](SHOP)), "command") if "-ec" in words
    )
    assert "; cp -f /etc/epmdless/tls/* /tmp; exec " in script


@pytest.mark.parametrize("name", ["kubernetes", "compose", "compose --relay"])
@pytest.mark.parametrize("image", ["1.0", "true", "12e3"])
def test_an_images_name_is_text_whatever_it_looks_like(name: str, image: str) -> None:
    forms = {"kubernetes": containers.kubernetes, "compose": containers.compose}
    form = forms.get(name, containers.compose_relay)
    found = list(find(documents(form(SHOP, values.image(image), "shop", 3)), "image"))
    assert found
    assert set(found) == {image}


def test_behind_a_gateway_a_pods_node_is_named_by_its_host() -> None:
    host = dict(variables(documents(FORMS["kubernetes --relay"](SHOP))))["EPMDLESS_HOST"]
    host = host.replace("$(POD_NAME)", "shop-0").replace("$(POD_NAMESPACE)", "team")
    assert host == "shop-0.shop-nodes.team.svc.cluster.local"
    assert is_node_name(f"shop-9001@{host}")
    gateway = configs("kubernetes --relay", FORMS["kubernetes --relay"](SHOP))[1].gateway
    assert gateway is not None
    assert [pattern.text for pattern in gateway.allow[0].hosts] == ["*.shop-nodes.*.svc.cluster.local"]


# One port in all places


def opened(name: str, node: Node) -> set[int]:
    """The ports that a file opens among the nodes, or from a relay to them."""
    text = FORMS[name](node)
    if name.startswith("nftables"):
        return {
            int(port)
            for found in re.findall(r"dport \{ ([0-9, ]+)", text)
            for port in found.split(", ")
            if port
        }
    if name.startswith("kubernetes"):
        return set(_network_policy(text))
    rules = [each for document in documents(text) for each in _ingress(document)]
    return {rule["FromPort"] for rule in rules if rule["FromPort"] == rule["ToPort"]}


def _ingress(template: Any) -> Iterator[Any]:
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::EC2::SecurityGroupIngress":
            yield resource["Properties"]


def _network_policy(text: str) -> Iterator[int]:
    for document in documents(text):
        if (document["kind"], document["metadata"]["name"]) == ("NetworkPolicy", "my-app-2-nodes"):
            for entry in document["spec"]["ingress"][0]["ports"]:
                yield entry["port"]


@pytest.mark.parametrize(
    "name",
    [
        "kubernetes",
        "kubernetes --relay",
        "fargate-cloudformation",
        "fargate-cloudformation --relay",
        "nftables",
    ],
)
def test_what_is_open_is_epmds_port_and_the_nodes(name: str) -> None:
    assert opened(name, OTHER) == {4369, 31999}
    for words in entry_points(name, FORMS[name](OTHER)):
        assert words[words.index("--port") + 1] == "31999"


@pytest.mark.parametrize("name", ["kubernetes", "kubernetes --relay"])
@pytest.mark.parametrize("port", [1024, 4368, 4370, 9001, 65535])
def test_a_network_policy_leaves_every_other_port_as_it_is(name: str, port: int) -> None:
    manifest = documents(FORMS[name](values.node("shop", port)))
    (policy,) = (
        each
        for each in manifest
        if (each["kind"], each["metadata"]["name"]) == ("NetworkPolicy", "shop-nodes")
    )
    ports = [entry for entry in policy["spec"]["ingress"][1]["ports"] if entry["protocol"] == "TCP"]
    assert "from" not in policy["spec"]["ingress"][1]
    left = {each for entry in ports for each in range(entry["port"], entry["endPort"] + 1)}
    assert set(range(1, 65536)) - left == {4369, port}


@pytest.mark.parametrize("name", ["fargate-cloudformation", "fargate-cloudformation --relay"])
def test_members_of_the_group_and_the_gateway_alone_reach_the_nodes(name: str) -> None:
    (template,) = documents(FORMS[name](SHOP))
    sources = {rule["SourceSecurityGroupId"]["Fn::GetAtt"] for rule in _ingress(template)}
    assert sources == {"NodesGroup.GroupId"} | ({"GatewayGroup.GroupId"} if "relay" in name else set())
    assert {rule["GroupId"]["Fn::GetAtt"] for rule in _ingress(template)} == {"NodesGroup.GroupId"}
    assert "SecurityGroupIngress" not in template["Resources"]["NodesGroup"]["Properties"]


def test_relays_alone_reach_the_gateway_of_a_stack() -> None:
    (template,) = documents(FORMS["fargate-cloudformation --relay"](SHOP))
    ingress = template["Resources"]["GatewayGroup"]["Properties"]["SecurityGroupIngress"]
    assert ingress == [
        {"IpProtocol": "tcp", "FromPort": 4370, "ToPort": 4370, "CidrIp": "10.0.1.0/24"},
        {"IpProtocol": "tcp", "FromPort": 4370, "ToPort": 4370, "CidrIp": "10.9.0.0/24"},
    ]


@pytest.mark.parametrize("name", ["fargate-cloudformation --relay", "fargate-cdk --relay"])
def test_a_stack_says_how_its_subnets_lead_to_the_relay(name: str) -> None:
    """A VPC routes among its subnets by itself, past a relay whose route is a transparent one."""
    head = FORMS[name](SHOP).partition("Look:")[0]
    assert (
        "routes (hidden = true) to 10.0.2.0/24, 10.0.3.0/24, to which the near hosts' route table leads"
        in head
    )


def test_relays_alone_reach_the_gateway_of_a_manifest() -> None:
    manifest = documents(FORMS["kubernetes --relay"](SHOP))
    by_kind = {(each["kind"], each["metadata"]["name"]): each["spec"] for each in manifest if "spec" in each}
    service, policy = by_kind["Service", "shop-gateway"], by_kind["NetworkPolicy", "shop-gateway"]
    assert service["loadBalancerSourceRanges"] == ["10.0.1.0/24", "10.9.0.0/24"]
    assert [each["port"] for each in service["ports"]] == [4370]
    entry = policy["ingress"][0]
    assert [each["ipBlock"]["cidr"] for each in entry["from"]] == ["10.0.1.0/24", "10.9.0.0/24"]
    assert [each["port"] for each in entry["ports"]] == [4370]
    nodes = by_kind["NetworkPolicy", "shop-nodes"]["ingress"][0]
    allowed = [each["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for each in nodes["from"]]
    assert allowed == ["shop", "shop-gateway"]


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_gateway_leads_to_the_nodes_and_nowhere_else(name: str) -> None:
    (config,) = (each for each in configs(name, FORMS[name](OTHER)) if each.gateway)
    assert config.gateway is not None
    assert config.gateway.listen.endpoint(0).port == 4370
    assert config.gateway.tls_table is not None
    (allow,) = config.gateway.allow
    assert [str(ports) for ports in allow.ports] == ["4369", "31999"]
    assert allow.nodes == ("my-app-2-31999",)
    if name.startswith("fargate"):
        assert [pattern.text for pattern in allow.hosts] == ["10.0.2.0/24", "10.0.3.0/24"]
    assert config.epmd.listen == ()


@pytest.mark.parametrize("name", RELAYS)
def test_a_relay_opens_the_nodes_port_on_its_stand_in_addresses(name: str) -> None:
    (config,) = (each for each in configs(name, FORMS[name](OTHER)) if each.relay.route)
    assert {str(ports) for route in config.relay.route for ports in route.ports} == {"31999"}
    if name != "compose --relay":
        assert [(route.host, route.listen) for route in config.relay.route] == [
            ("b1.az-b.internal", "10.0.1.11"),
            ("b2.az-b.internal", "fd00:1::12"),
        ]
        assert [route.dial for route in config.relay.route] == ["10.0.2.7", None]
    via = "far" if "gateway" in name else None
    assert {route.via for route in config.relay.route} == {via}


def test_the_firewall_of_a_relays_host_opens_what_the_relay_listens_on() -> None:
    text = FORMS["nftables --relay"](OTHER)
    (config,) = configs("systemd --relay", FORMS["systemd --relay"](OTHER))
    assert f"        tcp dport {{ {config.relay.epmd_port}, 31999 }} jump near\n" in text
    stand_ins = [route.listen for route in config.relay.route]
    for listen in stand_ins:
        assert f"daddr {{ {listen} }} accept\n" in text
        assert f"daddr {{ {listen} }} tcp dport {config.relay.port_range} jump near\n" in text
    assert f"tcp dport {{ {config.relay.epmd_port}, 31999 }} counter reject" in text


def test_near_nodes_dial_the_addresses_that_the_relay_listens_on() -> None:
    (config,) = configs("systemd --relay", FORMS["systemd --relay"](SHOP))
    text = FORMS["inetrc"](SHOP)
    assert re.findall(r'\["(.*)"\]', text) == [route.host for route in config.relay.route]


def test_between_the_networks_of_compose_there_is_the_relay_alone() -> None:
    (file,) = documents(FORMS["compose --relay"](SHOP))
    services = file["services"]
    assert {name: set(each["networks"]) for name, each in services.items()} == {
        "shop": {"near"},
        "relay": {"near", "far"},
        "b1": {"far"},
    }
    configured = configs("compose --relay", FORMS["compose --relay"](SHOP))
    (route,) = next(each.relay.route for each in configured if each.relay.route)
    near = services["relay"]["networks"]["near"]
    assert (near["ipv4_address"], near["aliases"]) == (route.listen, [route.host])
    assert services["b1"]["environment"]["EPMDLESS_HOST"] == route.host
    assert route.dial in services
    assert not list(find(file, "ports"))


def test_compose_opens_no_port_to_the_outside() -> None:
    (file,) = documents(FORMS["compose"](SHOP))
    assert not list(find(file, "ports"))
    assert dict(variables(file))["RELEASE_COOKIE"].startswith("${RELEASE_COOKIE:?")


# Least rights


ACTIONS = {
    "ecr:GetAuthorizationToken",
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "secretsmanager:GetSecretValue",
}


def test_a_task_may_ask_who_is_there_and_nothing_else() -> None:
    (template,) = documents(FORMS["fargate-cloudformation"](SHOP))
    roles = {name: _actions(template["Resources"][name]) for name in ("ExecutionRole", "TaskRole")}
    assert roles == {"ExecutionRole": ACTIONS, "TaskRole": {"servicediscovery:DiscoverInstances"}}
    (config,) = configs("fargate-cloudformation", FORMS["fargate-cloudformation"](SHOP))
    (source,) = config.cluster.source.values()
    assert isinstance(source, CloudMapSource)
    (condition,) = find(template["Resources"]["TaskRole"], "StringEquals")
    assert condition == {
        "servicediscovery:NamespaceName": source.namespace,
        "servicediscovery:ServiceName": source.service,
    }


def test_a_gateways_task_may_do_nothing_at_all() -> None:
    (template,) = documents(FORMS["fargate-cloudformation --relay"](SHOP))
    assert "TaskRoleArn" not in template["Resources"]["GatewayTaskDefinition"]["Properties"]
    assert _actions(template["Resources"]["GatewayExecutionRole"]) == ACTIONS


def _actions(role: Any) -> set[str]:
    actions = list(find(role["Properties"]["Policies"], "Action"))
    return {name for each in actions for name in (each if isinstance(each, list) else [each])}
