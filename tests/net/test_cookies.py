"""Cookie files: what a node would take for its cookie, and nothing that others could read."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.errors import ConfigError
from epmdless.net.cookies import CookiePlace, read_cookie
from tests.support.process import run
from tests.support.tools import clean_env, require

SECRET = b"QXZWNIOMIWWZQLMIHDHT"

AS_A_NODE: dict[bytes, bytes | None] = {
    SECRET: SECRET,
    SECRET + b"\n": SECRET,
    SECRET + b"\r\n": SECRET,
    SECRET + b"\n\n \r\n  ": SECRET,
    SECRET + b" \n": SECRET + b" ",
    b" " + SECRET: b" " + SECRET,
    b"  ": b"  ",
    b"a \"b'~{}": b"a \"b'~{}",
    b"c" * 255: b"c" * 255,
    b"": None,
    b"\n": None,
    b"\n" + SECRET: None,
    SECRET + b"\nmore": None,
    SECRET + b"\t\n": None,
    SECRET + b"\0": None,
    SECRET + b"\x7f": None,
    b"caf\xc3\xa9": None,
    b"c" * 256: None,
}
"""What a file holds, and the cookie that a node reads from it; None: the node does not start with it."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cookie"
    path.write_bytes(SECRET + b"\n")
    path.chmod(0o400)
    return path


def refusal(path: Path | str) -> str:
    """Why a file is refused; the error says which, for which key, and nothing of what is in it."""
    with pytest.raises(ConfigError) as caught:
        read_cookie(str(path), "relay.route[0].cookie_far")
    assert (caught.value.source, caught.value.key) == (str(path), "relay.route[0].cookie_far")
    assert SECRET.decode() not in f"{caught.value} {caught.value!r}"
    assert caught.value.__cause__ is None
    return caught.value.problem


@pytest.mark.parametrize(("content", "cookie"), AS_A_NODE.items())
def test_a_cookie_is_what_a_node_would_read(tmp_path: Path, content: bytes, cookie: bytes | None) -> None:
    path = tmp_path / "cookie"
    path.write_bytes(content)
    path.chmod(0o600)
    if cookie is None:
        assert "cookie" in refusal(path)
    else:
        assert read_cookie(str(path), "") == cookie


@pytest.mark.interop
@pytest.mark.parametrize(("content", "cookie"), AS_A_NODE.items())
def test_a_node_reads_the_same(tmp_path: Path, content: bytes, cookie: bytes | None) -> None:
    path = tmp_path / ".erlang.cookie"
    path.write_bytes(content)
    path.chmod(0o400)
    said = "io:put_chars([atom_to_list(erlang:get_cookie()), $.]), halt()."
    flags = ["-noshell", "-sname", "a", "-start_epmd", "false", "-dist_listen", "false", "-eval", said]
    env = clean_env(HOME=str(tmp_path), ERL_CRASH_DUMP_SECONDS="0")  # no dump of a node that refuses to start
    finished = run([require("erl", "erlang-base"), *flags], env=env, within=30)
    assert (finished.status == 0) is (cookie is not None), finished.stderr
    if cookie is not None:
        assert finished.stdout == cookie.decode() + "."


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o420, 0o410, 0o401, 0o644, 0o666])
def test_a_file_that_others_can_reach_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    problem = refusal(file)
    assert "must be accessible by its owner only" in problem
    assert problem.endswith(f"its mode is {mode:o}")


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_file_that_only_its_owner_can_reach_is_read(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert read_cookie(str(file), "") == SECRET


def test_a_link_is_followed_to_a_file_that_is_checked(file: Path) -> None:
    link = file.parent / "link"
    link.symlink_to(file)
    assert read_cookie(str(link), "") == SECRET
    file.chmod(0o444)
    assert "must be accessible by its owner only" in refusal(link)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A pipe without a writer would hold up whoever opens it."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    tmp_path.chmod(0o700)
    assert refusal(tmp_path / "pipe") == "not a regular file"
    assert refusal(tmp_path) == "not a regular file"
    assert refusal("/dev/null") == "not a regular file"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone") == "cannot be read: No such file or directory"
    assert "null" in refusal(f"{tmp_path}/a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_we_may_not_read_is_refused(file: Path) -> None:
    file.chmod(0)
    assert refusal(file) == "cannot be read: Permission denied"


def test_a_large_file_is_no_cookie_file(file: Path) -> None:
    file.chmod(0o600)
    file.write_bytes(SECRET + b"\n" * (4096 - len(SECRET)))
    assert read_cookie(str(file), "") == SECRET
    file.write_bytes(SECRET + b"\n" * (4097 - len(SECRET)))
    assert "longer than 4096 bytes" in refusal(file)


def test_no_descriptor_is_left_open(file: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    read_cookie(str(file), "")
    refusal(file.parent)
    file.chmod(0o444)
    refusal(file)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@given(st.binary(max_size=300))
def test_any_content_is_a_cookie_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("cookie")
    path = folder / "cookie"
    path.touch(0o600)
    path.write_bytes(content)
    try:
        cookie = read_cookie(str(path), "key")
    except ConfigError:
        return
    finally:
        shutil.rmtree(folder)
    assert content.startswith(cookie)
    assert content[len(cookie) :].strip(b" \r\n") == b""
    assert 1 <= len(cookie) <= 255


def test_a_cookie_of_the_environment_is_read_as_one_of_a_file() -> None:
    place = CookiePlace(variable="RELEASE_COOKIE")
    assert place.read({"RELEASE_COOKIE": SECRET.decode()}, "cluster.") == SECRET


@pytest.mark.parametrize("content", [None, "", "\n", "se\ncret", "s" * 256, "se\udcffcret", "secr\xe9t"])
def test_what_the_environment_does_not_hold_is_said_and_what_it_holds_is_not(content: str | None) -> None:
    environ = {} if content is None else {"HUNTER2": content}
    with pytest.raises(ConfigError) as caught:
        CookiePlace(variable="HUNTER2").read(environ, "cluster.")
    assert caught.value.key == "cluster.cookie_variable"
    assert "HUNTER2" not in str(caught.value)
    assert not content or content not in str(caught.value)
