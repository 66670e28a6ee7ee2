"""What the tests of TLS distribution share: certificates of all hosts, and nodes that use them."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.interop.relay_world import node
from tests.support.beam import Beam
from tests.support.machine import Machine
from tests.support.subnets import Host
from tests.support.trees import SUITES, Otp, runtime

Folders = dict[Otp, Path]
"""Each installation's folder with a CA, and for each host a certificate with its key, and options."""

OPTIONS = """
[{{server, [{{certfile, "{folder}/{own}"}}, {{cacertfile, "{folder}/ca"}},
            {{verify, verify_peer}}, {{fail_if_no_peer_cert, true}}]}},
 {{client, [{{certfile, "{folder}/{own}"}}, {{cacertfile, "{folder}/ca"}}, {{verify, verify_peer}}]}}].
"""
"""A node's -ssl_dist_optfile: OTP compares the far certificate with the host part of the name dialled."""


@contextmanager
def certificate_folders(hosts: Sequence[Machine]) -> Iterator[Folders]:
    """Make them."""
    authority = trustme.CA()
    certificates = {host.name: authority.issue_cert(host.name) for host in hosts}
    made: Folders = {}
    try:
        for otp in SUITES:
            root = runtime(otp).root
            folder = made[otp] = Path(tempfile.mkdtemp(prefix="tls-", dir=root / "tmp"))
            authority.cert_pem.write_to_path(folder / "ca")
            for name, certificate in certificates.items():
                certificate.private_key_and_cert_chain_pem.write_to_path(folder / name)
                options = OPTIONS.format(folder=runtime(otp).inside(folder), own=name)
                (folder / f"{name}.options").write_text(options)
        yield made
    finally:
        for folder in made.values():
            shutil.rmtree(folder)


@contextmanager
def tls_node(
    otp: Otp, host: Host, folders: Folders, alive: str = "app", *args: str, **env: str
) -> Iterator[Beam]:
    """Run a node that speaks TLS to other nodes, with its host's certificate."""
    with node(otp, host, alive, *tls_words(otp, host, folders), *args, **env) as beam:
        yield beam


def tls_words(otp: Otp, host: Machine, folders: Folders) -> tuple[str, ...]:
    """What has a node speak TLS with the certificate of a host: words for `erl`."""
    options = runtime(otp).inside(folders[otp] / f"{host.name}.options")
    return "-proto_dist", "inet_tls", "-ssl_dist_optfile", options
