"""Lines for the Containerfile of an operating system that is an image (bootc).

Nothing is put in /var: of an image, a node takes that only when it is installed. What is in /usr is
that of each update, and so is what is in /etc and was not changed on the node (bootc,
"Filesystem"). Where an agent has written its files, they take precedence.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from ocp_tuned_boot.commands.render.content import (
    UNITS,
    Content,
    NodeFile,
    folders,
    profiles_below,
    texts,
)
from ocp_tuned_boot.errors import ConfigurationError
from ocp_tuned_boot.host.paths import Paths

#: The request, after the boot.conf that was given.
DROP_IN = "50-day0.conf"
TMPFILES = Path("/usr/lib/tmpfiles.d/ocp-tuned-boot-day0.conf")

_HEAD = """\
# Day 0 of ocp-tuned-boot, see ocp-tuned-boot(8). These lines belong after those that install it.
"""

# A command line has at most 128 KiB (MAX_ARG_STRLEN of Linux), and an image only some 100 layers.
_RUN = 100_000
# Bytes of a file that one command writes.
_PIECE = 48 * 1024
_LINE = 76
# Between two commands of a RUN.
_NEXT = "; \\\n    "


def text(content: Content) -> bytes:
    """The lines. Raises `ConfigurationError` if they would have no effect."""
    if content.contract == "operand" and content.files:
        raise ConfigurationError(
            "the program of the image (contract = operand) does not read profiles in /usr",
            "Leave out --profiles, or contract = operand.",
        )
    runs = _batches(_steps(placed(content)), _RUN)
    return (_HEAD + "".join(_run(each) for each in runs)).encode()


def placed(content: Content) -> tuple[NodeFile, ...]:
    """The files in the image, by path."""
    node = Paths()
    lines = [
        f"{key} = {value}\n"
        for key, value in (("image", content.image), ("profile", content.profile))
        if value
    ]
    # Created if it does not exist: the agent's is kept.
    line = content.provider and f"f {node.provider} 0644 root root - {content.provider}\n"
    found = [
        *profiles_below(node.system_profiles, content.files),
        *texts(
            {
                node.admin_conf: content.boot_conf,
                node.drop_ins / DROP_IN: "".join(["[tuning]\n", *lines]) if lines else "",
                TMPFILES: line,
            }
        ),
    ]
    return tuple(sorted(found, key=lambda file: file.path))


def _steps(files: tuple[NodeFile, ...]) -> Iterator[str]:
    for some in _batches(map(shlex.quote, folders(files)), _PIECE):
        yield f"mkdir -p {' '.join(some)}"
    for file in files:
        path = shlex.quote(file.path)
        yield f": > {path}"
        for at in range(0, len(file.data), _PIECE):
            yield f"echo {_encoded(file.data[at : at + _PIECE])} | base64 -d >> {path}"
        yield f"chmod {file.mode:04o} {path}"
    yield f"systemctl enable {shlex.join(UNITS)}"


def _batches(words: Iterable[str], limit: int) -> Iterator[list[str]]:
    """As many of them at a time as fit into so many bytes, with what joins them."""
    batch: list[str] = []
    size = 0
    for word in words:
        length = len(word.encode()) + len(_NEXT)
        if batch and size + length > limit:
            yield batch
            batch, size = [], 0
        batch.append(word)
        size += length
    if batch:
        yield batch


def _encoded(data: bytes) -> str:
    """In base64, on lines that the builder joins."""
    whole = base64.b64encode(data).decode()
    lines = [whole[at : at + _LINE] for at in range(0, len(whole), _LINE)]
    return "".join(f"\\\n{line}" for line in lines) + "\\\n   "


def _run(steps: list[str]) -> str:
    return "RUN " + _NEXT.join(["set -eu; umask 022", *steps]) + "\n"
