"""``[cluster.source.NAME]`` of the kinds that ask a platform who is there: Kubernetes, and AWS' services."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from epmdless.config.checks import (
    check_basename,
    check_distinct,
    check_domain,
    check_path,
    check_poll,
    check_timeout,
    check_url,
    check_word,
)
from epmdless.config.errors import SectionError
from epmdless.config.values import Duration, Section
from epmdless.names import printable

MAX_SELECTOR_CHARACTERS = 4096
"""Of a label selector: it stands in a URL, of which servers take 8 KiB or more (RFC 9110 §4.1)."""

MAX_TAGS = 50
"""Tags that an AWS resource has at most: nothing could have more of them."""

MAX_TAG_KEY_CHARACTERS = 128
MAX_TAG_VALUE_CHARACTERS = 256
"""AWS' own limits ("Tag naming limits and requirements")."""

Ec2State = Literal["pending", "running", "stopping", "stopped", "shutting-down", "terminated"]

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""A name of Kubernetes that stands in DNS, and the name of a region (RFC 1123)."""


class KubernetesSource(Section, frozen=True, tag_field="kind", tag="kubernetes"):
    """The EndpointSlices of a service, listed and then watched with the pod's service account."""

    basename: str
    service: str | None = None
    selector: str | None = None
    """A label selector in place of `service`."""
    namespace: str | None = None
    """Absent: the pod's own."""
    names: Literal["ip", "hostname", "dns"] = "ip"
    """The host part: ``10.0.0.7``; ``HOSTNAME.SERVICE.NAMESPACE.svc.DOMAIN``; or
    ``10-0-0-7.NAMESPACE.pod.DOMAIN``."""
    domain: str = "cluster.local"
    not_ready: bool = True
    """Whether endpoints that are not ready count: a node may have to be joined to become ready."""
    api: str | None = None
    """``https://HOST:PORT``; ``http://`` on this machine, for ``kubectl proxy``; absent: what
    KUBERNETES_SERVICE_HOST and _PORT say."""
    token_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
    ca_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
    timeout: Duration = Duration(10)

    def __post_init__(self) -> None:
        check_basename(self.basename)
        self._check_service()
        if self.namespace is not None:
            _check_label("namespace", self.namespace)
        check_domain("domain", self.domain)
        if self.domain.endswith("."):
            raise SectionError("domain", f"{self.domain!r} ends with a dot, and no node's name does")
        if self.api is not None:
            check_url("api", self.api, carries_secret=True)
        check_path("token_file", self.token_file, of_secret=True)
        check_path("ca_file", self.ca_file)
        check_timeout("timeout", self.timeout)

    def _check_service(self) -> None:
        if (self.service is None) == (self.selector is None):
            raise SectionError("service", "needs one of `service` and `selector`, and not both")
        if self.service is not None:
            _check_label("service", self.service)
        elif self.names == "hostname":
            raise SectionError("names", '"hostname" needs `service`, which is a part of such names')
        if self.selector is not None and not _is_selector(self.selector):
            problem = f"must be a label selector as in app=shop, of 1 to {MAX_SELECTOR_CHARACTERS} characters"
            raise SectionError("selector", problem)


class Ec2Source(Section, frozen=True, tag_field="kind", tag="ec2"):
    """EC2 instances, by tags and state, or those of this instance's auto scaling group."""

    basename: str
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    """All of them; in a value ``*`` is any text, and ``?`` one character (DescribeInstances' filters)."""
    states: tuple[Ec2State, ...] = ("running",)
    own_group: bool = False
    """Only instances of the auto scaling group that this instance belongs to."""
    names: Literal["private_dns", "private_ip"] = "private_dns"
    region: str | None = None
    endpoint: str | None = None
    """URL of the service, for tests and private endpoints."""
    poll: Duration = Duration(15)
    timeout: Duration = Duration(5)

    def __post_init__(self) -> None:
        check_basename(self.basename)
        if not self.tags and not self.own_group:
            problem = "every instance of the account: needs at least one of `tags` and `own_group`"
            raise SectionError("tags", problem)
        self._check_tags()
        if not self.states:
            raise SectionError("states", 'no instance is in none: leave the key out for "running"')
        check_distinct("states", self.states)
        _check_service(self.region, self.endpoint, self.poll, self.timeout)

    def _check_tags(self) -> None:
        if len(self.tags) > MAX_TAGS:
            raise SectionError(
                "tags", f"{len(self.tags)} are more than the {MAX_TAGS} that a resource can have"
            )
        for key, value in self.tags.items():
            if not 1 <= len(key) <= MAX_TAG_KEY_CHARACTERS:
                problem = f"a tag's key has 1 to {MAX_TAG_KEY_CHARACTERS} characters"
                raise SectionError("tags", problem)
            if len(value) > MAX_TAG_VALUE_CHARACTERS:
                problem = f"the value of {key!r} has more than {MAX_TAG_VALUE_CHARACTERS} characters"
                raise SectionError("tags", problem)


class EcsSource(Section, frozen=True, tag_field="kind", tag="ecs"):
    """The running tasks of an ECS service; the host part is the task's private address."""

    basename: str
    service: str
    """Its name or ARN; as is `cluster`."""
    cluster: str = "default"
    region: str | None = None
    endpoint: str | None = None
    poll: Duration = Duration(15)
    timeout: Duration = Duration(5)

    def __post_init__(self) -> None:
        check_basename(self.basename)
        check_word("service", self.service)
        check_word("cluster", self.cluster)
        _check_service(self.region, self.endpoint, self.poll, self.timeout)


class CloudMapSource(Section, frozen=True, tag_field="kind", tag="cloudmap"):
    """The healthy instances of an AWS Cloud Map service, by DiscoverInstances."""

    basename: str
    namespace: str
    service: str
    names: Literal["plain", "port"] = "plain"
    """``BASENAME@ADDRESS``, or ``BASENAME-PORT@ADDRESS``."""
    health: Literal["HEALTHY", "ALL", "HEALTHY_OR_ELSE_ALL"] = "HEALTHY"
    region: str | None = None
    endpoint: str | None = None
    poll: Duration = Duration(15)
    timeout: Duration = Duration(5)

    def __post_init__(self) -> None:
        check_basename(self.basename)
        check_word("namespace", self.namespace)
        check_word("service", self.service)
        _check_service(self.region, self.endpoint, self.poll, self.timeout)


def _check_service(region: str | None, endpoint: str | None, poll: Duration, timeout: Duration) -> None:
    """Check what the sources of AWS have in common."""
    if region is not None:
        _check_label("region", region)
    if endpoint is not None:
        check_url("endpoint", endpoint, carries_secret=False)  # requests are signed; the key is not in them
    check_poll(poll)
    check_timeout("timeout", timeout)


def _check_label(key: str, text: str) -> None:
    if not _LABEL.fullmatch(text):
        problem = f"{text!r} is not 1 to 63 small letters, digits and `-`, which neither begins nor ends it"
        raise SectionError(key, problem)


def _is_selector(text: str) -> bool:
    return 1 <= len(text) <= MAX_SELECTOR_CHARACTERS and text == printable(text)
