"""The values that the kernel accepts for some sysctls, for what is checked without a kernel. Pure.

Only limits that all kernels from 4.18 (Enterprise Linux 8) on have. Sources: the tables in
kernel/sysctl.c, mm, net/core/sysctl_net_core.c and net/ipv4/sysctl_net_ipv4.c of the kernel.
"""

from __future__ import annotations

import re

_INT = 2**31 - 1

#: The lowest and the highest value.
LIMITS = {
    "kernel.hung_task_timeout_secs": (0, 2**63),
    "kernel.nmi_watchdog": (0, 1),
    "kernel.numa_balancing": (0, 3),
    "kernel.pid_max": (301, 4194304),
    "kernel.sched_rt_period_us": (1, _INT),
    "kernel.sched_rt_runtime_us": (-1, _INT),
    "kernel.soft_watchdog": (0, 1),
    "kernel.timer_migration": (0, 1),
    "kernel.watchdog": (0, 1),
    "kernel.watchdog_thresh": (0, 60),
    "fs.aio-max-nr": (0, 2**64),
    "fs.file-max": (0, 2**64),
    "fs.inotify.max_user_instances": (0, _INT),
    "fs.inotify.max_user_watches": (0, _INT),
    "net.core.busy_poll": (0, _INT),
    "net.core.busy_read": (0, _INT),
    "net.core.somaxconn": (0, _INT),
    "vm.dirty_background_bytes": (1, 2**64),
    "vm.dirty_background_ratio": (0, 100),
    "vm.dirty_expire_centisecs": (0, _INT),
    "vm.dirty_ratio": (0, 100),
    "vm.max_map_count": (0, _INT),
    "vm.min_free_kbytes": (0, _INT),
    "vm.overcommit_memory": (0, 2),
    "vm.panic_on_oom": (0, 2),
    "vm.swappiness": (0, 200),
    "vm.vfs_cache_pressure": (0, _INT),
    "vm.watermark_scale_factor": (1, 3000),
}

_NUMBER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})\Z", re.ASCII)
# A value of TuneD: a minimum or maximum, and alternatives (tuned/plugins/base.py).
_MODIFIER = re.compile(r"\A[<>]")
_CONDITIONAL = re.compile(r'\A"?\s*[<>]|\|')


def refused(key: str, value: str) -> str:
    """Why the kernel refuses this value of a sysctl; empty if it does not, or if that is not known.
    `value` is that of a profile: `>1` is a minimum."""
    limits = LIMITS.get(key.replace("/", "."))
    if limits is None or "${" in value:
        return ""
    least, most = limits
    for each in _bare(value).split("|"):
        if not _NUMBER.match(each.strip()):
            return f"found {each.strip()!r}, expected a number"
        number = _number(each.strip())
        if not least <= number <= most:
            upper = f"from {least} to {most}" if most <= _INT and most != _INT else f"from {least}"
            return f"found {number}, expected a number {upper}"
    return ""


def is_conditional(value: str) -> bool:
    """Whether TuneD may leave the setting as it is: for one with alternatives, or a minimum or
    maximum, which is written only if the present value is beyond it."""
    return bool(_CONDITIONAL.search(value.strip()))


def is_number(text: str) -> bool:
    """Whether the kernel reads this as a number."""
    return bool(_NUMBER.match(text))


def words(value: str) -> list[str]:
    """The words of each alternative of a value, without what TuneD takes for itself."""
    return [word for each in _bare(value).split("|") for word in each.split()]


def _bare(value: str) -> str:
    value = re.sub(r'^"(.*)"$', r"\1", value.strip())
    return _MODIFIER.sub("", value).strip()


def _number(text: str) -> int:
    """As the kernel reads it: a zero in front makes it octal (simple_strtoul)."""
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    if digits.lower().startswith("0x"):
        return sign * int(digits, 16)
    if digits.startswith("0") and re.fullmatch("[0-7]+", digits):
        return sign * int(digits, 8)
    return sign * int(digits)
