"""boot.conf: what is written is what is meant, or an error that names it."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot.errors import ConfigurationError, HostError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import config
from ocp_tuned_boot.requested.config import Config


def parse(text: str) -> Config:
    return config.parse([("x.conf", text)])


def test_the_defaults() -> None:
    assert parse("") == config.parse([])
    assert parse("").timeout == 90
    assert parse("").socket == Path("/run/ocp-tuned-boot/podman-shared.sock")
    earlier = "[podman]\nsocket = /run/ocp-tuned-boot/podman.sock\n"
    assert parse(earlier).socket == parse("").socket


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("[tuning]\nimage = localhost/a:b\n", "image", "localhost/a:b"),
        ("[tuning]\nimage = ''\n", "image", ""),
        ("[tuning]\nprofile = 'a-b'\n", "profile", "a-b"),
        ('[tuning]\nprofile = "a-b" # why\n', "profile", "a-b"),
        ("[tuning]\ncontract = operand\n", "contract", "operand"),
        ("[tuning]\ntimeout = 5\n", "timeout", 5.0),
        ("[tuning]\ntimeout = 3600\n", "timeout", 3600.0),
        ("[tuning]\ntuned_timeout=1.5\n", "tuned_timeout", 1.5),
        ("[tuning]\ngate = closed\n", "gate", "closed"),
        (
            "[tuning]\naccept = overridden:vm.*, script-failed:/a/b.sh,\n",
            "accept",
            (("overridden", "vm.*"), ("script-failed", "/a/b.sh")),
        ),
        ("[podman]\nsocket = /a b/%c,$d.sock\n", "socket", Path("/a b/%c,$d.sock")),
        ("[podman]\nsocket = /%(a)s/${b}/%%\n", "socket", Path("/%(a)s/${b}/%%")),
    ],
)
def test_a_key(text: str, key: str, value: object) -> None:
    assert getattr(parse(text), key) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tuning]\ntimeout = 4\n", "[tuning] timeout: found '4', expected a number of seconds"),
        ("[tuning]\ntimeout = 3601\n", "[tuning] timeout: found '3601', expected a number of"),
        ("[tuning]\ntimeout = soon\n", "[tuning] timeout: found 'soon', expected a number of"),
        ("[tuning]\ntimeout = nan\n", "[tuning] timeout: found 'nan', expected a number of"),
        ("[tuning]\ntimeout =\n", "[tuning] timeout: found '', expected a number of seconds"),
        ("[tuning]\ntuned_timeout = 0\n", "[tuning] tuned_timeout: found '0', expected a number"),
        ("[tuning]\ncontract = x\n", "[tuning] contract: found 'x', expected \"tuned\" or"),
        ("[tuning]\nimage = a b\n", "[tuning] image: found 'a b', expected an image reference"),
        ("[tuning]\nprofile = ../x\n", "[tuning] profile: found '../x', expected a profile name"),
        ("[tuning]\ngate = ajar\n", '[tuning] gate: found \'ajar\', expected "open" or "closed"'),
        ("[tuning]\naccept = vm.x\n", "[tuning] accept: found 'vm.x', expected <kind>:<subject>"),
        (
            "[tuning]\naccept = overridden\n",
            "[tuning] accept: found 'overridden', expected <kind>:",
        ),
        ("[tuning]\naccept = *:vm.x\n", "[tuning] accept: found '*:vm.x', expected <kind>:"),
        ("[tuning]\naccept = error:tuned.*\n", "[tuning] accept: found 'error:tuned.*', expected"),
        ("[tuning]\naccept = timeout:x\n", "[tuning] accept: found 'timeout:x', expected <kind>"),
        (
            "[tuning]\naccept = overridden:*\n",
            "[tuning] accept: found 'overridden:*', expected a subject that is more than wildcards",
        ),
        ("[tuning]\naccept = overridden:\n", "[tuning] accept: found 'overridden:', expected a"),
        ("[podman]\nsocket = x.sock\n", "[podman] socket: found 'x.sock', expected the absolute"),
        (
            "[image]\nkeep = 0\n",
            "[image] keep: found '0', expected a number of images from 1 to 20",
        ),
        ("[image]\nstore = mine\n", '[image] store: found \'mine\', expected "shared" or "own"'),
        (
            "[tuning]\ntimeuot = 1\n",
            "[tuning]: found the key 'timeuot' (did you mean timeout?), expected a key",
        ),
        (
            "[tuning]\non_change = never\n",
            '[tuning] on_change: found \'never\', expected "next-boot", "apply" or "agent"',
        ),
        ("[tuning]\nlate = never\n", '[tuning] late: found \'never\', expected "apply" or "defer"'),
        (
            "[handover]\nfiles = /a, b\n",
            "[handover] files: found 'b', expected a comma-separated list of absolute paths",
        ),
        ("[handover]\nfiles = /a/../b\n", "[handover] files: found '/a/../b', expected a comma"),
        ("[handover]\nsysctls = /proc/x\n", "[handover] sysctls: found '/proc/x', expected a"),
        ("[handover]\nsysctls = a\n", "[handover] sysctls: found 'a', expected a comma-sep"),
        ("[handover]\nsysctl_d = 1\n", '[handover] sysctl_d: found \'1\', expected "yes" or "no"'),
        (
            "[other]\n",
            "found the section [other], expected one of [tuning], [handover], [image], [podman]",
        ),
        ("timeout = 10\n", "found the key 'timeout' before any section, expected one of"),
        ("[tuning]\n[[deep]]\n", "[tuning]: found the section 'deep', expected one of"),
        ("[tuning]\n[[timeout]]\n", "[tuning]: found the section 'timeout', expected one of the"),
        ("[tuning\n", "line 1: found '[tuning', expected '[section]' or 'key = value'"),
        ("[tuning]\nimage\n", "line 2: found 'image', expected '[section]' or 'key = value'"),
        ("[tuning]\nimage\nprofile\n", "line 2: found 'image', expected '[section]' or 'key ="),
        (
            "[tuning]\ntimeout=10\ntimeout=20\n",
            "line 3: found the key 'timeout' twice in a section",
        ),
        ("[tuning]\n[tuning]\n", "line 2: found the section [tuning] twice, expected it once"),
        ("[tuning]\nimage = 'torn\n", "line 2: found \"image = 'torn\", expected '[section]' or"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    found = caught.value.message
    if message.startswith("["):
        found = re.sub(r"\Ax\.conf: line \d+: ", "x.conf: ", found)
    assert found.startswith(f"x.conf: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # The same key of another section, and in a comment, is not meant.
        ("[image]\n# gaet = open\nkeep = 2\n\n[tuning] # us\n'gaet' = open\n",
         "x.conf: line 6: [tuning]: found the key 'gaet' (did you mean gate?), expected a key"),
        ("[tuning]\nkeep = 3\n[image]\nkeep = 3\n",
         "x.conf: line 2: [tuning]: found the key 'keep', expected one of "),
        ("[tuning]\n\ngate: closed = ajar\n", "x.conf: line 3: [tuning]: found the key 'gate: "),
        ("[ tuning ]\ngate = ajar\n", "x.conf: line 2: [tuning] gate: found 'ajar', expected "),
    ],
)  # fmt: skip
def test_what_is_wrong_has_its_line(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert caught.value.message.startswith(message)


@given(st.text(alphabet=st.sampled_from("[]tuning=profe '\"#\n,;%${}é\0"), max_size=40))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    refusal = "x.conf: "
    try:
        parse(text)
    except ConfigurationError as error:
        refusal = error.message
    assert refusal.startswith("x.conf: ")


@given(st.binary(max_size=30))
def test_any_value_is_taken_as_it_stands_or_refused(data: bytes) -> None:
    value = "/" + data.decode("latin-1").replace("\n", "").replace("\r", "")
    try:
        assert str(parse(f"[podman]\nsocket = {value}\n").socket) in (value, str(Path(value)))
    except (ConfigurationError, AssertionError):
        assert set(value) & set("#'\"\x0b\x0c\x1c\x1d\x1e\x85 \t\xa0\x1f")


def test_a_number_sign_begins_a_comment_except_in_quotes() -> None:
    said = "# at the start\n[tuning] # after a section\naccept = {} # after a value\n"
    for value, subject in (("overridden:a#b", "a"), ("'overridden:a#b'", "a#b"),
                           ('"overridden:a#b"', "a#b")):  # fmt: skip
        assert parse(said.format(value)).accept == (("overridden", subject),)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A host whose vendor file says 11, and whose admin may say more."""
    paths = Paths(tmp_path)
    paths.vendor_conf.parent.mkdir(parents=True)
    paths.admin_conf.with_name("boot.conf.d").mkdir(parents=True)
    paths.vendor_conf.write_text("[tuning]\ntimeout = 11\ntuned_timeout = 11\nprofile = vendor\n")
    return paths


def test_later_files_win_key_by_key(paths: Paths) -> None:
    assert config.load(paths).timeout == 11
    paths.admin_conf.write_text("[tuning]\ntimeout = 12\nprofile = admin\n")
    assert config.load(paths).timeout == 12
    drop_ins = paths.admin_conf.with_name("boot.conf.d")
    (drop_ins / "20-b.conf").write_text("[tuning]\ntimeout = 14\n")
    (drop_ins / "10-a.conf").write_text("[tuning]\ntimeout = 13\n[podman]\nsocket = /a\n")
    (drop_ins / "30-c.conf.bak").write_text("broken [")
    found = config.load(paths)
    assert (found.timeout, found.tuned_timeout, found.profile) == (14, 11, "admin")
    assert found.socket == Path("/a")


def test_what_systemd_takes_for_no_drop_in_is_none(paths: Paths) -> None:
    """conf_files_list() in systemd's src/basic/conf-files.c."""
    drop_ins = paths.admin_conf.with_name("boot.conf.d")
    site = drop_ins / "10-site.conf"
    site.write_text("[tuning]\ntimeout = 13\n")
    for name in (".10-site.conf.swp", ".hidden.conf", "10-site.conf~", "20-new.conf.rpmnew"):
        (drop_ins / name).write_text("broken [")
    # Emacs' lock.
    (drop_ins / ".#10-site.conf").symlink_to("admin@node.1234:5678")
    (drop_ins / "folder.conf").mkdir()
    os.mkfifo(drop_ins / "fifo.conf")
    (drop_ins / "masked.conf").symlink_to("/dev/null")
    assert config.names(paths, None)[2:] == [site]
    assert config.load(paths).timeout == 13
    # An admin's mistake is named.
    for name, target in (("nowhere.conf", "nowhere"), ("circle.conf", "circle.conf")):
        (drop_ins / name).symlink_to(target)
        with pytest.raises(HostError, match=f"cannot read {drop_ins}/{name}: "):
            config.load(paths)
        (drop_ins / name).unlink()


def test_a_broken_file_is_named_even_if_a_later_one_would_win(paths: Paths) -> None:
    paths.admin_conf.write_text("[tuning]\ntimeout = soon\n")
    (paths.admin_conf.with_name("boot.conf.d") / "a.conf").write_text("[tuning]\ntimeout = 13\n")
    with pytest.raises(ConfigurationError, match=f"{paths.admin_conf}: "):
        config.load(paths)


def test_a_file_that_is_named_is_the_only_one(paths: Paths, tmp_path: Path) -> None:
    override = tmp_path / "mine"
    with pytest.raises(ConfigurationError, match=f"{override}: there is no such file"):
        config.load(paths, override)
    override.write_text("[tuning]\ntuned_timeout = 5\n")
    found = config.load(paths, override)
    assert (found.timeout, found.tuned_timeout) == (90, 5)


def test_a_link_to_where_boot_conf_is_managed_is_followed(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "managed").write_text("[tuning]\ntimeout = 12\n")
    paths.admin_conf.symlink_to(tmp_path / "managed")
    assert config.load(paths).timeout == 12
    (tmp_path / "managed").unlink()
    with pytest.raises(HostError, match=f"cannot read {paths.admin_conf}: No such file"):
        config.load(paths)


def test_a_closed_gate_stays_closed_when_a_file_is_broken(paths: Paths) -> None:
    assert config.gate(paths) == "open"
    paths.admin_conf.write_text("[tuning\n")
    assert config.gate(paths) == "open"
    paths.admin_conf.write_text("[tuning]\n gate = 'closed'\n")
    assert config.gate(paths) == "closed"
    drop_in = paths.admin_conf.with_name("boot.conf.d") / "a.conf"
    drop_in.write_text("[tuning\n")
    assert config.gate(paths) == "closed"
    drop_in.write_text("[tuning]\ntimeout = soon\ngate = open\n")
    assert config.gate(paths) == "open"
    assert config.gate(paths, paths.admin_conf) == "closed"


def test_the_gate_does_not_wait_for_the_writer_of_a_fifo(paths: Paths) -> None:
    os.mkfifo(paths.admin_conf)
    with pytest.raises(HostError, match="it is not a regular file"):
        config.load(paths)

    def waited(*_: object) -> None:
        raise AssertionError("it waits")

    earlier = signal.signal(signal.SIGALRM, waited)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        assert config.gate(paths) == "open"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


def test_a_file_that_is_no_text_is_named_with_its_line(paths: Paths) -> None:
    paths.admin_conf.write_bytes(b"[tuning]\nprofile = \xff\n")
    with pytest.raises(ConfigurationError) as caught:
        config.load(paths)
    words = f"{paths.admin_conf}: line 2: found a byte that is not UTF-8, expected text"
    assert caught.value.message == words


def test_the_hand_over_list() -> None:
    said = "[handover]\nfiles = /a/*, /b.c\nsysctls = net.ipv4.conf.*.x, a/b\nsysctl_d = no\n"
    found = config.parse([("x", said)]).handover
    assert found == config.Owners(("/a/*", "/b.c"), ("net.ipv4.conf.*.x", "a/b"), False)
    nothing = config.parse([("x", "[handover]\nfiles =\nsysctls = \nsysctl_d = no\n")]).handover
    assert nothing == config.Owners((), (), False)
    default = config.parse([]).handover
    assert "/etc/sysconfig/irqbalance" in default.files
    assert "net.ipv4.ip_forward" in default.sysctls
    assert default.sysctl_d
