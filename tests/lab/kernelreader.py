"""What the kernel of a node has, and whether that is what a profile asks for.

The product is tested with this. For that reason nothing of the product is used, and a profile's
request is not computed: a person has written it down in the kernel's own notation
(`tests/lab/corpus/*/wanted`). A node runs this file as a program (`ask`).
"""

from __future__ import annotations

import glob
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

#: What a profile may change outside of files on disk.
_KERNEL = (
    "/proc/sys/**",
    "/proc/irq/*/smp_affinity",
    "/proc/irq/default_smp_affinity",
    "/sys/block/vd?/queue/*",
    "/sys/bus/workqueue/devices/*/cpumask",
    "/sys/class/net/*/queues/*/rps_cpus",
    "/sys/devices/system/machinecheck/machinecheck*/ignore_ce",
    "/sys/devices/virtual/workqueue/cpumask",
    "/sys/devices/system/cpu/cpu*/power/pm_qos_resume_latency_us",
    "/sys/devices/system/node/node*/hugepages/*/nr_hugepages",
    "/sys/kernel/mm/**",
    "/sys/module/*/parameters/*",
)
# To write or read these is to do something, or others change them all the time.
_ACTIONS = re.compile(
    r"/proc/sys/(kernel/(random/|ns_last_pid|cad_pid|modules_disabled|kexec_load|hostname|domainname"
    r"|pty/nr)|fs/(binfmt_misc|quota|.*(-nr|-state)$)|vm/(drop_caches|compact_memory|stat_refresh)"
    r"|net/.*/(flush|stable_secret)$)|/sys/kernel/mm/damon/"
)


@dataclass(frozen=True)
class Wanted:
    """A line of the file `wanted`: `OPTION | WHERE | TEXT`.

    `option`: as the profile has it. `where`: a file of the kernel, `file:PATH` for a line of a file
    on disk, `cmdline`, `cpu_dma_latency`, `unit:NAME` for the state of a unit; what nobody can read
    has another prefix. `text`: what is there if the profile is applied; all arguments of the
    kernel, `[X]` the choice in brackets, `>=N`, `<=N`, `mask:N` a set of CPUs in hexadecimal, and
    `X *` any text that starts with X.
    """

    option: str
    where: str
    text: str


def wanted(file: Path) -> list[Wanted]:
    """The lines of a file `wanted`."""
    lines = [line for line in file.read_text().splitlines() if line.strip()]
    return [Wanted(*(part.strip() for part in line.split(" | ", 2))) for line in lines]


def agrees(asked: Wanted, found: Optional[str]) -> bool:
    """Whether the kernel has what was asked for; `found` is None for what is not there."""
    if found is None:
        return False
    if asked.where == "cmdline":
        return set(asked.text.split()) <= set(found.split())
    if asked.where.startswith("file:"):
        return asked.text in found.splitlines()
    return _is(asked.text, " ".join(found.split()))


def _is(text: str, found: str) -> bool:
    if re.fullmatch(r"\[\S+\]", text):
        return text in found.split()
    if text[:2] in (">=", "<="):
        least, most = (int(text[2:]), sys.maxsize) if text[0] == ">" else (0, int(text[2:]))
        return found.isdigit() and least <= int(found) <= most
    if text.startswith("mask:"):
        return int(found.replace(",", "") or "0", 16) == int(text[5:], 16)
    if text.endswith(" *"):
        return found.startswith(text[:-1])
    return found == text


def plainly(path: str, expected: str, found: Optional[str]) -> bool:
    """Whether the text of a file is what a stock profile asks for in TuneD's notation: text,
    numbers, `>N`, `<N`, sets of CPUs in hexadecimal, and below /sys a choice in brackets."""
    if found is None:
        return False
    text, want = " ".join(found.split()), " ".join(expected.split())
    choice = re.search(r"\[([^\]]*)\]", text) if path.startswith("/sys/") else None
    text = choice[1] if choice else text
    if want.strip('"') == text:
        return True
    if re.search(r"(cpumask|_affinity|_cpus)$", path) and re.fullmatch(r"[0-9a-f,]+", want):
        return _is(f"mask:{want.replace(',', '')}", text)
    sign, number = want[:1], want.lstrip("<>")
    if not (_number(number) and _number(text)):
        return False
    wants, has = int(number, 0), int(text, 0)
    return has >= wants if sign == ">" else has <= wants if sign == "<" else has == wants


def _number(text: str) -> bool:
    return re.fullmatch(r"-?(0x[0-9a-fA-F]+|0|[1-9][0-9]*)", text) is not None


# What runs in the node.


def read(where: str) -> Optional[str]:
    """What is there now; None if there is nothing, or nobody can read it."""
    if where == "cmdline":
        return Path("/proc/cmdline").read_text()
    if where == "cpu_dma_latency":
        return _latency()
    if where.startswith("unit:"):
        command = ["systemctl", "is-active", where[5:]]
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
    path = where[5:] if where.startswith("file:") else where
    try:
        return Path(path).read_text() if path.startswith("/") else None
    except (OSError, UnicodeDecodeError):
        return None


def _latency() -> str:
    """The least of all requests that are open (microseconds). Opening the device to read it adds
    one that asks for nothing."""
    with open("/dev/cpu_dma_latency", "rb", buffering=0) as device:
        return str(struct.unpack("i", device.read(4))[0])


def snapshot() -> dict[str, str]:
    """All files of the kernel that a profile may set."""
    found = {}
    for pattern in _KERNEL:
        for path in glob.glob(pattern, recursive=True):
            if _ACTIONS.match(path) or not os.path.isfile(path):
                continue
            text = read(path) if os.stat(path).st_mode & 0o200 else None
            if text is not None:
                found[path] = text
    return found


def restore(before: Mapping[str, str]) -> list[str]:
    """Sets what has changed to what it was; the files whose value is still another one."""
    for _ in range(4):
        changed = {path: text for path, text in before.items() if read(path) != text}
        for path, text in changed.items():
            choice = re.search(r"\[(\S+)\]", text) if path.startswith("/sys/") else None
            try:
                Path(path).write_text(choice[1] if choice else text.strip() or "\n")
            except OSError:
                continue
    return [path for path, text in before.items() if read(path) != text]


def _serve(asked: Sequence[str], before: Mapping[str, str]) -> None:
    if before:
        print(json.dumps(restore(before)))
    elif asked:
        print(json.dumps({where: read(where) for where in asked}))
    else:
        print(json.dumps(snapshot()))


if __name__ == "__main__":
    given = json.loads(sys.stdin.read())
    _serve(given if isinstance(given, list) else (), given if isinstance(given, dict) else {})
