"""The archive for a support case: everything is in it but secrets, and it is written whatever is
broken. What a secret looks like is tested in test_redaction.py."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ocp_tuned_boot.commands import gather
from ocp_tuned_boot.commands.gather import COMMANDS, PODMAN
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.program import Printed
from ocp_tuned_boot.record import history, store
from ocp_tuned_boot.record.model import InForce, Record, Value
from ocp_tuned_boot.requested import lastgood
from ocp_tuned_boot.requested.lastgood import LastProfile
from ocp_tuned_boot.settings import residue, values
from ocp_tuned_boot.settings.residue import Saved, Settings
from ocp_tuned_boot.tuned.findings import make
from ocp_tuned_boot.tuned.judge import Result
from ocp_tuned_boot.tuned.profilefile import ProfileFile
from tests.unit.fake_podman import listening, reply
from tests.unit.patience import PATIENCE, no_hang

BOOT = "11111111-2222-4333-8444-555555555555"
#: One is in a URL and in base64, one only the word before it gives away, one is known only from
#: the file of the kubelet.
KNOWN, NAMED, ALONE = "Kn0wn-hunter2", "N4med-hunter3", "Al0ne-hunter4"
AUTH = base64.b64encode(f"admin:{KNOWN}".encode()).decode()
ROBOT = base64.b64encode(f"robot:{ALONE}".encode()).decode()
SECRETS = (KNOWN, NAMED, ALONE, AUTH, ROBOT)
DIRTY = f"fine here\n# the password is {NAMED}\nand {KNOWN} alone, {ALONE} too\n"
CREDENTIALS = {"auths": {"r.example": {"auth": AUTH}, "other.example": {"auth": ROBOT}}}
SECRET_SYSCTL = "/proc/sys/net/ipv6/conf/all/stable_secret"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A node on which every file that is gathered has secrets in it."""
    paths = Paths(tmp_path)
    profile = "var/lib/ocp-tuned/profiles/site"
    for name, text in {
        "proc/sys/kernel/random/boot_id": f"{BOOT}\n",
        "proc/cmdline": f"quiet rd.iscsi.password={NAMED} nohz=on proxy=http://u:{KNOWN}@p:1 end\n",
        SECRET_SYSCTL[1:]: f"{NAMED}\n",
        "proc/sys/vm/swappiness": "7\n",
        "var/lib/kubelet/config.json": json.dumps(CREDENTIALS),
        "var/lib/ocp-tuned/image.env": f"NTO_IMAGE=u:{NAMED}@r.example/tuned\n",
        "var/lib/ocp-tuned/recommend.d/50-openshift.conf": f"[site]\n{DIRTY}",
        "var/lib/ocp-tuned/provider": DIRTY,
        f"{profile}/tuned.conf": f"[sysctl]\nvm.swappiness=7\n{DIRTY}",
        f"{profile}/script.sh": f"#!/bin/sh\ncurl -u admin:{NAMED} https://x\n",
        f"{profile}/{KNOWN}.conf": DIRTY,
        f"{profile}/auth.json": DIRTY,
        f"{profile}/binary": f"\0{NAMED}",
        "var/lib/ocp-tuned/next/image.env": DIRTY,
        "usr/lib/ocp-tuned-boot/boot.conf": "[tuning]\n",
        "etc/ocp-tuned-boot/boot.conf": f"[tuning]\n# registry password: {NAMED}\nprofile = x\n",
        "etc/ocp-tuned-boot/boot.conf.d/10-site.conf": f"[tuning]\n# {AUTH}\ntimeout = 30\n",
        "etc/mco/proxy.env": f"HTTPS_PROXY=http://u:{NAMED}@proxy:3128\nNO_PROXY=.svc\n",
        "etc/containers/registries.conf": DIRTY,
        "etc/os-release": "ID=lab\n",
        "run/ocp-tuned-boot/tuned.log": DIRTY,
        "run/ocp-tuned-boot/container.log": DIRTY,
        "var/lib/ocp-tuned-boot/tmp/shared/auth.json": AUTH,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / profile / f"{ALONE}-link").symlink_to("/etc")
    found = (make("script-failed", "x", f"it said: token={NAMED}, {KNOWN}"),)
    value = Value("net.ipv6.conf.all.stable_secret", "different", NAMED, NAMED, path=SECRET_SYSCTL)
    applied = InForce(BOOT, Result.DEGRADED, "site", "i", "id", "f", "2026", found)
    done = Record(Result.DEGRADED, "2026", BOOT, "apply", findings=found, in_force=applied)
    done = replace(done, values=(value,), profile="site", image=f"https://u:{NAMED}@r/t")
    store.write(paths, done)
    history.add(paths, done)
    saved = {SECRET_SYSCTL: Saved(NAMED, NAMED), "/proc/sys/vm/swappiness": Saved("60", "7")}
    residue.store(paths, Settings(BOOT, saved, "2026"))
    lastgood.remember_profile(
        paths, LastProfile("site", "", (ProfileFile("site/tuned.conf", DIRTY.encode(), 0o600),))
    )
    return paths


def dirty(command: Sequence[str], *_: object, **__: object) -> Printed:
    """Each program prints secrets."""
    return Printed(f"{Path(command[0]).name} says:\n{DIRTY}Authorization: Basic {AUTH}\n")


def answer(request: str) -> bytes:
    return reply(200, json.dumps({"of": request, "env": [f"PASSWORD={NAMED}", KNOWN, AUTH]}))


def unpacked(data: bytes) -> dict[str, str]:
    """The files of an archive by name, without the folder that all of them are in."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        members = tar.getmembers()
        assert all(it.isreg() and it.mode == 0o600 and it.uid == 0 for it in members)
        assert len({it.name.partition("/")[0] for it in members}) == 1
        content = {}
        for it in members:
            file = tar.extractfile(it)
            assert file is not None
            content[it.name.partition("/")[2]] = file.read().decode()
    return content


def packed(paths: Paths, run: gather.Run = dirty, at: float = 1.5e9) -> bytes:
    with listening(answer) as socket:
        conf = paths.admin_conf.with_name("boot.conf.d") / "90-socket.conf"
        conf.write_text(f"[podman]\nsocket = {socket}\n")
        return gather.archive(gather.gather(paths, None, run), at)[1]


def test_no_secret_is_in_it_wherever_it_was(paths: Paths) -> None:
    data = packed(paths)
    plain = gzip.decompress(data)
    assert [it for it in SECRETS if it.encode() in plain] == []
    assert [it for it in SECRETS if it.encode() in data] == []


def test_a_pod_cannot_have_words_removed(paths: Paths) -> None:
    """What looks like a login is removed where it is, and nowhere else: not in the same file."""
    word = base64.b64encode(b"u:degraded").decode()
    for at, login in enumerate(f"ftp://x:degraded@host/{at}" for at in range(3)):
        profile = paths.profiles / f"p{at}" / "tuned.conf"
        profile.parent.mkdir()
        profile.write_text(f"# {login} {word} degraded\n")
    said = f"it said: http://x:degraded@host, x:degraded@host, HTTP_PROXY=x:degraded@host {word}"
    found = (make("script-failed", "degraded", said), make("script-failed", "y", "degraded"))
    store.write(paths, Record(Result.DEGRADED, "2026", BOOT, "apply", findings=found))
    paths.tuned_log.write_text(f"degraded\n{said}\ndegraded\n")
    parts = unpacked(packed(paths))
    record = json.loads(parts["record/status.json"])
    assert record["result"] == "degraded"
    assert record["findings"][0]["subject"] == "degraded"
    assert record["findings"][1]["message"].endswith("degraded")
    assert "degraded@" not in parts["record/status.json"]
    lines = parts["record/tuned.log"].splitlines()
    assert (lines[0], lines[2]) == ("degraded", "degraded")
    assert "degraded" not in lines[1]
    assert parts["request/profiles/p1/tuned.conf"].endswith(" degraded\n")
    assert word not in "".join(parts.values())


def test_what_the_administrators_files_say_is_removed_everywhere(paths: Paths) -> None:
    (paths.root / "etc/mco/proxy.env").write_text("HTTP_PROXY=u:pr0xy/w@rd-5@proxy:3128\n")
    paths.tuned_log.write_text("a pr0xy/w@rd-5 b\n")
    assert unpacked(packed(paths))["record/tuned.log"] == "a [REMOVED] b\n"


def test_everything_else_is_in_it(paths: Paths) -> None:
    found = unpacked(packed(paths))
    assert set(COMMANDS) | set(PODMAN) <= set(found)
    for name, words in {
        "README": "What is missing, and why:",
        "record/status.json": '"degraded"',
        "record/settings.json": '"/proc/sys/vm/swappiness"',
        "record/tuned.log": "fine here",
        "record/container.log": "fine here",
        f"state/history/000001-{BOOT}.json": '"runs"',
        "state/last-profile.txt": f"600 {len(DIRTY)} site/tuned.conf",
        "request/image.env": "NTO_IMAGE=",
        "request/recommend.d/50-openshift.conf": "[site]",
        "request/provider": "fine here",
        "request/profiles/site/tuned.conf": "vm.swappiness=7",
        "request/profiles/site/script.sh": "#!/bin/sh",
        "request/next/image.env": "fine here",
        "configuration/etc/ocp-tuned-boot/boot.conf": "profile = x",
        "configuration/etc/ocp-tuned-boot/boot.conf.d/10-site.conf": "timeout = 30",
        "configuration/usr/lib/ocp-tuned-boot/boot.conf": "[tuning]",
        "configuration/etc/mco/proxy.env": "NO_PROXY=.svc",
        "configuration/etc/containers/registries.conf": "fine here",
        "settings/now.txt": "vm.swappiness = '7'; applied '7', before '60'",
        "host/os-release": "ID=lab",
        "host/kernel-arguments.txt": "nohz=on",
        "host/versions.txt": "ocp-tuned-boot ",
        "host/files.txt": "find says:",
        "podman/info.json": "/info",
        "logs/this-boot.log": "journalctl says:",
    }.items():
        assert words in found[name], name
    assert "end" in found["host/kernel-arguments.txt"].splitlines()
    json.loads(found["record/status.json"])


def test_files_with_credentials_are_never_in_it(paths: Paths) -> None:
    found = unpacked(packed(paths))
    assert not [name for name in found if "auth.json" in name or "config.json" in name]
    assert "profiles/site/auth.json: left out: its name says" in found["README"]
    assert "profiles/site/binary: left out: it is not text" in found["README"]


def test_the_same_is_packed_to_the_same_bytes(paths: Paths) -> None:
    found = gather.gather(paths, None, dirty)
    assert gather.archive(found, 1.5e9) == gather.archive(found, 1.5e9)


def test_on_a_host_without_anything_each_missing_part_is_named(tmp_path: Path) -> None:
    def broken(command: Sequence[str], *_: object, **__: object) -> Printed:
        return Printed("", f"cannot run {command[0]}: it is broken")

    found = unpacked(gather.archive(gather.gather(Paths(tmp_path), None, broken), 1.5e9)[1])
    for name in COMMANDS:
        assert f"{name}: cannot run {COMMANDS[name][0]}: it is broken" in found["README"]
    for name in (*PODMAN, "settings/now.txt", "record/status.json", "request/image.env"):
        assert f"\n{name}: " in found["README"]
    assert set(found) == {"README", "host/versions.txt"}


def test_broken_files_are_named_and_do_no_harm(paths: Paths) -> None:
    paths.status.unlink()
    paths.status.mkdir()
    paths.settings.write_text("{")
    paths.admin_conf.write_text("[")
    paths.image_env.unlink()
    paths.image_env.symlink_to("/etc/shadow")
    os.mkfifo(paths.profiles / "fifo")
    (paths.profiles / "link").symlink_to("/etc")
    with no_hang():
        found = unpacked(gather.archive(gather.gather(paths, None, dirty), 1.5e9)[1])
    for name, words in {
        "record/status.json": "Is a directory",
        "settings/now.txt": "found no settings",
        "request/image.env": "it is a symbolic link",
        "request/profiles/fifo": "it is not a regular file",
        "request/profiles/link": "it is a symbolic link",
    }.items():
        (line,) = [it for it in found["README"].splitlines() if it.startswith(f"{name}: ")]
        assert words in line
    assert found["configuration/etc/ocp-tuned-boot/boot.conf"] == "["


def test_a_defect_in_one_part_is_named_and_leaves_the_others(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(values, "read", broken)
    found = gather.gather(paths, None, dirty)
    assert "ZeroDivisionError" in found.missing["settings/now.txt"]
    assert "record/status.json" in found.parts
    assert set(COMMANDS) <= set(found.parts)


def test_a_podman_that_hangs_is_not_waited_for(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "PATIENCE", 0.2)
    with listening(lambda _: None) as socket, no_hang():
        conf = paths.admin_conf.with_name("boot.conf.d") / "90-socket.conf"
        conf.write_text(f"[podman]\nsocket = {socket}\n")
        found = gather.gather(paths, None, dirty)
    for name in PODMAN:
        assert "Podman" in found.missing[name]
        assert name not in found.parts


def test_programs_that_hang_take_no_longer_than_all_of_them_may(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "TOTAL_PATIENCE", 0.5)
    given: list[float] = []

    def hangs(_: Sequence[str], seconds: float, *__: object, **___: object) -> Printed:
        given.append(seconds)
        time.sleep(seconds)
        return Printed("", "no answer")

    found = gather.gather(paths, None, hangs)
    assert len(given) == 1
    assert given[0] <= 0.5
    assert "has run out" in found.missing["units/jobs.txt"]


def test_what_is_too_large_is_cut_or_left_out_and_named(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "LIMIT", 1000)
    paths.tuned_log.write_text("x" * 5000)
    found = gather.gather(paths, None, dirty)
    assert found.parts["record/tuned.log"] == "x" * 1000
    assert "longer than 1000 bytes" in found.missing["record/tuned.log"]
    monkeypatch.setattr(gather, "TOTAL", 2000)
    found = gather.gather(paths, None, dirty)
    assert found.size <= 2000
    assert "would be larger than 2000 bytes" in found.missing["logs/this-boot.log"]


def test_a_folder_with_too_many_files_is_named(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "FILES", 3)
    assert "too many files" in gather.gather(paths, None, dirty).missing["request/profiles"]


def test_nothing_on_the_host_is_changed(paths: Paths) -> None:
    def state() -> dict[str, tuple[int, int]]:
        found = {str(it): it.lstat() for it in paths.root.rglob("*")}
        return {name: (it.st_mtime_ns, it.st_size) for name, it in found.items()}

    before = state()
    gather.gather(paths, None, dirty)
    assert state() == before


def test_no_program_that_is_run_changes_anything() -> None:
    harmless = {
        "journalctl": {"--boot=0", "--boot=-1"},
        "systemctl": {"status", "show", "cat", "list-jobs", "list-units", "--version"},
        "systemd-analyze": {"fdstore", "critical-chain", "time"},
        "podman": {"--version"}, "uname": {"-a"}, "df": {"-hT", "-i"},
    }  # fmt: skip
    for command in COMMANDS.values():
        assert harmless[command[0]] & set(command), command
    assert not {"-delete", "-exec", "-ok", "-fprint"} & set(gather._listing(Paths()))


def start(paths: Paths, *words: str, folder: Path) -> subprocess.Popen[bytes]:
    tree = Path(__file__).parents[3]
    command = [sys.executable, "-m", "ocp_tuned_boot", "--root", str(paths.root), "gather", *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(tree)},
    )  # fmt: skip


def program(paths: Paths, *words: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    with start(paths, *words, folder=folder) as process:
        out, errors = process.communicate(timeout=PATIENCE * 3)
    return subprocess.CompletedProcess(words, process.returncode, out, errors)


def test_it_can_be_interrupted_and_leaves_nothing(paths: Paths, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    def interrupt(_: str) -> None:
        os.kill(process.pid, signal.SIGINT)

    with listening(interrupt) as socket:
        conf = paths.admin_conf.with_name("boot.conf.d") / "90-socket.conf"
        conf.write_text(f"[podman]\nsocket = {socket}\n")
        process = start(paths, folder=folder)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGINT
    assert b"Traceback" not in errors
    assert list(folder.iterdir()) == []


def test_the_command_writes_a_file_that_only_its_owner_can_read(
    paths: Paths, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    done = program(paths, folder=folder)
    assert done.returncode == 0, done.stderr
    (path,) = folder.iterdir()
    assert path.name.startswith("ocp-tuned-boot-")
    assert path.name.endswith("Z.tar.gz")
    assert str(path) in done.stdout.decode()
    assert path.stat().st_mode & 0o777 == 0o600
    assert "record/status.json" in unpacked(path.read_bytes())


def test_the_command_writes_to_standard_output(paths: Paths, tmp_path: Path) -> None:
    done = program(paths, "-", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "record/status.json" in unpacked(done.stdout)


def test_a_link_in_the_place_of_the_archive_is_not_followed(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").symlink_to(tmp_path / "victim")
    assert program(paths, "x.tar.gz", folder=tmp_path).returncode == 0
    assert not (tmp_path / "victim").exists()


def test_an_archive_that_cannot_be_written_is_an_error(paths: Paths, tmp_path: Path) -> None:
    done = program(paths, "no/such/folder.tar.gz", folder=tmp_path)
    assert done.returncode == 1
    assert b"cannot write" in done.stderr
