"""Each rendered file, judged by the program that will read it."""

import sys
from pathlib import Path

import pytest

from epmdless.render import values
from tests.render.forms import FORMS, SHOP, config_texts, documents
from tests.support.namespaces import require_namespaces
from tests.support.process import run
from tests.support.tools import clean_env, require

pytestmark = pytest.mark.interop

UNITS = Path(__file__).parent.parent.parent / "systemd"


def forms(what: str) -> list[str]:
    return [name for name in FORMS if name.split()[0] == what]


def saved(name: str, folder: Path) -> Path:
    """A form in a file."""
    path = folder / name.replace(" ", "")
    path.write_text(FORMS[name](SHOP))
    return path


@pytest.mark.parametrize("name", forms("kubernetes"))
def test_kubernetes_knows_every_field(name: str) -> None:
    import kubernetes_validate

    manifest = documents(FORMS[name](SHOP))
    for document in manifest:
        kubernetes_validate.validate(document, "1.30", strict=True)
    assert len(manifest) == (10 if "relay" in name else 7)


def test_kubernetes_schemas_see_a_field_that_is_unknown() -> None:
    import kubernetes_validate

    (service, *_) = (each for each in documents(FORMS["kubernetes"](SHOP)) if each["kind"] == "Service")
    service["spec"]["publishUnready"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, "1.30", strict=True)


def test_cloudformation_templates_have_no_fault(tmp_path: Path) -> None:
    paths = [saved(name, tmp_path) for name in forms("fargate-cloudformation")]
    for path in paths:
        path.rename(path.with_suffix(".yaml"))
    linter = Path(sys.executable).parent / "cfn-lint"
    checked = run([linter, *(path.with_suffix(".yaml") for path in paths)], within=60, env=clean_env())
    assert (checked.status, checked.stdout) == (0, "")


@pytest.mark.parametrize("name", forms("compose"))
def test_compose_reads_what_was_meant(name: str, tmp_path: Path) -> None:
    """It asks no engine; the variable that the header has the operator set is wanted."""
    compose = require("docker-compose")
    argv: list[str | Path] = [compose, "--file", saved(name, tmp_path), "config"]
    without = run(argv, env=clean_env())
    assert without.status != 0
    assert "the cookie of all nodes" in without.stderr
    read = run(argv, env=clean_env(RELEASE_COOKIE="secret"))
    assert read.status == 0, read.stderr
    (file,) = documents(read.stdout)
    (written,) = documents(FORMS[name](SHOP))
    assert file["services"].keys() == written["services"].keys()
    assert file["services"]["shop"]["entrypoint"] == written["services"]["shop"]["entrypoint"]
    assert file["services"]["shop"]["environment"]["RELEASE_COOKIE"] == "secret"
    toml = config_texts(name, read.stdout)
    assert sorted(toml) == sorted(config_texts(name, FORMS[name](SHOP)))


@pytest.mark.parametrize("name", forms("nftables"))
def test_nftables_takes_the_rules_twice(name: str, tmp_path: Path) -> None:
    """The second time they take the place of the first."""
    unshare = require_namespaces()
    nft = require("nft", "nftables")
    rules = saved(name, tmp_path)
    twice = (
        f"{nft} --check --file {rules} && {nft} --file {rules} && {nft} --file {rules} && {nft} list ruleset"
    )
    taken = run([unshare, "--net", "sh", "-c", twice], env=clean_env())
    assert (taken.status, taken.stderr) == (0, "")
    assert taken.stdout.count("table inet epmdless") == 1
    assert taken.stdout.count("reject with tcp reset") == (2 if "relay" in name else 1)


PRELUDE = """
set -eu
mount -t tmpfs tmpfs /mnt
for dir in etc run; do
    mkdir -p /mnt/$dir/upper /mnt/$dir/work
    mount -t overlay overlay -o lowerdir=/$dir,upperdir=/mnt/$dir/upper,workdir=/mnt/$dir/work /$dir
done
mkdir -p /mnt/opt /mnt/bin
mount --bind /mnt/opt /opt
mkdir -p /opt/epmdless/bin /opt/shop/bin
ln -s /bin/true /opt/epmdless/bin/epmdless
ln -s /bin/true /opt/shop/bin/shop
mkdir -p /etc/epmdless/tls
(umask 077; : >/etc/epmdless/tls/relay.key)
cp "$UNITS"/epmdless.* /etc/systemd/system/
cat >/mnt/bin/systemctl <<'END'
#!/bin/sh
echo "systemctl $*"
END
chmod +x /mnt/bin/systemctl
export PATH=/mnt/bin:$PATH SYSTEMD_OFFLINE=1
"""

LOOKED_AT = """
for path in /etc/epmdless/tls /etc/epmdless /etc/shop; do
    stat --format "%n %a %U" "$path"/* 2>/dev/null || true
done
cat /etc/shop/cookie.env 2>/dev/null || true
"""


@pytest.mark.parametrize("name", forms("systemd"))
def test_a_script_sets_a_host_up_and_its_units_have_no_fault(name: str, tmp_path: Path) -> None:
    """Run twice, in copies of /etc and /opt that go with it."""
    unshare = require_namespaces()
    verify = require("systemd-analyze", "systemd")
    script = saved(name, tmp_path)
    units = "epmdless.service epmdless.socket" + ("" if "relay" in name else " shop.service")
    check = "".join(f"{verify} verify /etc/systemd/system/{unit}\n" for unit in units.split())
    steps = f"{PRELUDE}\nsh {script}\nsh {script}\n{check}{LOOKED_AT}"
    env = clean_env(COOKIE="MY-cookie_1+/.==", UNITS=str(UNITS))
    done = run([unshare, "--mount", "sh", "-c", steps], env=env, within=60)
    assert (done.status, done.stderr) == (0, "")
    assert "/etc/epmdless/epmdless.toml 644 root\n" in done.stdout
    if "relay" not in name:
        assert "/etc/epmdless/cookie 400 epmdless\n" in done.stdout
        assert "/etc/shop/cookie.env 400 root\n" in done.stdout
        assert done.stdout.endswith("RELEASE_COOKIE=MY-cookie_1+/.==\n")
        assert done.stdout.count("systemctl restart shop.service\n") == 2
    assert done.stdout.count("systemctl daemon-reload\n") == 2
    owner = "epmdless" if "gateway" in name else "root"
    assert f"/etc/epmdless/tls/relay.key 600 {owner}\n" in done.stdout


@pytest.mark.parametrize("cookie", [{}, {"COOKIE": ""}, {"COOKIE": "a b"}, {"COOKIE": 'a"b'}])
def test_a_script_without_a_good_cookie_changes_nothing(cookie: dict[str, str], tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path), **cookie}  # nothing that it could change anything with
    done = run(["/bin/sh", saved("systemd", tmp_path)], env=env)
    assert done.status == 2
    (line,) = done.stderr.splitlines()
    assert "COOKIE" in line


def test_a_script_leaves_another_programs_unit_alone(tmp_path: Path) -> None:
    require("systemd-analyze", "systemd")
    script = tmp_path / "script"
    script.write_text(FORMS["systemd"](values.node("systemd-journald", 9001)))
    done = run(["/bin/sh", script], env={"PATH": str(tmp_path), "COOKIE": "good"})
    assert done.status == 2
    (line,) = done.stderr.splitlines()
    assert "systemd-journald.service is another program's" in line


def test_a_shell_takes_env_sh_and_fails_where_epmdless_fails(tmp_path: Path) -> None:
    path = saved("env.sh", tmp_path)
    epmdless = tmp_path / "epmdless"
    epmdless.write_text("#!/bin/sh\necho \"export RELEASE_NODE='$2-$5@b1'\"\n".replace("$2-$5", "$3-$5"))
    epmdless.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = run(["/bin/sh", "-c", f'. {path}; echo "$RELEASE_NODE"'], env=env)
    assert (done.status, done.stdout, done.stderr) == (0, "shop-9001@b1\n", "")
    epmdless.write_text("#!/bin/sh\necho 'export RELEASE_NODE=half'\nexit 2\n")
    done = run(["/bin/sh", "-c", f". {path}; echo started"], env=env)
    assert (done.status, done.stdout) == (2, "")


@pytest.mark.parametrize("name", ["env.sh", *forms("systemd")])
def test_shellcheck_finds_nothing(name: str, tmp_path: Path) -> None:
    shellcheck = require("shellcheck")
    checked = run([shellcheck, "--shell=sh", saved(name, tmp_path)], env=clean_env(), within=60)
    assert (checked.status, checked.stdout) == (0, "")


def test_a_node_takes_vm_args(tmp_path: Path) -> None:
    """Its name is given beside the file; the flags are there, and no epmd is started."""
    erl = require("erl", "erlang-base")
    path = saved("vm.args", tmp_path)
    ask = (
        "io:format('~0p ~0p ~0p', [application:get_env(kernel, inet_dist_listen_min),"
        " application:get_env(kernel, inet_dist_listen_max), init:get_argument(start_epmd)]), halt()."
    )
    asked = run([erl, "-noshell", "-args_file", path, "-eval", ask], env=clean_env(HOME=str(tmp_path)))
    assert asked.stdout == '{ok,9001} {ok,9001} {ok,[["false"]]}'


def test_a_node_takes_inetrc(tmp_path: Path) -> None:
    erl = require("erl", "erlang-base")
    path = saved("inetrc", tmp_path)
    ask = (
        "io:format('~0p ~0p', [inet:getaddr(\"b1.az-b.internal\", inet),"
        ' inet:getaddr("b2.az-b.internal", inet6)]), halt().'
    )
    env = clean_env(ERL_INETRC=str(path), HOME=str(tmp_path))
    asked = run([erl, "-noshell", "-eval", ask], env=env)
    assert asked.stdout == "{ok,{10,0,1,11}} {ok,{64768,1,0,0,0,0,0,18}}"
