"""The program as it is run, on hosts that a pod, an image and a registry have filled: at most 64
MiB, within some seconds of the processor. Over half of the memory Python and its libraries need
with nothing to do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from hypothesis import settings

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record import store as record
from tests.unit import tars
from tests.unit.fake_engine import HEAD, Engine, serving
from tests.unit.fake_podman import reply
from tests.unit.hostile import AGENT, CORPUS, GOOD, Node, clean, deep, file, host, many, sparse

#: Of what a run may have in memory at its most (bytes).
MOST = 64 * 1024 * 1024
#: How long it may take of the processor (seconds): what else the machine has to do does not count.
SECONDS = 30.0


@dataclass(frozen=True)
class Ran:
    """`most`: bytes in memory at the most; `seconds`: of the processor."""

    status: int
    said: str
    most: int
    seconds: float


# The kernel counts what a process had in memory before it became another program: between these
# tests and the program there is a process that has little.
LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=2)
_, status, used = os.wait4(process.pid, 0)
taken = used.ru_utime + used.ru_stime
print(os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024, taken)
"""


def run(paths: Paths, *arguments: str) -> Ran:
    """The program in a process of its own."""
    command = [sys.executable, "-m", "ocp_tuned_boot", "--root", str(paths.root), *arguments]
    foreign = ("NOTIFY_SOCKET", "JOURNAL_STREAM", "INVOCATION_ID")
    env = {name: value for name, value in os.environ.items() if name not in foreign}
    launcher = [sys.executable, "-S", "-c", LAUNCHER, *command]
    done = subprocess.run(launcher, env=env, check=True, capture_output=True)
    status, most, seconds = done.stdout.split()
    said = done.stderr.decode("utf-8", "surrogateescape")
    return Ran(int(status), said, int(most), float(seconds))


def bounded(ran: Ran) -> None:
    print(f"{ran.most} bytes, {ran.seconds:.1f} s, status {ran.status}: {ran.said[:200]}")
    assert ran.most <= MOST
    assert ran.seconds < SECONDS
    assert ran.status >= 0
    assert "Traceback" not in ran.said
    assert clean(ran.said)


@contextmanager
def engine(
    paths: Paths, log: bytes = b"", labels: object = "", files: bytes = b""
) -> Iterator[str]:
    """Its boot.conf. `files`: the archive of each folder in the image."""
    made = Engine(paths, log, labels)
    if files:
        made.instead = lambda it: reply(200, files) if "GET" in it and "/archive" in it else None
    made.leaves = {"bootcmdline": "TUNED_BOOT_CMDLINE=" + "a " * 30_000}
    with serving(made) as conf:
        yield str(conf)


PROFILES = AGENT + "profiles/"
# To make them takes longer than all else here; what is listed of them is the same.
ENTRIES = 100_000 if settings.default and settings.default.max_examples > 1000 else 5000
HEADER = CORPUS / "archive/header-of-a-gigabyte.tar"
ERROR = HEAD + b"2026-11-23 22:23:29,443 ERROR    tuned.x%d: \x1b[31m\n"

#: Each is refused by its name.
REFUSED: dict[str, Mapping[str, Node]] = {
    "image.env: it is larger": {AGENT + "image.env": sparse(1 << 30)},
    "50-openshift.conf: it is larger": {AGENT + "recommend.d/50-openshift.conf": sparse(1 << 30)},
    "provider: it is larger": {AGENT + "provider": sparse(1 << 30)},
    "data: it is larger": {PROFILES + "site/data": sparse(1 << 30)},
    "too many files": {PROFILES + "site/many": many(ENTRIES)},
    "at most 8 levels": {PROFILES + "site/deep": deep(200)},
    "found A, expected NTO_IMAGE": {AGENT + "image.env": file(b"A=\n" * 21_000)},
    "line 2: found '[a]'": {AGENT + "recommend.d/50-openshift.conf": file(b"[a]\n" * 16_000)},
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_refused_takes_no_more_than_64_mib(words: str) -> None:
    with host({**GOOD, **REFUSED[words]}) as (paths, _):
        ran = run(paths, "plan")
    bounded(ran)
    assert words in ran.said


#: TuneD is run all the same.
TAKEN: dict[str, Mapping[str, Node]] = {
    "nothing special": {},
    "data, archive, credentials": {
        "var/lib/ocp-tuned-boot/images/a.tar": sparse(1 << 30),
        "var/lib/ocp-tuned-boot/images/b.tar": sparse(2 << 30, HEADER.read_bytes()),
        "var/lib/kubelet/config.json": sparse(1 << 30),
        **{f"{PROFILES}site/{n}": file(b"\xff" * 99 * 1024) for n in range(20)},
    },
    "sections, keys of credentials": {
        PROFILES + "site/tuned.conf": file(b"[main]\ninclude=a\n" + b"[a]\n" * 3900),
        "var/lib/kubelet/config.json": file(
            b'{"auths": {' + b",".join(b'"a%d":{}' % n for n in range(80_000)) + b"}}"
        ),
    },
    "too large a profile, lists of credentials": {
        PROFILES + "site/tuned.conf": file(b"".join(b"[%d]\n" % n for n in range(110_000))),
        "var/lib/kubelet/config.json": file(b"[" + b"[],[]," * 170_000),
    },
    "variables": {
        PROFILES + "site/tuned.conf": file(
            b"[variables]\na=" + b"x" * 4000 + b"\n[sysctl]\n"
            + b"".join(b"vm.x%d=${a}\n" % n for n in range(3900))
        ),
    },
    "490 profiles": {
        PROFILES + "site/tuned.conf": file(b"[main]\ninclude=p0\n"),
        **{
            f"{PROFILES}p{n}/tuned.conf": file(
                b"[main]\ninclude=p%d\n" % (n + 1)
                + b"".join(b"[%d.%d]\n" % (n, m) for m in range(400))
            )
            for n in range(490)
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_a_hostile_tree_is_taken_within_64_mib(name: str) -> None:
    with host({**GOOD, **TAKEN[name]}) as (paths, _), engine(paths, HEAD + b"said\n") as conf:
        ran = run(paths, "apply", "--config", conf)
        bounded(ran)
        assert "\nsaid\n" in ran.said
        assert record.read(paths) is not None


LOGS = {
    "errors": b"".join(ERROR % n for n in range(40_000)),
    "one line": b"\x1b" * (5 << 20),
    "lines": (HEAD + b"\n") * 110_000,
    "parts": (HEAD.replace(b" F ", b" P ") + b"x\n") * 100_000,
    "too much": (HEAD + b"x" * 4000 + b"\n") * 2000,
}


@pytest.mark.parametrize("name", LOGS)
def test_a_tuned_that_says_anything_is_judged_within_64_mib(name: str) -> None:
    with host(GOOD) as (paths, _), engine(paths, LOGS[name][: 5 << 20]) as conf:
        ran = run(paths, "apply", "--config", conf)
        bounded(ran)
        kept = record.read(paths)
        assert kept is not None
        assert kept.result.value == "failed"
        assert ("TuneD logged more than 4194304 bytes" in ran.said) == (len(LOGS[name]) > 4 << 20)
        if name == "errors":
            bounded(run(paths, "status", "--config", conf))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("x" * (32 << 20), "larger than 4194304 bytes"),
        ([[]] * 400_000, "expected at most 1048576"),
        ({f"a{number}": {} for number in range(60_000)}, "said\n"),
    ],
    ids=["one text", "lists", "60000 labels"],
)
def test_an_image_with_labels_without_end_takes_no_more_than_64_mib(
    labels: object, words: str
) -> None:
    with host(GOOD) as (paths, _), engine(paths, HEAD + b"said\n", labels) as conf:
        ran = run(paths, "apply", "--config", conf)
    bounded(ran)
    assert words in ran.said


ARCHIVES = "var/lib/ocp-tuned-boot/images/"
INDEX = {"manifest.json": b'[{"RepoTags": ["localhost/good:1"]}]'}


def test_the_good_archive_beside_bad_ones_is_found_within_64_mib() -> None:
    bad = {f"{ARCHIVES}{name}.tar": file(bomb()) for name, bomb in tars.BOMBS.items()}
    bad[f"{ARCHIVES}a sparse index.tar"] = file(tars.sparse(1 << 30, "index.json") + tars.END)
    good = {f"{ARCHIVES}z.tar": file(tars.made(INDEX))}
    with host({**GOOD, **bad, **good}) as (paths, _), engine(paths, HEAD + b"said\n") as conf:
        listed = run(paths, "image", "list", "--config", conf)
        applied = run(paths, "apply", "--config", conf)
    bounded(listed)
    assert listed.status == 0
    assert "  archive      localhost/good:1" in listed.said
    for name in tars.BOMBS:
        assert f"{name}.tar: found no image archive, ignoring the file" in listed.said
    bounded(applied)
    assert "\nsaid\n" in applied.said


@pytest.mark.parametrize("name", tars.BOMBS)
def test_an_image_whose_files_are_a_bomb_is_refused_within_64_mib(name: str) -> None:
    made = tars.BOMBS[name]()[: 4 << 20]
    with host(GOOD) as (paths, _), engine(paths, files=made) as conf:
        ran = run(paths, "apply", "--config", conf)
    bounded(ran)
    assert "sent an unexpected answer (read /etc/tuned" in ran.said
