"""The files: only what differs is written, and what the host reads is always one whole state."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import pytest

from ocp_tuned_boot.agent import objects, state, wanted
from ocp_tuned_boot.agent.wanted import Wanted
from ocp_tuned_boot.errors import Busy, HostError, NotRequested
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.requested.inputs import Inputs
from tests.unit.agent.made import DATA, IMAGE, Json, annotated, host, profile
from tests.unit.names import names_in


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return host(tmp_path)


def of(content: Json, image: str = IMAGE) -> Wanted:
    return wanted.of_profile(objects.profile(content), image)


def read(paths: Paths) -> Inputs | None:
    """As a run of the host reads it; where a file is named does not count."""
    try:
        found = inputs.following(paths, inputs.read(paths, "tuned"), "agent", "agent")
    except NotRequested:
        return None
    return Inputs(
        found.image, found.profile, found.contract, found.boot_id, found.provider, found.files,
        found.doubts, on_change=found.on_change, reapply_sysctl=found.reapply_sysctl,
    )  # fmt: skip


def tree(paths: Paths) -> dict[str, bytes]:
    return {
        str(path.relative_to(paths.agent)): path.read_bytes()
        for path in sorted(paths.agent.rglob("*"))
        if path.is_file()
    }


def test_the_host_reads_what_was_written(paths: Paths) -> None:
    content = annotated(profile(providerName="aws", tunedConfig={"reapply_sysctl": False}),
                        deferred="update")  # fmt: skip
    assert state.write(paths, of(content))
    found = read(paths)
    assert found is not None
    assert (found.image, found.profile, found.provider) == (IMAGE, "site", "aws")
    assert [(each.path, each.data) for each in found.files] == [("site/tuned.conf", DATA.encode())]
    assert (found.on_change, found.reapply_sysctl) == ("update", False)
    assert state.fingerprint(paths, "tuned") == found.fingerprint
    assert state.fingerprint(paths, "operand") != found.fingerprint
    daemon = replace(found, mode="daemon")
    assert state.fingerprint(paths, "tuned", "daemon") == daemon.fingerprint != found.fingerprint
    assert tree(paths) == {**of(content).files}
    modes = {path.stat().st_mode & 0o777 for path in paths.agent.rglob("*") if path.is_file()}
    assert modes == {0o644}


@pytest.mark.parametrize("custom", [{"site": DATA}, {}])
def test_the_profiles_of_the_operating_system_which_a_pod_does_not_see_do_not_count(
    paths: Paths, custom: dict[str, str]
) -> None:
    """Also if the agent wants no custom profile."""
    state.write(paths, of(profile(profiles=custom)))
    in_pod = state.fingerprint(paths, "tuned")
    theirs = paths.system_profiles / "theirs/tuned.conf"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("[main]\n")
    on_host = read(paths)
    assert on_host is not None
    assert len(on_host.files) == len(custom)
    assert on_host.fingerprint == in_pod


def test_the_same_again_touches_nothing(paths: Paths) -> None:
    state.write(paths, of(profile()))
    before = {path: path.stat() for path in paths.agent.rglob("*")}
    with names_in(paths.agent) as names:
        assert not state.write(paths, of(profile(generation=9)))
        os.utime(paths.agent / "image.env")
        (paths.agent / "end").touch()
    assert names == ["end"]
    assert all(path.stat().st_ino == known.st_ino for path, known in before.items())


def test_only_what_differs_is_written(paths: Paths) -> None:
    both = {"site": DATA, "other": DATA}
    state.write(paths, of(profile("site", both)))
    before = {path: path.stat().st_ino for path in paths.agent.rglob("*") if path.is_file()}
    assert state.write(paths, of(profile("other", {**both, "other": "[sysctl]\n"})))
    changed = {path.parent.name for path, inode in before.items() if path.stat().st_ino != inode}
    assert changed == {"other", "recommend.d"}


def test_image_env_is_last(paths: Paths) -> None:
    state.write(paths, of(profile("site")))
    with names_in(paths.agent) as names:
        more = profile("other", {"site": DATA, "other": DATA}, providerName="aws")
        state.write(paths, of(annotated(more, deferred="always"), "localhost/new"))
    final = [each for each in names if "." not in each[:1] and each not in ("making", "gone")]
    # Its folder is first; what is replaced is renamed, so its temporary name is seen.
    assert final == ["next", "provider", "on_change", "image.env", "next"]


def test_profiles_that_are_not_wanted_any_more_are_removed(paths: Paths) -> None:
    state.write(paths, of(profile("site", {"site": DATA, "old": DATA})))
    assert state.write(paths, of(profile("site")))
    assert [path.name for path in paths.profiles.iterdir()] == ["site"]


def test_files_of_others_stay(paths: Paths) -> None:
    """A script in the folder of a profile, put there on day 0; what lies beside the folders."""
    state.write(paths, of(profile("site", {"site": DATA, "old": DATA})))
    script = paths.profiles / "site/script.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (paths.profiles / "README").write_text("x")
    assert state.write(paths, of(profile("site", {"site": "[x]\n"})))
    assert script.stat().st_mode & 0o777 == 0o755
    assert (paths.profiles / "README").exists()
    found = read(paths)
    assert found is not None
    assert [each.path for each in found.files] == ["site/script.sh", "site/tuned.conf"]


def test_an_image_or_a_provider_that_is_not_known_stays(paths: Paths) -> None:
    state.write(paths, of(profile(providerName="aws")))
    assert not state.write(paths, of(profile(), image=""))
    found = read(paths)
    assert found is not None
    assert (found.provider, found.image) == ("aws", IMAGE)


def link(path: Path, target: str) -> None:
    if path.is_dir():
        path.rename(path.with_name("elsewhere"))
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def file(path: Path, text: str) -> None:
    if path.is_dir():
        path.rename(path.with_name("elsewhere"))
    path.write_text(text)


def many(path: Path) -> None:
    for number in range(1001):
        (path / str(number)).mkdir()


HOSTILE: dict[str, Callable[[Path], object]] = {
    "a link for a profile": lambda it: link(it / "profiles/evil", "/etc"),
    "a link in a profile": lambda it: link(it / "profiles/site/evil", "/etc/passwd"),
    "a link for all profiles": lambda it: link(it / "profiles", "elsewhere"),
    "a file for all profiles": lambda it: file(it / "profiles", "x"),
    "a profile without end": lambda it: os.truncate(it / "profiles/site/tuned.conf", 1 << 40),
    "a folder for a file": lambda it: folder(it / "profiles/site/tuned.conf"),
    "a FIFO": lambda it: os.mkfifo(it / "profiles/site/fifo"),
    "a link for image.env": lambda it: link(it / "image.env", "/etc/passwd"),
    "a folder for image.env": lambda it: folder(it / "image.env"),
    "a link for recommend.d": lambda it: link(it / "recommend.d", "elsewhere"),
    "half of image.env": lambda it: file(it / "image.env", "NTO_IM"),
    "too many files": lambda it: many(it / "profiles"),
    "a file for next": lambda it: file(it / "next", "x"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_whatever_is_there_is_replaced(paths: Paths, what: str) -> None:
    state.write(paths, of(profile()))
    wanted_state = read(paths)
    HOSTILE[what](paths.agent)
    state.write(paths, of(profile()))
    assert read(paths) == wanted_state
    # And for good.
    assert not state.write(paths, of(profile()))


# Every call by which the tree changes. A write to a file that has no name yet changes nothing.
CALLS = ("link", "rename", "unlink", "mkdir", "rmdir")


def child(paths: Paths, target: Wanted, fatal: int) -> bool:
    """Writes in a process that is killed before the call of this number. Returns whether it was."""
    process = os.fork()
    if process == 0:
        made = 0

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*arguments: Any, **named: Any) -> Any:
                nonlocal made
                made += 1
                if made == fatal:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **named)

            return wrapped

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            state.write(paths, target)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


BEFORE = profile("a", {"a": "[a]\n", "b": "[b]\n", "gone": "[gone]\n"}, providerName="aws")
AFTERWARDS: Mapping[str, tuple[Json, str]] = {
    "everything": (
        annotated(
            profile("b", {"a": "[a2]\n", "b": "[b2]\n", "new": "[new]\n"}, providerName="gcp",
                    tunedConfig={"reapply_sysctl": False}),
            deferred="always",
        ),
        "localhost/new",
    ),
    "one profile": (
        profile("a", {"a": "[a2]\n", "b": "[b]\n", "gone": "[gone]\n"}, providerName="aws"), IMAGE,
    ),
    "two profiles": (
        profile("a", {"a": "[a2]\n", "b": "[b2]\n", "gone": "[gone]\n"}, providerName="aws"), IMAGE,
    ),
    "a profile goes": (profile("a", {"a": "[a]\n", "b": "[b]\n"}, providerName="aws"), IMAGE),
    "another profile": (
        profile("b", {"a": "[a]\n", "b": "[b]\n", "gone": "[gone]\n"}, providerName="aws"), IMAGE,
    ),
    "the image": (BEFORE, "localhost/new"),
}  # fmt: skip


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process has written survives its death without this."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize(
    ("change", "first"),
    [*((change, False) for change in AFTERWARDS), ("everything", True)],
    ids=[*AFTERWARDS, "the first write of all"],
)
def test_killed_at_every_write_the_host_reads_one_whole_state(
    tmp_path: Path, change: str, first: bool
) -> None:
    target = of(*AFTERWARDS[change])
    states: list[Inputs | None] = []

    def prepared(name: str) -> Paths:
        paths = host(tmp_path / name)
        if not first:
            state.write(paths, of(BEFORE))
            (paths.profiles / "a/script.sh").write_text("x")
        return paths

    whole = prepared("whole")
    old = read(whole)
    state.write(whole, target)
    new = read(whole)
    assert new != old
    fatal = 0
    killed = True
    while killed:
        fatal += 1
        paths = prepared(str(fatal))
        killed = child(paths, target, fatal)
        found = read(paths)
        states.append(found)
        assert found in (old, new), f"killed before call {fatal}"
        # The agent is started again.
        state.recover(paths)
        assert read(paths) == found
        state.write(paths, target)
        assert read(paths) == new
        assert set(os.listdir(paths.agent)) == set(os.listdir(whole.agent))
    assert fatal > 1
    assert states[-1] == new
    # Once it is the new one, it stays so.
    assert states == sorted(states, key=lambda each: each == new)


@pytest.mark.usefixtures("_quick")
def test_a_switch_that_was_interrupted_is_finished_at_the_start(paths: Paths) -> None:
    state.write(paths, of(BEFORE))
    target = of(*AFTERWARDS["everything"])
    for fatal in range(1, 1000):
        child(paths, target, fatal)
        if paths.agent_next.exists():
            break
    new = read(paths)
    (paths.agent / ".image.env.1").write_text("left")
    state.recover(paths)
    assert not paths.agent_next.exists()
    assert not (paths.agent / ".image.env.1").exists()
    assert read(paths) == new
    assert tree(paths) == {**target.files}


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The file system is full after so many writes to files; counts down."""
    left = [0]

    def fsync(descriptor: int, before: Callable[[int], None] = os.fsync) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        before(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        yield left


def test_a_full_disk_leaves_one_whole_state_and_says_so(tmp_path: Path, full: list[int]) -> None:
    target = of(*AFTERWARDS["everything"])
    failed, number = True, 0
    while failed:
        paths = host(tmp_path / str(number))
        full[0] = 1000
        state.write(paths, of(BEFORE))
        old, full[0] = read(paths), number
        failed = False
        try:
            state.write(paths, target)
        except HostError as error:
            failed = files.is_full(error)
        full[0] = 1000
        found = read(paths)
        state.write(paths, target)
        assert found in (old, read(paths))
        number += 1
    assert number > 10


def test_a_read_only_file_system_is_said(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    state.write(paths, of(BEFORE))
    before = tree(paths)

    def opened(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("ocp_tuned_boot.host.files._without_name", opened)
    for name, change in AFTERWARDS.items():
        if name == "a profile goes":
            continue  # writes no file
        with pytest.raises(HostError, match="Read-only file system"):
            state.write(paths, of(*change))
    assert tree(paths) == before


def test_two_agents_each_write_whole_states(paths: Paths) -> None:
    folder = os.open(paths.agent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(Busy, match="another agent on this node writes"):
        state.write(paths, of(profile()))
    os.close(folder)
    assert state.write(paths, of(profile()))


def test_the_folder_of_the_agent_is_missing(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot lock"):
        state.write(Paths(tmp_path), of(profile()))
    assert state.fingerprint(Paths(tmp_path), "tuned") == ""


@pytest.mark.usefixtures("_quick")
def test_500_profiles(paths: Paths) -> None:
    many = {f"p{number}": f"[{number}]\n" for number in range(500)}
    state.write(paths, of(profile("p7", many)))
    found = read(paths)
    assert found is not None
    assert len(found.files) == 500
    assert state.write(paths, of(profile("p7")))
