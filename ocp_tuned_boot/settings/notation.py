"""The notations of a value: what the kernel shows differs from what was written, and may still be
the same. Pure.

Two texts are equal only if the kernel of the file means the same by them. What a file contains is
known by its path; where it is not, only the text counts, and white space and base of numbers.
Sources: kernel/sysctl.c, lib/bitmap-str.c and lib/kstrtox.c of the kernel; tuned/plugins/base.py
(2.20 to 2.28).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase

_SYS, _SYSCTLS = "/sys/", "/proc/sys/"

#: Free text (proc_dostring): each character counts.
_TEXTS = tuple(
    f"{_SYSCTLS}kernel/{name}"
    for name in ("core_pattern", "domainname", "hostname", "hotplug", "modprobe", "poweroff_cmd")
)
#: A list of numbers and ranges (proc_do_large_bitmap, bitmap_parselist).
_LISTS = (
    f"{_SYSCTLS}net/ipv4/ip_local_reserved_ports", f"{_SYSCTLS}kernel/watchdog_cpumask",
    "/proc/irq/*/smp_affinity_list", "/sys/fs/cgroup/*cpuset.cpus",
    "/sys/fs/cgroup/*cpuset.cpus.exclusive", "/sys/fs/cgroup/*cpuset.mems",
)  # fmt: skip
#: A mask in groups of 32 bits (bitmap_parse).
_MASKS = (
    "/proc/irq/*/smp_affinity", "/proc/irq/default_smp_affinity",
    f"{_SYSCTLS}net/core/flow_limit_cpu_bitmap", f"{_SYSCTLS}net/core/rps_default_mask",
    "/sys/*/cpumask", "/sys/*_cpumask", "/sys/*/rps_cpus", "/sys/*/xps_cpus", "/sys/*/xps_rxqs",
)  # fmt: skip
#: A number that the kernel rounds up to a power of two (fs/pipe.c, net/core/sysctl_net_core.c,
#: net/core/net-sysfs.c).
_POWERS = (
    f"{_SYSCTLS}fs/pipe-max-size", f"{_SYSCTLS}net/core/rps_sock_flow_entries",
    "/sys/*/rps_flow_cnt",
)  # fmt: skip
#: Words whose order does not matter.
_SETS = (f"{_SYSCTLS}net/ipv4/tcp_allowed_congestion_control",)
#: Booleans that are shown as a number (kstrtobool). All others show a word.
_BOOLEANS = ("/sys/devices/system/cpu/cpu*/online",)

_TRUE, _FALSE = ("1", "y", "yes", "t", "true", "on"), ("0", "n", "no", "f", "false", "off")
#: How a boolean is shown. Not `on` and `off`: these are words of a choice, as in smt/control, where
#: 1 is off.
_SHOWN = ("Y", "N", "true", "false")

_NUMBER = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|[0-9]+)\Z", re.ASCII)
_MASK = re.compile(r"[0-9a-fA-F]{1,8}(?:,[0-9a-fA-F]{1,8})*\Z")
# A mask as the kernel shows it, where the path does not say that it is one.
_SHOWN_MASK = re.compile(r"0[0-9a-f]{1,7}\Z|[0-9a-f]{1,8}(?:,[0-9a-f]{8})+\Z")
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?\Z", re.ASCII)
_CHOSEN = re.compile(r"(?:^|(?<=\s))\[([^\]]+)\](?=\s|$)")
#: Python needs quadratic time for a long number. No value of the kernel has more digits.
_DIGITS = 40


def same(expected: str, found: str, path: str = "", plugin: str = "") -> bool:
    """Whether what was `found` in a file satisfies what a profile expects there.

    As in TuneD, `>N` means at least N, `<N` at most N, and `a|b` one of both. One number sets the
    first of several, as in kernel.printk. `plugin`: the one that sets it, if it is known: [sysfs]
    and [vm] have no `>` and no `<`.
    """
    if equal(expected, found, path):
        return True
    if _is(path, _TEXTS):
        return False
    within = _within(expected.strip(), found) if plugin not in ("sysfs", "vm") else None
    if within is not None:
        return within
    if "|" in expected:
        return any(same(each, found, path, plugin) for each in expected.split("|") if each.strip())
    if not path.startswith(_SYSCTLS):
        return False
    some, several = _numbers(expected, path), _numbers(found, path)
    return some is not None and several is not None and several[: len(some)] == some


def _within(expected: str, found: str) -> bool | None:
    """Whether a number is within the limit `>N` or `<N`; None if there is no limit."""
    limit, number = _decimal(expected[1:]), _decimal(found)
    if expected[:1] not in ("<", ">") or limit is None:
        return None
    if number is None:
        return False
    return number >= limit if expected[0] == ">" else number <= limit


def equal(written: str, shown: str, path: str = "") -> bool:
    """Whether the kernel shows `shown` in this file after `written` was written."""
    written, shown = written.strip(), shown.strip()
    if written == shown:
        return True
    if _is(path, _TEXTS):
        return False
    read = _reader(shown, path)
    meaning = read(written)
    return meaning is not None and meaning == read(shown)


def _reader(shown: str, path: str) -> Callable[[str], object]:
    """How the texts of a file are read: a function that returns what one means; None if it means
    nothing."""
    if _is(path, _LISTS):
        return _list
    if _is(path, _SETS):
        return lambda text: frozenset(text.split())
    if _is(path, _POWERS):
        return lambda text: _power(text, path)
    in_sysctls = path.startswith(_SYSCTLS)
    if _is(path, _MASKS) or (not in_sysctls and _SHOWN_MASK.match(shown)):
        return _mask
    if path.startswith(_SYS) and (shown in _SHOWN or _is(path, _BOOLEANS)):
        return _boolean
    return lambda text: _numbers(text, path)


def takes_numbers(shown: str, path: str) -> bool:
    """Whether the kernel reads numbers in this file of /proc/sys, and nothing else: it shows some
    now."""
    others = (*_TEXTS, *_LISTS, *_SETS, *_MASKS)
    words = shown.split()
    numbers = bool(words) and all(_NUMBER.match(word) for word in words)
    return numbers and path.startswith(_SYSCTLS) and not _is(path, others)


def _is(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _numbers(text: str, path: str) -> tuple[int, ...] | None:
    """The numbers of a text that consists of numbers only."""
    found = [_number(word, path) for word in text.split()]
    known = [number for number in found if number is not None]
    return tuple(known) if known and len(known) == len(found) else None


def _number(word: str, path: str) -> int | None:
    """A number as the kernel reads it: a leading zero makes it octal in /proc/sys, and elsewhere
    that depends on the file."""
    if not _NUMBER.match(word) or len(word) > _DIGITS:
        return None
    digits = word.lstrip("-")
    if digits[:2] in ("0x", "0X"):
        return int(word, 16)
    if digits == "0" or not digits.startswith("0"):
        return int(word)
    octal = int(word, 8) if not re.search("[89]", word) else None
    return octal if path.startswith(_SYSCTLS) or octal == int(word) else None


def _power(text: str, path: str) -> int | None:
    """A number, rounded up to a power of two."""
    number = _number(text, path)
    if number is None or number < 0:
        return None
    return 1 << (number - 1).bit_length() if number else 0


def _decimal(text: str) -> int | None:
    """A number as TuneD reads it where it compares two."""
    text = text.strip()
    decimal = re.match(r"[+-]?[0-9]+\Z", text, re.ASCII) and len(text) <= _DIGITS
    return int(text) if decimal else None


def _mask(text: str) -> int | None:
    """The bits of a mask."""
    if not _MASK.match(text) or len(text) > 64 * _DIGITS:
        return None
    return int("".join(group.zfill(8) for group in text.split(",")), 16)


def _list(text: str) -> tuple[object, ...] | None:
    """The ranges of a list, merged."""
    ranges = []
    for part in text.split(",") if text else ():
        match = _RANGE.match(part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            return None
        ranges.append((int(match[1]), int(match[2] or match[1])))
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return tuple(merged)


def _boolean(text: str) -> bool | None:
    """A boolean in one of the words of kstrtobool, and no other."""
    word = text.lower()
    if word in _TRUE:
        return True
    return False if word in _FALSE else None


def parse(content: bytes, path: str) -> str:
    """The value that one of the kernel's files contains.

    Below /sys, of `always [madvise] never` it is the word in brackets; a value of /proc/sys is
    text.
    """
    text = content.decode(errors="replace")
    if not path.startswith(_SYS):
        return text.rstrip("\n")
    chosen = _CHOSEN.findall(text)
    return chosen[0] if len(chosen) == 1 else text.strip()
