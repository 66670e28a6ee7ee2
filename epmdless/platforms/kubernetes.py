"""Kubernetes: what the pod's specification hands over by the downward API.

=================  ======================
variable           field
=================  ======================
``POD_IP``         ``status.podIP``
``POD_IPS``        ``status.podIPs``
``POD_NAME``       ``metadata.name``
``POD_NAMESPACE``  ``metadata.namespace``
``NODE_NAME``      ``spec.nodeName``
=================  ======================
"""

from __future__ import annotations

from collections.abc import Mapping

from epmdless.platforms.default_route import default_address
from epmdless.platforms.facts import Facts, checked_address, plain_labels

LABELS = {"pod": "POD_NAME", "namespace": "POD_NAMESPACE", "node": "NODE_NAME"}


async def facts(environ: Mapping[str, str]) -> Facts:
    """What the pod is told; its address is the default route's where nobody says.

    :raises PlatformError: an address is none; there is no default route.
    """
    labels = plain_labels({name: environ.get(variable) for name, variable in LABELS.items()})
    for variable in ("POD_IP", "POD_IPS"):
        said = environ.get(variable, "")
        if said:
            first = said.split(",")[0]
            return Facts("kubernetes", checked_address(first, variable), variable, labels)
    return Facts("kubernetes", *await default_address(), labels)
