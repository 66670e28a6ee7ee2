"""`[cluster.source.NAME]` of Kubernetes and of AWS: every default, and every mistake with its key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.config import CloudMapSource, Duration, Ec2Source, EcsSource, KubernetesSource
from tests.config.source_tables import refused, source

KUBERNETES = "basename = 'shop', service = 'shop'"
EC2 = "basename = 'shop', tags = {cluster = 'shop'}"
ECS = "basename = 'shop', service = 'shop'"
CLOUD_MAP = "basename = 'shop', namespace = 'internal', service = 'shop'"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
ARN = "arn:aws:ecs:eu-central-1:123456789012:service/shop/web"
MANY_TAGS = ", ".join(f"k{number} = 'x'" for number in range(51))
AWS = {"ec2": EC2, "ecs": ECS, "cloudmap": CLOUD_MAP}

# What is read.


def test_kubernetes_and_its_defaults() -> None:
    read = source(KubernetesSource, KUBERNETES)
    assert (read.basename, read.service, read.selector, read.namespace) == ("shop", "shop", None, None)
    assert (read.names, read.domain, read.not_ready, read.api) == ("ip", "cluster.local", True, None)
    assert (read.token_file, read.ca_file) == (f"{ACCOUNT}/token", f"{ACCOUNT}/ca.crt")
    assert read.timeout == Duration(10)


def test_kubernetes_by_selector() -> None:
    read = source(
        KubernetesSource,
        "basename = 'shop', selector = 'app=shop,tier in (a, b)', namespace = 'a-1', names = 'dns', "
        "domain = 'k8s.internal', not_ready = false, api = 'https://[fd00::1]:6443', "
        "token_file = '/token', ca_file = '/ca', timeout = '1s'",
    )
    assert read == KubernetesSource(
        basename="shop",
        selector="app=shop,tier in (a, b)",
        namespace="a-1",
        names="dns",
        domain="k8s.internal",
        not_ready=False,
        api="https://[fd00::1]:6443",
        token_file="/token",
        ca_file="/ca",
        timeout=Duration(1),
    )


@pytest.mark.parametrize("names", ["ip", "hostname", "dns"])
def test_each_way_to_name_the_pods_of_a_service(names: str) -> None:
    assert source(KubernetesSource, f"{KUBERNETES}, names = '{names}'").names == names


@pytest.mark.parametrize(
    "api",
    [
        "https://10.0.0.1",
        "https://10.0.0.1:443",
        "https://kubernetes.default.svc:6443",
        "http://127.0.0.1:8001",
        "http://127.1.2.3",
        "http://localhost:8001",
        "http://[::1]:8001",
    ],
)
def test_the_api_is_asked_over_tls_or_on_this_machine(api: str) -> None:
    assert source(KubernetesSource, f"{KUBERNETES}, api = '{api}'").api == api


def test_ec2_and_its_defaults() -> None:
    read = source(Ec2Source, EC2)
    assert (read.basename, read.tags, read.states) == ("shop", {"cluster": "shop"}, ("running",))
    assert (read.own_group, read.names) == (False, "private_dns")
    assert (read.region, read.endpoint) == (None, None)
    assert (read.poll, read.timeout) == (Duration(15), Duration(5))


def test_ec2_with_every_key() -> None:
    read = source(
        Ec2Source,
        "basename = 'shop', tags = {Name = 'shop-*'}, states = ['pending', 'running'], own_group = true, "
        "names = 'private_ip', region = 'eu-central-1', endpoint = 'http://10.0.0.1:4566'",
    )
    assert (read.tags, read.states, read.own_group) == ({"Name": "shop-*"}, ("pending", "running"), True)
    assert (read.names, read.region) == ("private_ip", "eu-central-1")
    assert read.endpoint == "http://10.0.0.1:4566"


def test_ec2_by_the_own_group_alone() -> None:
    assert source(Ec2Source, "basename = 'shop', own_group = true").tags == {}


def test_ecs_and_its_defaults() -> None:
    read = source(EcsSource, ECS)
    assert (read.basename, read.service, read.cluster) == ("shop", "shop", "default")
    assert (read.region, read.endpoint) == (None, None)
    assert (read.poll, read.timeout) == (Duration(15), Duration(5))
    assert source(EcsSource, f"basename = 'shop', service = '{ARN}', cluster = '{ARN}'").cluster == ARN


def test_cloud_map_and_its_defaults() -> None:
    read = source(CloudMapSource, CLOUD_MAP)
    assert (read.basename, read.namespace, read.service) == ("shop", "internal", "shop")
    assert (read.names, read.health, read.region, read.endpoint) == ("plain", "HEALTHY", None, None)
    assert (read.poll, read.timeout) == (Duration(15), Duration(5))


# Mistakes.


@pytest.mark.parametrize(
    ("kind", "keys", "key", "problem"),
    [
        ("kubernetes", "basename = 'a'", "service", "needs one of `service` and `selector`, and not both"),
        (
            "kubernetes",
            f"{KUBERNETES}, selector = 'app=a'",
            "service",
            "needs one of `service` and `selector`",
        ),
        (
            "kubernetes",
            "basename = 'a', service = 'a.b'",
            "service",
            "'a.b' is not 1 to 63 small letters, digits",
        ),
        ("kubernetes", "basename = 'a', service = '-a'", "service", "which neither begins nor ends it"),
        ("kubernetes", "basename = 'a', service = ''", "service", "'' is not 1 to 63 small letters"),
        (
            "kubernetes",
            "basename = 'a', selector = ''",
            "selector",
            "must be a label selector as in app=shop, of 1 to",
        ),
        ("kubernetes", r'basename = "a", selector = "a\n"', "selector", "must be a label selector"),
        ("kubernetes", f"basename = 'a', selector = '{'a' * 4097}'", "selector", "of 1 to 4096 characters"),
        (
            "kubernetes",
            "basename = 'a', selector = 'app=a', names = 'hostname'",
            "names",
            '"hostname" needs `service`, which is a part of such names',
        ),
        (
            "kubernetes",
            f"{KUBERNETES}, names = 'pod'",
            "names",
            "is not one of the choices; allowed: dns, hostname, ip",
        ),
        ("kubernetes", f"{KUBERNETES}, namespace = 'A'", "namespace", "'A' is not 1 to 63 small letters"),
        (
            "kubernetes",
            f"{KUBERNETES}, namespace = '../x'",
            "namespace",
            "'../x' is not 1 to 63 small letters",
        ),
        ("kubernetes", f"{KUBERNETES}, domain = ''", "domain", "'' is not a domain name"),
        ("kubernetes", f"{KUBERNETES}, domain = '10.0.0.1'", "domain", "'10.0.0.1' is not a domain name"),
        (
            "kubernetes",
            f"{KUBERNETES}, domain = 'a.b.'",
            "domain",
            "'a.b.' ends with a dot, and no node's name does",
        ),
        ("kubernetes", f"{KUBERNETES}, not_ready = 'no'", "not_ready", "expected `bool`, got `str`"),
        ("kubernetes", f"{KUBERNETES}, ca_file = 'ca.crt'", "ca_file", "'ca.crt' is not an absolute path"),
        (
            "ec2",
            "basename = 'a'",
            "tags",
            "every instance of the account: needs at least one of `tags` and `own_group`",
        ),
        ("ec2", "basename = 'a', tags = {}", "tags", "every instance of the account"),
        ("ec2", "basename = 'a', tags = {'' = 'x'}", "tags", "a tag's key has 1 to 128 characters"),
        (
            "ec2",
            f"basename = 'a', tags = {{{'k' * 129} = 'x'}}",
            "tags",
            "a tag's key has 1 to 128 characters",
        ),
        (
            "ec2",
            f"basename = 'a', tags = {{k = '{'x' * 257}'}}",
            "tags",
            "the value of 'k' has more than 256 characters",
        ),
        (
            "ec2",
            f"basename = 'a', tags = {{{MANY_TAGS}}}",
            "tags",
            "51 are more than the 50 that a resource can have",
        ),
        ("ec2", "basename = 'a', tags = {a = 1}", "tags.*", "expected `str`, got `int`"),
        ("ec2", f"{EC2}, states = []", "states", 'no instance is in none: leave the key out for "running"'),
        ("ec2", f"{EC2}, states = ['running', 'running']", "states[1]", "running is states[0] again"),
        (
            "ec2",
            f"{EC2}, states = ['up']",
            "states[0]",
            "'up' is not one of the choices; allowed: pending, running",
        ),
        (
            "ec2",
            f"{EC2}, names = 'public_ip'",
            "names",
            "is not one of the choices; allowed: private_dns, private_ip",
        ),
        ("ecs", "basename = 'a'", "service", "this key is required"),
        (
            "ecs",
            "basename = 'a', service = ''",
            "service",
            "must have 1 to 2048 characters, no blanks among them",
        ),
        ("ecs", f"basename = 'a', service = '{'a' * 2049}'", "service", "must have 1 to 2048 characters"),
        ("ecs", f"{ECS}, cluster = 'a b'", "cluster", "must have 1 to 2048 characters, no blanks among them"),
        ("cloudmap", "basename = 'a', service = 'a'", "namespace", "this key is required"),
        (
            "cloudmap",
            "basename = 'a', service = 'a', namespace = ''",
            "namespace",
            "must have 1 to 2048 characters",
        ),
        (
            "cloudmap",
            "basename = 'a', service = '\t', namespace = 'a'",
            "service",
            "must have 1 to 2048 characters",
        ),
        ("cloudmap", f"{CLOUD_MAP}, health = 'healthy'", "health", "'healthy' is not one of the choices"),
        (
            "cloudmap",
            f"{CLOUD_MAP}, names = 'srv'",
            "names",
            "is not one of the choices; allowed: plain, port",
        ),
    ],
)
def test_a_mistake_names_the_source_and_its_key(kind: str, keys: str, key: str, problem: str) -> None:
    found, said = refused(kind, keys)
    assert found == key
    assert problem in said


NO_URLS = [
    "",
    "10.0.0.1:443",
    "ftp://10.0.0.1",
    "HTTPS://10.0.0.1",
    "https://",
    "https://:443",
    "https://10.0.0.1:",
    "https://10.0.0.1:0",
    "https://10.0.0.1:65536",
    "https://10.0.0.1/",
    "https://10.0.0.1/api",
    "https://10.0.0.1?a=b",
    "https://10.0.0.1#a",
    "https://fd00::1",
    "https://[10.0.0.1]",
    "https://[api.internal]:443",
    "https://[fe80::1%eth0]",
    "https://a b",
    "https://é.internal",
]


@pytest.mark.parametrize("url", NO_URLS)
@pytest.mark.parametrize(
    ("kind", "key", "keys"), [("kubernetes", "api", KUBERNETES), ("ecs", "endpoint", ECS)]
)
def test_what_is_no_url_is_refused(kind: str, key: str, keys: str, url: str) -> None:
    found, problem = refused(kind, f"{keys}, {key} = '{url}'")
    assert (found, problem) == (key, f'{url!r} is not a URL without a path, as in "https://10.0.0.1:443"')


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1", "http://api.internal:8001", "http://[fd00::1]", "http://localhost.x"]
)
def test_a_token_is_not_sent_in_clear(url: str) -> None:
    key, problem = refused("kubernetes", f"{KUBERNETES}, api = '{url}'")
    assert (key, problem) == ("api", f"{url!r} would send a secret in clear: https, or a loopback address")


@pytest.mark.parametrize(("kind", "keys"), [(Ec2Source, EC2), (EcsSource, ECS), (CloudMapSource, CLOUD_MAP)])
def test_aws_may_be_asked_in_clear_for_its_requests_are_signed(
    kind: type[Ec2Source | EcsSource | CloudMapSource], keys: str
) -> None:
    read = source(kind, f"{keys}, endpoint = 'http://aws.internal:4566'")
    assert read.endpoint == "http://aws.internal:4566"


@pytest.mark.parametrize("kind", AWS)
@pytest.mark.parametrize("region", ["", "eu central", "EU", "eu.x", "a/b", "-eu"])
def test_a_region_is_a_part_of_a_hosts_name(kind: str, region: str) -> None:
    key, problem = refused(kind, f"{AWS[kind]}, region = '{region}'")
    assert key == "region"
    assert problem.startswith(f"{region!r} is not 1 to 63 small letters, digits and `-`")


def test_a_password_in_a_url_is_not_repeated() -> None:
    for kind, key, keys in (("kubernetes", "api", KUBERNETES), ("ec2", "endpoint", EC2)):
        found, problem = refused(kind, f"{keys}, {key} = 'https://user:hunter2@10.0.0.1'")
        assert (found, problem) == (key, 'this is not a URL without a path, as in "https://10.0.0.1:443"')


def test_a_token_where_its_path_should_stand_is_not_repeated() -> None:
    key, problem = refused("kubernetes", f"{KUBERNETES}, token_file = 'eyJhunter2'")
    assert (key, problem) == ("token_file", "this is not an absolute path")


@given(st.text(st.sampled_from("htps:/[]@?#%.019af:-\n"), max_size=20).map("https://{}".format) | st.text())
def test_any_url_is_scheme_host_and_port_or_refused(url: str) -> None:
    try:
        KubernetesSource(basename="a", service="a", api=url)
    except ValueError:
        return
    assert url.startswith("https://")
    assert not set(url.removeprefix("https://")) & set("/@?#% \n")
