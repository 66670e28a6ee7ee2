"""A configuration of the cluster with all that belongs to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from epmdless.cluster.encryption import load_node_context
from epmdless.cluster.groups import Group, Groups, common_cookie
from epmdless.cluster.local_node import belongs
from epmdless.cluster.peers import Source
from epmdless.cluster.sources.build import Dated, Surroundings, build
from epmdless.cluster.users import Users
from epmdless.config import ClusterSection, SourceSection
from epmdless.net.tls.contexts import Certificates, TlsFiles
from epmdless.net.tls.keeper import load_certificates
from epmdless.rules import Glob


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration of the cluster that was checked, and is not in force yet.

    :ivar nodes: which registered nodes are joined.
    :ivar users: whose processes may be nodes.
    :ivar sources: by name; those whose section is the running one's are not made anew, unless what they were
        made with besides, as a secret in a file, has changed.
    :ivar certificates: for TLS with nodes; None: without it.
    """

    section: ClusterSection
    groups: Groups
    nodes: tuple[Glob, ...]
    users: Users
    sources: Mapping[str, tuple[SourceSection, Source]]
    certificates: Certificates | None = None

    def group_of(self, node: str) -> Group | None:
        """The group of a local node; None: it is not to be joined.

        :param node: its whole name.
        """
        if node not in self.section.named and not belongs(node, self.nodes):
            return None
        return self.groups.group_of(node)


def prepare(
    section: ClusterSection,
    around: Surroundings,
    file: str,
    running: Mapping[str, tuple[SourceSection, Source]],
) -> Prepared | None:
    """Load what a configuration names. Blocks as long as reading small files takes.

    :param file: the configuration's file, for errors.
    :param running: the sources that run now.
    :returns: None where there is no source, and so nothing to do.
    :raises ConfigError: a file is not what it must be, or a source cannot be made.
    """
    if not section.source:
        return None
    groups = Groups.of(section)
    common = common_cookie(section)
    if any(common):
        common.read(around.environ, "cluster.")
    for group in groups.all:
        if group.cookie != common:
            group.cookie.read(around.environ, f"cluster.group.{group.name}.")
    users = Users(section.users, file)
    certificates = _certificates(section, file)
    sources = {}
    for name, wanted in section.source.items():
        kept = running.get(name)
        if kept is None or kept[0] != wanted or not _is_up_to_date(kept[1], around):
            kept = wanted, build(name, wanted, around, file)
        sources[name] = kept
    nodes = tuple(map(Glob, section.nodes))
    return Prepared(section, groups, nodes, users, sources, certificates)


def _is_up_to_date(source: Source, around: Surroundings) -> bool:
    return not isinstance(source, Dated) or source.is_up_to_date(around)


def _certificates(section: ClusterSection, file: str) -> Certificates | None:
    if (tls := section.tls) is None:
        return None
    files = TlsFiles(tls.cert, tls.key, tls.ca, tls.min_version)
    return load_certificates(files, "cluster.tls", load_node_context, file)
