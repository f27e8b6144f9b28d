"""Whatever a pod, an image or a registry puts in our way: an answer or an error of our own, in some
seconds, from nowhere else, and nothing of it on a terminal as it is.

`make fuzz` searches a hundred times as long. What was found once is in tests/corpus/.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot import cli
from ocp_tuned_boot.commands import report, settings_text, status_text, table
from ocp_tuned_boot.commands.command import Options
from ocp_tuned_boot.commands.staging import Listed
from ocp_tuned_boot.commands.status import Named, Now
from ocp_tuned_boot.errors import BootError, ConfigurationError, HostError, PodmanError
from ocp_tuned_boot.host import clock, files, journal, systemd
from ocp_tuned_boot.host.clock import Deadline, Step
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.units import Unit
from ocp_tuned_boot.images import archives, selection
from ocp_tuned_boot.images import known as brought
from ocp_tuned_boot.podman import credentials
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.record import history
from ocp_tuned_boot.record import store as record
from ocp_tuned_boot.record.history import Boot, Run
from ocp_tuned_boot.record.model import Attempt, InForce, Moments, Record, Value
from ocp_tuned_boot.requested import config, envfile, inputs, lastgood, settled
from ocp_tuned_boot.settings import drift, holds, values
from ocp_tuned_boot.settings import residue as settings
from ocp_tuned_boot.settings.drift import Drift, Drifted
from ocp_tuned_boot.settings.residue import Saved, Settings
from ocp_tuned_boot.tuned import asked, findings, layout, prepare, profiles, reach, wanted
from ocp_tuned_boot.tuned import judge as outcome
from ocp_tuned_boot.tuned import log as tunedlog
from ocp_tuned_boot.tuned.findings import Finding
from ocp_tuned_boot.tuned.judge import Result, TunedRun
from ocp_tuned_boot.tuned.profilefile import ProfileFile
from ocp_tuned_boot.tuned.wanted import Setting
from tests.unit import fake_manager
from tests.unit.commands.shown import lines
from tests.unit.fake_podman import listening, reply
from tests.unit.hostile import (
    AGENT,
    CANARY,
    CORPUS,
    GOOD,
    NAMES,
    TEXTS,
    Node,
    clean,
    corpus,
    deep,
    file,
    host,
    link,
    many,
    replaced,
    sparse,
    trees,
    untouched,
)
from tests.unit.patience import PATIENCE, no_hang

#: So long any one of them may take of the processor (seconds). What grows with the square of what
#: it is given would take minutes.
SECONDS = 20.0


@contextlib.contextmanager
def soon() -> Iterator[None]:
    started = time.process_time()
    with no_hang():
        yield
    assert time.process_time() - started < SECONDS


@contextlib.contextmanager
def or_refused(beginning: str = "") -> Iterator[None]:
    """It may be refused, in one line of our own."""
    message = beginning
    try:
        yield
    except BootError as error:
        message = error.message
    assert message.startswith(beginning)
    assert whole(message)


def whole(text: str) -> bool:
    """Whether this can be put in the journal as one line."""
    return clean(text) and "\n" not in text


# What the agent writes.


def checked(found: inputs.Inputs) -> None:
    """What `read` promises of its answer."""
    inputs.parse_image_reference(found.image, "x")
    inputs.parse_profile_name(found.profile, "x")
    assert len(found.files) <= inputs.ENTRIES_LIMIT
    assert sum(len(each.data) for each in found.files) <= inputs.PROFILES_LIMIT
    for each in found.files:
        parts = each.path.split("/")
        assert len(parts) >= 2
        assert not {"", ".", ".."} & set(parts)
        assert parts[0] not in inputs._RESERVED


@given(tree=trees())
def test_any_tree_of_the_agents_is_read_as_it_is_or_refused(tree: dict[str, Node]) -> None:
    with host(tree) as (paths, canary), soon():
        with or_refused():
            found = inputs.read(paths, "tuned")
            checked(found)
            files.directory(paths.run, paths.root)
            prepare.etc_tuned(paths, found.profile, found.files, {})
        assert settled._younger(settled._agent_files(paths), 0.0) is None
        assert untouched(canary)


@pytest.mark.parametrize("leads", ["{canary}", "{canary}/profiles", "."])
@pytest.mark.parametrize("node", [file(b"x"), link("/dev/null"), deep(2), many(2)], ids=repr)
def test_a_tree_is_not_made_through_its_own_links(leads: str, node: Node) -> None:
    """These tests would have changed the canary themselves."""
    tree = {AGENT + "profiles": link(leads), AGENT + "profiles/site/tuned.conf": node,
            AGENT + "profiles/profiles/site/new": node}  # fmt: skip
    with host(tree) as (_, canary):
        assert untouched(canary)
        found = {str(each.relative_to(canary)) for each in canary.rglob("*") if each.is_file()}
    assert found == set(CANARY)


@contextlib.contextmanager
def podman() -> Iterator[Path]:
    """A boot.conf with the socket of a Podman that has no image."""
    with listening(lambda _: reply(404, "{}")) as socket:
        conf = socket.with_name("boot.conf")
        conf.write_text(f"[podman]\nsocket = {socket}\n")
        yield conf


def said(*arguments: str) -> str:
    """All that a command prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        with contextlib.redirect_stderr(out):
            status = cli.main(arguments)
    assert status in {each.status for each in cli.EXITS}
    return out.getvalue()


@given(tree=trees(), name=NAMES)
def test_any_tree_is_told_of_by_each_command_without_control_characters(
    tree: dict[str, Node], name: str
) -> None:
    tree = {**tree, f"var/lib/ocp-tuned-boot/images/{name}": file(b"no archive")}
    with podman() as conf, host(tree) as (paths, canary), soon():
        for command in (["plan"], ["plan", "--json"], ["image", "list"]):
            assert clean(said("--root", str(paths.root), *command, "--config", str(conf)))
        assert untouched(canary)


@pytest.mark.parametrize("part", ["image.env", "recommend.d", "provider", "profiles"])
def test_a_link_is_never_followed_even_if_it_is_put_there_meanwhile(part: str) -> None:
    for name in (AGENT + part, AGENT.rstrip("/")):
        tree = {path: node for path, node in GOOD.items() if not path.startswith(name)}
        tree[name] = link("{canary}/" + part if part in name else "{canary}")
        with host(tree) as (paths, canary):
            with pytest.raises(HostError, match=str(paths.agent)):
                inputs.read(paths, "tuned")
            assert untouched(canary)


def test_a_folder_that_becomes_a_link_while_it_is_read_leads_nowhere() -> None:
    with host(GOOD) as (paths, canary):
        read = inputs.profile_files(paths.profiles, paths.root)
        tree = iter(inputs.tree(paths.profiles, paths.root))
        (entry,) = [each for each in (next(tree), next(tree)) if not each.is_folder]
        (paths.profiles / "site").rename(paths.profiles / "aside")
        (paths.profiles / "site").symlink_to(canary / "profiles/site")
        assert entry.read() == b"[sysctl]\nvm.x=1\n"
        with pytest.raises(HostError, match="site"):
            list(read)
        assert untouched(canary)


@pytest.mark.parametrize(
    ("name", "node", "words"),
    [
        ("image.env", sparse(1 << 30), "larger than 65536 bytes"),
        ("recommend.d/50-openshift.conf", sparse(1 << 30), "larger than 65536 bytes"),
        ("provider", sparse(1 << 30), "larger than 65536 bytes"),
        ("profiles/site/big", sparse(1 << 30), "larger than 1048576 bytes"),
    ],
)
def test_what_is_too_large_is_refused_by_name(name: str, node: Node, words: str) -> None:
    with host({**GOOD, AGENT + name: node}) as (paths, _), soon():
        with pytest.raises(HostError, match=f"{name}.*{words}"):
            inputs.read(paths, "tuned")


def test_what_is_too_many_is_refused_without_being_listed() -> None:
    with host(GOOD) as (paths, _), soon():
        for number in range(inputs.ENTRIES_LIMIT):
            (paths.profiles / f"site/{number}").touch()
        with pytest.raises(HostError, match="it contains too many files"):
            inputs.read(paths, "tuned")
        assert settled._younger(settled._agent_files(paths), 0.0) is None


# Texts.


def _log(data: bytes) -> outcome.Outcome:
    reader = tunedlog.LineReader()
    lines = reader.feed(data) + reader.finish()
    assert all(whole(line) and len(line) <= 8 * tunedlog.LINE_LIMIT for line in lines)
    log = tuple(tunedlog.parse(lines))
    assert holds.wanted(Paths(CORPUS), (), log) is not None
    judged = outcome.judge("site", TunedRun(0, log, "site"))
    assert len(judged.findings) < 250
    return judged


def _profile(data: bytes) -> None:
    files = {
        "/etc/tuned/site/tuned.conf": data.decode(errors="replace"),
        "/etc/tuned/etc/tuned.conf": "[x]\n",
    }
    profiles.absent("site", files)


def _said(data: bytes) -> None:
    """What a program in the container says about a profile."""
    try:
        meaning = asked.parse(data)
    except ValueError:
        return
    if not isinstance(meaning, asked.Asked):
        return
    for each in wanted.open_files(meaning):
        holds.latency(each.value, ())
    found = wanted.settings(meaning)
    for setting in found:
        for path in values.targets(Path("/nowhere"), setting)[0]:
            assert path.startswith(("/proc/sys/", "/sys/"))
            assert ".." not in path.split("/")
    values.read_back(Path("/nowhere"), found)
    reach.reached(meaning, (ProfileFile("site/tuned.conf", data),))


def _refused(read: Callable[[str, str], object]) -> Callable[[bytes], None]:
    """A parser that may refuse, in its own words."""

    def parse(data: bytes) -> None:
        with or_refused("x: "):
            read(data.decode(errors="replace"), "x")

    return parse


PARSERS: dict[str, Callable[[bytes], object]] = {
    "image.env": _refused(inputs.parse_image_env),
    "envfile": _refused(envfile.parse),
    "recommend": _refused(inputs.parse_recommend),
    "reference": _refused(inputs.parse_image_reference),
    "profile name": _refused(inputs.parse_profile_name),
    "record": _refused(record.decode),
    "tuned.conf": _profile,
    "said": _said,
    "tuned.log": _log,
    "bootcmdline": lambda data: outcome.parse_bootcmdline(data.decode(errors="replace")),
    "active_profile": lambda data: whole(tunedlog.printable(data)) or pytest.fail("unescaped"),
}


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("path", corpus(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_corpus_is_read_or_refused_by_each_parser(path: Path, parser: str) -> None:
    with soon():
        PARSERS[parser](path.read_bytes())


WORDS = st.sampled_from([
    "NTO_IMAGE=", "[", "]", "\n", "=", "#", " ", "include=", "main", "sysctl", "sysfs", "vm", "cpu",
    "variables", "${a}", "a", "${f:x}", "type=", "drop=", "force_latency=", "/sys/", "*", "..", "/",
    "'", '"', "\\", ",", "|", "cstate.id:", "9" * 30, "ERROR    tuned.x: ", "stderr F ",
    "2026-11-23T22:30:36.0+00:00 ", "2026-11-23 22:23:29,443 ", "setting new cpu latency ",
    "Traceback (most recent call last)", "static tuning from profile 'site' applied",
])  # fmt: skip


@pytest.mark.parametrize("parser", PARSERS)
@given(parts=st.lists(st.one_of(WORDS, TEXTS), max_size=30))
def test_any_text_is_read_or_refused_by_each_parser(parser: str, parts: list[str]) -> None:
    with soon():
        PARSERS[parser]("".join(parts).encode(errors="surrogatepass"))


def test_what_includes_multiply_has_an_end() -> None:
    every = ",".join(f"p{number}" for number in range(400))
    texts = {
        f"/etc/tuned/p{number}/tuned.conf": f"[main]\ninclude={every}\n" for number in range(400)
    }
    with soon():
        assert profiles.absent("p0", texts) == {}


@pytest.mark.parametrize("line", ["[main]\ninclude=a{}b\n", "[sysctl]\na{}b\n", "[vm]\na={}b\n"])
def test_a_run_of_spaces_is_looked_at_once(line: str) -> None:
    with soon():
        _profile(line.format(" " * 200_000).encode())


def test_a_log_of_nothing_but_errors_has_an_end() -> None:
    head = b"2026-11-23T22:30:36.0+00:00 stderr F 2026-11-23 22:23:29,443 ERROR    tuned.x"
    with soon():
        judged = _log(b"".join(head + b"%d: no\n" % n for n in range(30_000)))
    assert judged.findings[-1].message == "TuneD's log has 29900 more errors"
    # What is fatal is told, however much was said before it.
    fatal = b"2026-11-23T22:30:36.0+00:00 stderr F 2026-11-23 22:23:29,443 INFO     "
    fatal += b"tuned.daemon.daemon: terminating TuneD, rolling back all changes\n"
    lines = b"".join(head + b"%d: no\n" % n for n in range(300)) + fatal
    assert "rolled-back" in [each.kind for each in _log(lines).findings]


def test_wildcards_lead_nowhere_but_below_sys_and_have_an_end(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/secret").write_text("x")
    for number in range(80):
        (tmp_path / f"sys/d{number}/e").mkdir(parents=True)
        (tmp_path / f"sys/d{number}/circle").symlink_to("..")
    with soon():
        for pattern in ("/sys/../etc/*", "/etc/*", "/*/secret", "/sys/*/../../etc/*", "../etc/*",
                        "/sys" + "/*/circle" * 30, "/sys" + "/*" * 200):  # fmt: skip
            assert values.targets(tmp_path, Setting("sysfs", pattern, "1")) == ([], "1")
        found, _ = values.targets(tmp_path, Setting("sysfs", "/sys/d1*/e", "1"))
        assert len(found) == 11


# Files of ours, and of others, in JSON; archives.

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS,
              st.sampled_from(["boot-1", "registry.lab", "sha256:" + "a" * 64, "a/b:c"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([
            "version", "auths", "auth", "registry.lab", "manifests", "annotations", "digest",
            "org.opencontainers.image.ref.name", "RepoTags", "runs", "images", "reference", "id",
            "image", "image_id", "saved", "first", "applied", "boot_id", "drifted", "looked",
            "links", "variables", "profiles", "before", "wanted", "x.conf", "applied_at",
        ]), inner, max_size=5),
    ),
    max_leaves=12,
)  # fmt: skip


def _read_all(paths: Paths) -> None:
    """Every file that is read as JSON: none of them ends a run, but by its own error."""
    for read in (
        lambda: history.read(paths),
        lambda: brought.read(paths),
        lambda: lastgood.read(paths),
        lambda: layout.cached(paths, "id"),
        lambda: credentials.headers(paths),
        lambda: list(archives.all_of(paths)),
    ):
        read()
    for strict in (
        lambda: record.read(paths),
        lambda: drift.look(paths, config.Owners()),
        lambda: settings.load(paths, "boot-1"),
    ):
        with or_refused():
            strict()
    assert clean("\n".join(lines(report.history(history.read(paths)))))


def _with_json(data: bytes) -> Iterator[tuple[str, bytes]]:
    state, run = "var/lib/ocp-tuned-boot", "run/ocp-tuned-boot"
    for name in (
        f"{state}/history/000001-abc.json", f"{state}/images.json", f"{state}/last-good.json",
        f"{state}/layouts/id.json", f"{run}/settings.json",
        f"{run}/drift.json", f"{run}/status.json", "var/lib/kubelet/config.json",
    ):  # fmt: skip
        yield name, data
    for inside in ("index.json", "manifest.json"):
        yield f"{state}/images/{inside}.tar", _tar(inside, data)


def _tar(name: str, data: bytes) -> bytes:
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


@given(content=JSON, version=st.sampled_from([1, 2, None]))
def test_any_json_is_read_or_left_out(content: Any, version: int | None) -> None:
    if isinstance(content, dict) and version:
        content["version"] = version
    data = json.dumps(content).encode()
    with host({name: file(each) for name, each in _with_json(data)}) as (paths, _), soon():
        _read_all(paths)


@pytest.mark.parametrize("path", corpus("json"), ids=lambda path: path.name)
def test_the_json_of_the_corpus_is_read_or_left_out(path: Path) -> None:
    tree = {name: file(data) for name, data in _with_json(path.read_bytes())}
    with host(tree) as (paths, _), soon():
        _read_all(paths)


@given(node=replaced("config.json"))
def test_whatever_stands_in_the_place_of_credentials_or_archives(node: Node) -> None:
    names = ("var/lib/kubelet/config.json", "var/lib/ocp-tuned-boot/images/a.tar",
             "run/tuned/tuned.pid")  # fmt: skip
    with host(dict.fromkeys(names, node)) as (paths, canary), soon():
        credentials.headers(paths)
        list(archives.all_of(paths))
        with contextlib.suppress(HostError):
            prepare.forget_tuned(paths)
        assert untouched(canary)


def _archives(data: bytes) -> None:
    with host({"var/lib/ocp-tuned-boot/images/a.tar": file(data)}) as (paths, _), soon():
        for found in archives.all_of(paths):
            for name in found.names:
                inputs.parse_image_reference(name, "x")
            assert all(clean(digest) for digest in found.digests)
            for name in (*found.names, ""):
                with contextlib.suppress(ValueError):
                    selection.parts(found.path, name)


@pytest.mark.parametrize("path", corpus("archive", "json"), ids=lambda path: path.name)
def test_the_archives_of_the_corpus_are_read_or_left_out(path: Path) -> None:
    _archives(path.read_bytes())


SEEDS = [path.read_bytes() for path in corpus("archive")]


@given(
    seed=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.integers(0, 1535), st.integers(0, 255)), max_size=12),
)
def test_any_archive_is_read_or_left_out(seed: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(seed)
    for at, byte in changes:
        data[at % len(data)] = byte
    _archives(bytes(data))


# What Podman says, and with it a registry and an image.


def _answered(body: bytes, status: int = 200) -> None:
    head = f"HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    with (
        listening(lambda _: head.encode() + body) as path,
        Podman(path, Deadline(PATIENCE)) as client,
    ):
        for ask in (
            lambda: client.image("a/b"), lambda: client.pull("a/b"), lambda: client.container("x"),
            lambda: client.files("x", "/etc/tuned"), lambda: client.start("x"),
            lambda: client.create({"name": "x", "image": "id"}),
        ):  # fmt: skip
            with or_refused():
                ask()


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("path", corpus("json", "archive"), ids=lambda path: path.name)
def test_whatever_podman_answers_is_taken_or_refused(path: Path, status: int) -> None:
    with soon():
        _answered(path.read_bytes(), status)


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_without_an_end_is_refused(status: int) -> None:
    body = b"[" * (5 * 1024 * 1024)
    head = f"HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {1 << 40}\r\n\r\n".encode()
    asked: tuple[tuple[Callable[[Podman], object], str], ...] = (
        (lambda client: client.image("a"), "larger than 4194304 bytes"),
        (lambda client: client.files("x", "/etc"), "larger than 4194304 bytes"),
        (lambda client: client.pull("a/b"), "a line of more than 1048576 bytes"),
    )
    for ask, words in asked:
        with (
            listening(lambda _: head + body) as path,
            Podman(path, Deadline(PATIENCE)) as client,
            soon(),
        ):
            with pytest.raises(PodmanError, match=words):
                ask(client)


# What is printed, logged, and told to systemd and on the console.


@given(text=TEXTS, more=TEXTS)
def test_whatever_is_on_record_is_shown_without_control_characters(text: str, more: str) -> None:
    finding = Finding(text, more, text, more)
    in_force = InForce(text, Result.DEGRADED, more, text, more, text, more, (finding,))
    done = Record(
        Result.DEGRADED, text, more, text, more, text, more, text, findings=(finding,),
        attempts=(Attempt(1.0, text, more),), units={text: more}, kernel_arguments=(text,),
        in_force=in_force, late=(more,), steps=(Step(text, 1.0, 2.0),), moments=Moments(1.0),
    )  # fmt: skip
    with host({"run/ocp-tuned-boot/x": file(b"")}) as (paths, _):
        record.write(paths, done)
        assert clean(paths.status.read_text())
        json.loads(paths.status.read_text())
        history.add(paths, Record(**{**done.__dict__, "boot_id": "abc"}))
        settings.store(paths, Settings("abc", {"/proc/sys/vm/x": Saved(text, more)}, text))
        for command in (["status"], ["history"], ["drift"], ["status", "--json"],
                        ["history", "--json"], ["drift", "--json"], ["timeline", "--boot=abc"],
                        ["timeline", "--boot=abc", "--json"]):  # fmt: skip
            assert clean(said("--root", str(paths.root), *command))


def test_each_report_goes_through_the_one_door(capsys: pytest.CaptureFixture[str]) -> None:
    named = Named("\x1b", "\x9b", "\r", "\x07", ("\x7f",))
    hostile = Now({"\x1b": Unit("\x9b", text="\x1b[2J")}, waits="\u202e", named=named)
    run = Run("\r", "\r", "", "", "", "", "", "", 1.0, "\x7f")
    for rows in (
        report.images([Listed("archive", "\x1b[2J", archive="\x9b\udcff")]),
        report.history([Boot("\x1b", (run,))]),
        status_text.rows(None, hostile),
        settings_text.drift(
            Drift(1, (Drifted("\x1b", "\x9b", "\r", "\x07", "\x7f", "\x85"),), "\x1b")
        ),
    ):
        table._show(Options(json=False), lambda rows: rows, str, rows)
    table._show(Options(json=True), iter, json.dumps, ["\x7f\x9b"])
    shown = capsys.readouterr().out
    assert clean(shown)
    assert json.loads(shown.splitlines()[-1]) == ["\x7f\x9b"]


@pytest.mark.parametrize("formatter", [journal.Escaped(), journal.WithPriority()])
@given(text=TEXTS)
def test_whatever_is_logged_has_no_control_characters(
    formatter: logging.Formatter, text: str
) -> None:
    made = logging.LogRecord("x", logging.ERROR, "x", 1, "%s: %s", (text, ValueError(text)), None)
    lines = formatter.format(made)
    assert clean(lines)
    if isinstance(formatter, journal.WithPriority):
        assert all(line.startswith("<3>") for line in lines.split("\n"))


@given(text=TEXTS)
def test_whatever_systemd_and_the_console_are_told_is_one_line(text: str) -> None:
    assert whole(systemd._one_line(text * 100))
    assert len(systemd._one_line(text * 1000).encode()) < 4096
    with host({"dev/console": file(b"")}) as (paths, _):
        clock.tell_console(paths.console, text)
        told = paths.console.read_text()
    assert told.startswith("ocp-tuned-boot: ")
    assert whole(told[:-1])
    error = ConfigurationError(text * 1000, text)
    assert whole(error.message)
    assert len(error.message) < 20_000
    assert clean(str(error))


def test_a_status_with_escapes_reaches_systemd_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_manager.listening() as (address, manager):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        systemd.Notifier().status("Pulling \x1b[2J\nREADY=1\x9b")
        manager.wait_for("STATUS=")
    assert manager.messages == [["STATUS=Pulling \\x1b[2J READY=1\\x9b"]]


def test_a_record_stays_one_that_can_be_read() -> None:
    many = tuple(Value(f"vm.{n}", "verified", "x" * 400) for n in range(4000))
    with host({"run/ocp-tuned-boot/x": file(b"")}) as (paths, _):
        record.write(paths, Record(Result.APPLIED, "now", values=many[:100]))
        kept = record.read(paths)
        assert kept is not None
        assert kept.values == many[:100]
        record.write(paths, Record(Result.APPLIED, "now", values=many))
        kept = record.read(paths)
        assert kept is not None
        assert (kept.result, kept.values) == (Result.APPLIED, many[:1000])
        assert kept.left_out == {"values": 3000}
        assert os.stat(paths.status).st_size < 1024 * 1024


def test_every_file_of_the_corpus_is_small_and_belongs_to_a_parser() -> None:
    kinds: Mapping[str, object] = {**PARSERS, "json": 0, "archive": 0}
    for path in corpus():
        assert path.parent.name in kinds
        assert path.stat().st_size < 128 * 1024


def test_findings_of_any_words_are_short() -> None:
    long = tunedlog.LogRecord("ERROR", "tuned.x", "x" * 10_000, ("y",) * 10_000)
    (found,) = findings.read([long])
    assert len(found.message) <= 1000
    assert len(tunedlog.printable(b"x" * 100_000)) <= tunedlog.LINE_LIMIT + 1
