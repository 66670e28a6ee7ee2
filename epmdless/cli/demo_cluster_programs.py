"""The programs of ``epmdless demo cluster``: a server of ours that joins, and Erlang nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from epmdless.cli import show
from epmdless.cli.cluster_views import ClusterSample
from epmdless.cli.control import ControlClient
from epmdless.cli.demo_cluster_pages import HOST, PAGES
from epmdless.cli.demo_programs import write_cookie
from epmdless.cli.demo_running import OURS, Running, node_command
from epmdless.cli.demo_world import Here, free_port

Kind = Literal["file", "epmd"]
"""The source that names the nodes."""

SERVER = "server"

SMALL = ("+S", "1:1", "+SDcpu", "1:1", "+SDio", "1", "+A", "1", "+sbwt", "none")
"""A node of one thread that does not spin while it waits: many of them share this machine."""

LEAST_ROUND = 16
"""Pages of a round, or two for each node where that is more."""

WORKER_CODE = """
case code:ensure_loaded(crypto) of
    {module, crypto} -> io:put_chars("ready\\n"), io:get_line(""), halt();
    _ ->
        io:put_chars("this Erlang has no SHA-256: it lacks `crypto` (Debian package erlang-crypto)\\n"),
        halt(1)
end.
"""
"""A node has no code of ours: what it shall do comes as a fun. It ends when its standard input does."""

DRIVER_CODE = """
Fetch = fun(Number) ->
    {{ok, Socket}} = gen_tcp:connect({host}, {port}, [binary, {{active, false}}]),
    ok = gen_tcp:send(Socket, ["GET /", integer_to_list(Number), " HTTP/1.0\\r\\n\\r\\n"]),
    Read = fun Read(Before) ->
        case gen_tcp:recv(Socket, 0, 5000) of
            {{ok, Data}} -> Read([Before, Data]);
            {{error, closed}} -> iolist_to_binary(Before)
        end
    end,
    [_, Page] = binary:split(Read([]), <<"\\r\\n\\r\\n">>),
    gen_tcp:close(Socket),
    <<Digest:256>> = crypto:hash(sha256, Page),
    {{node(), Number, byte_size(Page), Digest}}
end,
Round = fun Round(First) ->
    Work = [fun() -> Fetch((First + N) rem {pages}) end || N <- lists:seq(1, {a_round})],
    Say = fun(Done) -> io:format("page ~s ~b ~b ~64.16.0b~n", tuple_to_list(Done)) end,
    case catch rpc:pmap({{erlang, apply}}, [[]], Work) of
        Pages when is_list(Pages) -> lists:foreach(Say, Pages);
        _ -> io:put_chars("a round failed\\n")
    end,
    timer:sleep(250),
    Round((First + {a_round}) rem {pages})
end,
spawn(fun() -> Round(0) end),
"""
"""Rounds of ``rpc:pmap`` over this node and all that it is connected to: fetch a page and hash it."""


class ClusterPrograms:
    """All programs of the demonstration; :meth:`close` ends them, the last one first.

    :param folder: for their files, of ours alone.
    :param erl: the path of ``erl``.
    :param count: nodes.
    :param source: what names them.
    :param page_port: where pages are served.
    :ivar nodes: their names; the first has the others work.
    """

    def __init__(self, folder: Path, erl: str, count: int, source: Kind, page_port: int) -> None:
        with ExitStack() as held:
            self._epmd_port = free_port((HOST,), held)
        self.running = Running(folder, self._epmd_port)
        self.nodes = tuple(f"n{number}@{HOST}" for number in range(1, count + 1))
        self.control_path = folder / "control.sock"
        self.source = source
        self._folder = folder
        self._erl = erl
        self._page_port = page_port
        self._config = folder / "epmdless.toml"
        self._names = folder / "nodes.txt"
        self._started = 0
        self._named = 0
        self._read = 0

    def start(self) -> None:
        """Start the server.

        :raises EpmdlessError: it ended, or is too slow.
        """
        self.write_files()
        self.running.start(SERVER, Here(), [*OURS, "serve", "--config", str(self._config)])
        self.running.wait(SERVER, self.cluster)

    def write_files(self) -> None:
        """Write the server's configuration, the cookie, and a file that names nobody yet."""
        write_cookie(self._folder)
        self._name(0)
        self._config.write_text(show.toml(self._configuration()))

    def cluster(self) -> ClusterSample:
        """How the cluster is.

        :raises EpmdlessError: the server does not say.
        """
        return ControlClient([self.control_path]).cluster().sample

    def grow(self) -> bool:
        """Go a step on: name a node that has come up, and start the next.

        :returns: whether there was a step to go.
        :raises EpmdlessError: a program ended.
        """
        self.running.check()
        before = self._named, self._started
        if self._named < self._started and self.running.said_ready(self.nodes[self._named]):
            self._name(self._named + 1)
        if self._started < len(self.nodes) and self._started == self._named:
            self._start_node(self.nodes[self._started])
            self._started += 1
        return before != (self._named, self._started)

    def lines(self) -> list[str]:
        """What the first node has said since the last look, in whole lines."""
        log = self.running.log(self.nodes[0])
        if not log.exists():
            return []
        with log.open("rb") as file:
            file.seek(self._read)
            *lines, _ = re.split(rb"(?<=\n)", file.read()) or [b""]
        self._read += sum(map(len, lines))
        return [line.decode(errors="replace") for line in lines]

    def close(self) -> None:
        """End them all."""
        self.running.close()

    def _configuration(self) -> Mapping[str, Any]:
        sources: dict[Kind, dict[str, Any]] = {
            "file": {"kind": "file", "path": str(self._names)},
            "epmd": {"kind": "epmd", "hosts": [HOST], "port": self._epmd_port, "poll": "1s"},
        }
        return {
            "epmd": {"listen": [f"{HOST}:{self._epmd_port}"]},
            "control": {"socket": str(self.control_path)},
            "cluster": {
                "cookie_file": str(self._folder / ".erlang.cookie"),
                "source": {self.source: sources[self.source]},
            },
        }

    def _name(self, count: int) -> None:
        """Let the file name so many nodes. It is put in place whole: somebody watches."""
        self._named = count
        new = self._names.with_suffix(".new")
        new.write_text("".join(f"{node}\n" for node in self.nodes[:count]))
        new.replace(self._names)

    def _start_node(self, node: str) -> None:
        code = WORKER_CODE
        if node == self.nodes[0]:
            a_round = max(LEAST_ROUND, 2 * len(self.nodes))
            host = f"{{{HOST.replace('.', ',')}}}"
            code = DRIVER_CODE.format(host=host, port=self._page_port, pages=PAGES, a_round=a_round) + code
        self.running.start(node, Here(), node_command(self._erl, node, HOST, *SMALL, "-eval", code))
