"""BEAM nodes, driven over their standard input and output.

    with Beam("otp25", "a@127.0.0.1", epmd_port=server.port) as node:
        assert node.eval("net_adm:ping('b@127.0.0.1').") == "pong"

A node runs a small loop: it reads a number and an expression, and prints the number and the result, the
texts in base64 so that no line of either can be mistaken for another.
"""

import base64
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.support.deadline import DeadlineError, eventually
from tests.support.process import Program
from tests.support.tools import clean_env, require
from tests.support.trees import HOST, Otp, runtime

Flavour = Otp | Literal["host", "elixir"]
"""A node of an OTP release; of the host's own, whichever that is; or the host's Elixir."""

BOOT_WITHIN = 20.0
EVAL_WITHIN = 15.0
"""Seconds: above the BEAM's own limits for a connection set-up (7 s) and a registration (10 s)."""

COOKIE = "interop"

ERLANG_LOOP = """
Say = fun(Number, Tag, Text) ->
    io:put_chars(["\\n@", Number, " ", Tag, " ", base64:encode(unicode:characters_to_binary(Text)), "\\n"])
end,
Shown = fun(Term) -> io_lib:format("~0tp", [Term]) end,
Run = fun(Source) ->
    {ok, Tokens, _} = erl_scan:string(Source),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, Value, _} = erl_eval:exprs(Expressions, erl_eval:new_bindings()),
    Value
end,
Loop = fun Next() ->
    case io:get_line("") of
        eof -> halt(0);
        {error, _} -> halt(1);
        Line ->
            [Number, Encoded] = string:lexemes(Line, " \\n"),
            try Run(unicode:characters_to_list(base64:decode(Encoded))) of
                Value -> Say(Number, "ok", Shown(Value))
            catch
                Class:Reason -> Say(Number, "error", Shown({Class, Reason}))
            end,
            Next()
    end
end,
Say("0", "ok", Shown(node())),
Loop().
"""

ELIXIR_LOOP = """
say = fn number, tag, text -> IO.write(["\\n@", number, " ", tag, " ", Base.encode64(text), "\\n"]) end
say.("0", "ok", inspect(node()))
for line <- IO.stream(:stdio, :line) do
  [number, encoded] = String.split(line)
  try do
    {value, _} = Code.eval_string(Base.decode64!(encoded))
    say.(number, "ok", inspect(value, limit: :infinity, printable_limit: :infinity))
  rescue
    error -> say.(number, "error", inspect(error))
  catch
    kind, reason -> say.(number, "error", inspect({kind, reason}))
  end
end
System.halt(0)
"""

RESULT = re.compile(r"^@(\d+) (ok|error) ([A-Za-z0-9+/=]*)\n", re.MULTILINE)
"""A whole line: what the node is writing at this moment may be cut anywhere."""


class BeamError(AssertionError):
    """An expression raised in the node, or the node did not answer."""


class Beam:
    """A running node. `eval` takes Erlang, or Elixir for the flavour "elixir"."""

    def __init__(
        self,
        flavour: Flavour,
        name: str | None,
        *,
        epmd_port: int,
        cookie: str = COOKIE,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        start_epmd: bool = False,
        prefix: Sequence[str] = (),
    ) -> None:
        """Start it, and wait until it is up.

        name: `alive@127.0.0.1`, or None for a node that is not distributed; `undefined` lets the first
        node that it connects to name it. args: more words for `erl`. start_epmd: let `erl` run an epmd
        before it boots. prefix: words in front of the command, which run it on another machine.
        """
        self.flavour = flavour
        self._runtime = HOST if flavour == "host" or flavour == "elixir" else runtime(flavour)
        self._home = Path(tempfile.mkdtemp(prefix="beam-", dir=self._runtime.root / "tmp"))
        self._asked = 0
        flags = list(args) if start_epmd else ["-start_epmd", "false", *args]
        argv = _elixir(name, cookie, flags) if flavour == "elixir" else self._erl(name, cookie, flags)
        extra = {"HOME": self._runtime.inside(self._home), "ERL_EPMD_PORT": str(epmd_port)}
        self.program = Program([*prefix, *argv], env=clean_env(**extra | dict(env or {})), stdin=True)
        try:
            self.name = self._result(0, BOOT_WITHIN).strip("':\"")
        except BaseException:
            self.close()
            raise

    def _erl(self, name: str | None, cookie: str, flags: Sequence[str]) -> list[str]:
        erl = [*self._runtime.prefix, "erl" if self._runtime.prefix else require("erl", "erlang-base")]
        named = ["-name", name, "-setcookie", cookie] if name else []
        return [*erl, "-noshell", *named, *flags, "-eval", ERLANG_LOOP]

    def eval(self, expression: str, within: float = EVAL_WITHIN) -> str:
        """Evaluate an expression in the node and return its value as the language prints it.

        An expression in Erlang ends with a full stop. Raises BeamError when it raises, or when it takes
        longer than `within` seconds.
        """
        return self._result(self._send(expression), within)

    def begin(self, expression: str) -> Callable[[], str]:
        """Let the node start to evaluate an expression; what is returned waits for its value, as `eval`."""
        number = self._send(expression)
        return lambda: self._result(number, EVAL_WITHIN)

    def _send(self, expression: str) -> int:
        self._asked += 1
        stdin = self.program.process.stdin
        assert stdin is not None
        encoded = base64.b64encode(expression.encode()).decode()
        try:
            stdin.write(f"{self._asked} {encoded}\n".encode())
        except BrokenPipeError:
            raise BeamError(f"the node is gone: {self.program.report()}") from None
        return self._asked

    def _result(self, number: int, within: float) -> str:
        try:
            tag, text = eventually(
                lambda: self._look(number), within=within, what=f"result {number} of {self.flavour}"
            )
        except DeadlineError as error:
            raise BeamError(f"{error}\n{self.program.report()}") from None
        if tag != "ok":
            raise BeamError(f"{text}\n{self.program.report()}")
        return text

    def _look(self, number: int) -> tuple[str, str] | None:
        for found, tag, encoded in RESULT.findall(self.program.stdout):
            if int(found) == number:
                return tag, base64.b64decode(encoded).decode()
        if self.program.ended:
            raise BeamError(f"the node ended: {self.program.report()}")
        return None

    def close(self) -> None:
        """End it, gently at first: the end of its input makes it halt."""
        stdin = self.program.process.stdin
        assert stdin is not None
        stdin.close()
        try:
            self.program.wait(5)
        except DeadlineError:
            self.program.kill()
        self.program.close()
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _elixir(name: str | None, cookie: str, flags: Sequence[str]) -> list[str]:
    named = ["--name", name, "--cookie", cookie] if name else []
    return [require("elixir"), *named, "--erl", " ".join(flags), "-e", ELIXIR_LOOP]


def fixed_port(port: int) -> list[str]:
    """Return the words that make a node listen for distribution on just this port."""
    return ["-kernel", "inet_dist_listen_min", str(port), "inet_dist_listen_max", str(port)]
