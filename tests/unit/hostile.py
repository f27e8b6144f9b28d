"""What a pod, an image or a registry may put in our way: trees, texts, and the corpus."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from hypothesis import strategies as st

from ocp_tuned_boot.host.paths import Paths

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
BOOT_ID = "11111111-2222-4333-8444-555555555555"

#: What a terminal would obey, a tab aside, and what turns a line around.
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)

ESCAPES = ["\x1b]0;x\x07", "\x1b[2J", "\x9b31m", "\r", "\n<0>x", "\x7f", "\u202e", "\u2028", "\0",
           "\x85", "\ud800", "\udcff", "\ufeff", "\U000e0041", "é"]  # fmt: skip
#: Any text, more often than not with something in it that a terminal would obey.
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(ESCAPES), st.text(st.characters(blacklist_categories=()), max_size=8)
    ),
    max_size=6,
).map("".join)


def clean(printed: str) -> bool:
    """Whether a terminal can be shown this."""
    return not FORBIDDEN.search(printed)


def corpus(*kinds: str) -> list[Path]:
    """The files of these kinds, or of all."""
    return sorted(path for path in CORPUS.rglob("*") if path.is_file()
                  and (not kinds or path.parent.name in kinds))  # fmt: skip


@dataclass(frozen=True)
class Node:
    """Something at a path, and how it is made there; `where` is the canary's folder."""

    name: str
    make: Callable[[bytes, Path], object]

    def __repr__(self) -> str:
        return self.name


def file(data: bytes, mode: int = 0o644) -> Node:
    def make(path: bytes, _: Path) -> None:
        with open(path, "wb") as opened:
            opened.write(data)
        os.chmod(path, mode)

    return Node(f"file({data!r})", make)


def sparse(size: int, beginning: bytes = b"") -> Node:
    def make(path: bytes, _: Path) -> None:
        with open(path, "wb") as opened:
            opened.write(beginning)
            opened.truncate(size)

    return Node(f"sparse({size})", make)


def link(target: str) -> Node:
    """To something in the canary's folder, or anywhere."""

    def make(path: bytes, where: Path) -> None:
        os.symlink(target.format(canary=where), path)

    return Node(f"link({target!r})", make)


def deep(levels: int) -> Node:
    def make(path: bytes, _: Path) -> None:
        os.makedirs(path + b"/d" * levels)
        with open(path + b"/d" * levels + b"/tuned.conf", "wb"):
            pass

    return Node(f"deep({levels})", make)


def many(count: int) -> Node:
    def make(path: bytes, _: Path) -> None:
        os.makedirs(path)
        for number in range(count):
            with open(path + b"/%d" % number, "wb"):
                pass

    return Node(f"many({count})", make)


FOLDER = Node("folder", lambda path, _: os.makedirs(path))
FIFO = Node("fifo", lambda path, _: os.mkfifo(path))

#: A canary is good in the place of each: whoever follows the link gets an answer.
CANARY = {
    "image.env": b"NTO_IMAGE=canary/canary\n",
    "recommend.d/50-openshift.conf": b"[canary]\n",
    "provider": b"canary\n",
    "profiles/site/tuned.conf": b"[main]\nsummary=canary\n",
    "config.json": b'{"auths": {"localhost": {"auth": "Y2FuYXJ5OmNhbmFyeQ=="}}}',
}


def replaced(name: str) -> st.SearchStrategy[Node]:
    """What may stand in the place of a file or folder of this name."""
    return st.one_of(
        st.binary(max_size=60).map(file),
        TEXTS.map(lambda text: file(text.encode(errors="replace"))),
        st.sampled_from([
            file(CANARY.get(name, b"[main]\n")), file(b"", 0o000), FIFO, FOLDER, deep(3), deep(30),
            sparse(3 << 30), sparse(1 << 20), many(40),
            link("{canary}/" + name), link("{canary}"), link("{canary}/none"), link("."),
            link("/dev/zero"), link("/proc/self/mem"), link("../" * 20 + "{canary}/" + name),
        ]),
    )  # fmt: skip


NAMES = st.one_of(
    st.sampled_from(["site", "tuned.conf", "..site", "recommend.d", "active_profile", "x" * 255,
                     "-", "a b", "${f:exec:id}", "\\", "*"]),
    TEXTS,
).map(lambda name: name.replace("/", "_").replace("\0", "_")).filter(
    lambda name: name not in ("", ".", "..") and len(encoded(name)) < 256
)  # fmt: skip

AGENT = "var/lib/ocp-tuned/"
GOOD = {
    AGENT + "image.env": file(b"NTO_IMAGE=registry.example/tuned:x\n"),
    AGENT + "recommend.d/50-openshift.conf": file(b"[site]\n"),
    AGENT + "profiles/site/tuned.conf": file(b"[sysctl]\nvm.x=1\n"),
}


def encoded(name: str) -> bytes:
    """As a file's name: half of a pair becomes bytes that are no text."""
    return name.encode(errors="surrogatepass")


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Node]:
    """The agent's folder: as it should be but for some of it."""
    tree = dict(GOOD)
    for name in (*CANARY, "recommend.d", "profiles", "profiles/site"):
        if draw(st.integers(0, 6)) == 0:
            tree = {path: it for path, it in tree.items() if not path.startswith(AGENT + name)}
            tree[AGENT + name] = draw(replaced(name))
    for names in draw(st.lists(st.lists(NAMES, min_size=1, max_size=3), max_size=4)):
        tree.setdefault(f"{AGENT}profiles/{'/'.join(names)}", draw(replaced("profiles/site")))
    return tree


@contextmanager
def host(tree: Mapping[str, Node]) -> Iterator[tuple[Paths, Path]]:
    """A host with this tree, and the folder of the canary beside it."""
    with tempfile.TemporaryDirectory(prefix="otb-") as folder:
        root, where = Path(folder, "root").resolve(), Path(folder, "canary")
        for name, data in CANARY.items():
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            (where / name).write_bytes(data)
            os.utime(where / name, (1, 2))
        (root / "proc/sys/kernel/random").mkdir(parents=True)
        (root / "proc/sys/kernel/random/boot_id").write_text(f"{BOOT_ID}\n")
        for name, node in tree.items():
            path = os.fsencode(root) + b"/" + b"/".join(map(encoded, name.split("/")))
            # Below a link of this tree it would be made where the link leads: in the canary.
            if leads_elsewhere(os.path.dirname(path)):
                continue
            # What cannot be made in the place of something else is not.
            with suppress(OSError):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                node.make(path, where)
        yield Paths(root), where


def leads_elsewhere(folder: bytes) -> bool:
    """Whether a link is on the way to a folder, which need not exist."""
    return os.path.realpath(folder) != folder


def untouched(where: Path) -> bool:
    """Whether nobody has read or changed the canary."""
    return all(
        (where / name).stat().st_atime == 1 and (where / name).stat().st_mtime == 2
        for name in CANARY
    )
