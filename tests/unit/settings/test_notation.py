"""The notations of a value: what is the same, and what only looks so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot.settings.notation import equal, parse, same

ANY = "/proc/sys/vm/any"
RMEM = "/proc/sys/net/ipv4/tcp_rmem"
PRINTK = "/proc/sys/kernel/printk"
PATTERN = "/proc/sys/kernel/core_pattern"
PORTS = "/proc/sys/net/ipv4/ip_local_reserved_ports"
CONGESTION = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
WATCHDOG = "/proc/sys/kernel/watchdog_cpumask"
MASK = "/sys/devices/virtual/workqueue/cpumask"
RPS = "/sys/class/net/eth0/queues/rx-0/rps_cpus"
AFFINITY = "/proc/irq/default_smp_affinity"
SWAP = "/sys/kernel/mm/swap/vma_ra_enabled"
MODULE = "/sys/module/acpi/parameters/ec_no_wakeup"
ONLINE = "/sys/devices/system/cpu/cpu1/online"
SMT = "/sys/devices/system/cpu/smt/control"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
LRU = "/sys/kernel/mm/lru_gen/enabled"
PIPE = "/proc/sys/fs/pipe-max-size"
FLOWS = "/sys/class/net/eth0/queues/rx-0/rps_flow_cnt"
RA = "/sys/block/sda/queue/read_ahead_kb"


@pytest.mark.parametrize(
    ("path", "expected", "found"),
    [
        # Numbers.
        (ANY, "0x10", "16"), (ANY, "0X1f", "31"), (ANY, "010", "8"), (ANY, "-1", "-1"),
        (ANY, " 5 ", "5"), (ANY, "0x0", "0"), (ANY, "007", "7"), (LRU, "7", "0x0007"),
        (RA, "0x80", "128"), (RA, "007", "7"),
        # Rounded up to a power of two.
        (PIPE, "1000000", "1048576"), (FLOWS, "3000", "4096"), (FLOWS, "0", "0"),
        (FLOWS, "0x800", "2048"),
        # Several: white space, and fewer than there are.
        (RMEM, "4096 131072  6291456", "4096\t131072\t6291456"),
        (RMEM, "4096 0x20000", "4096\t131072\t6"),
        (PRINTK, "3", "3\t4\t1\t7"), (PRINTK, "3 4", "3\t4\t1\t7"),
        # TuneD's limits and alternatives.
        (ANY, ">10", "10"), (ANY, ">10", "11"), (ANY, "<10", "9"), (ANY, "< 10", "10"),
        (ANY, "1|2", "2"), (ANY, "1 | 2", "2"), ("", "schedutil|powersave", "powersave"),
        # Ranges.
        (PORTS, "30000,30001,30002", "30000-30002"), (PORTS, "7,5-6,1", "1,5-7"),
        (PORTS, "1-4,3-9", "1-9"), (WATCHDOG, "0,1", "0-1"), (PORTS, "", ""),
        ("/proc/irq/9/smp_affinity_list", "0,1,2,4", "0-2,4"),
        ("/sys/fs/cgroup/a.slice/cpuset.cpus", "0,1", "0-1"),
        # Masks.
        (MASK, "0000000f", "f"), (MASK, "F", "f"), (MASK, "3", "00000000,00000003"),
        (MASK, "1,00000000", "00000001,00000000"), (RPS, "00", "0"), (AFFINITY, "3", "03"),
        ("/sys/any", "3", "00000000,00000003"), ("/sys/any", "f", "0000000f"),
        # Booleans.
        (SWAP, "1", "true"), (SWAP, "0", "false"), (SWAP, "N", "false"), (SWAP, "on", "true"),
        (MODULE, "true", "Y"), (MODULE, "0", "N"), (MODULE, "off", "N"), (MODULE, "y", "Y"),
        (ONLINE, "on", "1"), (ONLINE, "N", "0"),
        # Words.
        (CONGESTION, "cubic  reno", "reno cubic"), (THP, "madvise", "madvise"),
    ],
)  # fmt: skip
def test_the_same(path: str, expected: str, found: str) -> None:
    assert same(expected, found, path)


@pytest.mark.parametrize(
    ("path", "expected", "found"),
    [
        # A leading zero is octal in /proc/sys; elsewhere that depends on the file.
        (ANY, "010", "10"), (ANY, "08", "8"), (RA, "010", "10"), (RA, "010", "8"),
        # What Python takes for a number, and the kernel does not.
        (ANY, "1_0", "10"), (ANY, "+5", "5"), (ANY, "٣", "3"), (ANY, "0b11", "3"),
        (ANY, "1.0", "1"),
        (ANY, "0o7", "7"), (ANY, "1e1", "10"), (ANY, "-1", "4294967295"), (ANY, "- 1", "-1"),
        (RMEM, "4096,131072", "4096\t131072\t6"), (PRINTK, "4", "3\t4\t1\t7"),
        (PRINTK, "3 4 1 7 1", "3\t4\t1\t7"), (RA, "1", "1 2"), (ANY, "", "0"), (ANY, "1", ""),
        # Limits that TuneD does not know.
        (ANY, ">10", "9"), (ANY, "<10", "11"), (RMEM, ">1", "4096\t131072\t6"), (ANY, ">0x1", "2"),
        (ANY, ">", "1"), (ANY, ">a", "b"), (ANY, "3|4", "2"), (ANY, "|", "1"),
        # Rounded up, and not to any other.
        (PIPE, "1000000", "524288"), (PIPE, "1000000", "2097152"), (FLOWS, "1", "0"),
        (ANY, "1000000", "1048576"), (FLOWS, "-1", "0"),
        # Free text.
        (PATTERN, "|/bin/false", "/bin/false"), (PATTERN, "a|b", "b"), (PATTERN, "010", "8"),
        (PATTERN, "a  b", "a b"), (PATTERN, "[a] b", "a"), (PATTERN, ">1", "2"),
        (PATTERN, "1", "1 2"),
        ("/proc/sys/kernel/hostname", "0x10", "16"),
        # A number is no range, and a range that the kernel refuses is none.
        (ANY, "1,2,3", "1-3"), (PORTS, "3-1", "1-3"), (PORTS, "1 2", "1-2"), (PORTS, "1,,2", "1-2"),
        (PORTS, "1-3", "1,3"), (PORTS, "", "1"),
        # A mask is hexadecimal, and has at most eight digits without a comma.
        (MASK, "10", "16"), (MASK, "0xf", "f"), (MASK, "000000003", "3"), (ANY, "f", "0000000f"),
        (MASK, "1,0", "10"), (WATCHDOG, "3", "0-1"), (RA, "10", "0x10"),
        # A word is a boolean only where there is one, and as a whole.
        (ANY, "true", "1"), (ANY, "Y", "1"), (RA, "on", "1"), (SMT, "1", "on"), (SMT, "0", "off"),
        (SWAP, "10", "true"), (SWAP, "1 1", "true"), (SWAP, "yesterday", "true"),
        (SWAP, "2", "true"),
        (MODULE, "1", "N"), (SWAP, "", "false"), (ONLINE, "2", "1"),
        ("/sys/power/control", "1", "on"),
        # The order of words counts where nothing else is known, and quotes do.
        ("/sys/any", "a b", "b a"), (THP, '"never"', "never"), (ANY, '"17"', "17"),
    ],
)  # fmt: skip
def test_not_the_same(path: str, expected: str, found: str) -> None:
    assert not same(expected, found, path)


@pytest.mark.parametrize("plugin", ["sysfs", "vm"])
def test_limits_are_those_of_the_sysctl_plugin(plugin: str) -> None:
    assert same(">1", "2", ANY, "sysctl")
    assert not same(">1", "2", ANY, plugin)


PATHS = st.sampled_from(
    [ANY, PATTERN, PORTS, MASK, SWAP, THP, CONGESTION, ONLINE, RA, "/etc/x", ""]
)
WORDS = st.text(alphabet='01239afxFXYNtrueonf,-|><[] \t"', max_size=10)


@given(path=PATHS, text=WORDS)
def test_a_text_is_the_same_as_itself(path: str, text: str) -> None:
    assert same(text, f" {text}\n", path)


@given(path=PATHS, expected=st.text(max_size=10) | WORDS, found=st.text(max_size=10) | WORDS)
def test_any_text_can_be_compared(path: str, expected: str, found: str) -> None:
    assert same(expected, found, path) in (True, False)


@given(number=st.integers(0, 2**64), base=st.sampled_from(["{}", "{:#x}", "{:#X}", "0{:o}"]),
       other=st.integers(0, 2**64))  # fmt: skip
def test_a_number_is_itself_in_every_base_and_no_other(number: int, base: str, other: int) -> None:
    written = base.format(number)
    assert same(written, str(number), ANY)
    assert same(written, str(other), ANY) == (number == other)


CPUS = st.frozensets(st.integers(0, 127), max_size=20)


@given(cpus=CPUS, others=CPUS)
def test_a_mask_means_its_cpus(cpus: frozenset[int], others: frozenset[int]) -> None:
    def shown(numbers: frozenset[int]) -> str:
        digits = f"{sum(1 << number for number in numbers):032x}"
        return ",".join(digits[at : at + 8] for at in range(0, 32, 8))

    short = shown(cpus).lstrip("0,") or "0"
    assert same(short, shown(cpus), MASK)
    assert same(short, shown(cpus), "/sys/any")
    assert same(short, shown(others), MASK) == (cpus == others)


@given(cpus=CPUS, others=CPUS, data=st.data())
def test_a_list_means_its_numbers(
    cpus: frozenset[int], others: frozenset[int], data: st.DataObject
) -> None:
    def shown(numbers: frozenset[int]) -> str:
        starts = sorted(number for number in numbers if number - 1 not in numbers)
        ends = sorted(number for number in numbers if number + 1 not in numbers)
        pairs = zip(starts, ends)
        return ",".join(str(one) if one == two else f"{one}-{two}" for one, two in pairs)

    written = ",".join(map(str, data.draw(st.permutations(sorted(cpus)))))
    assert same(written, shown(cpus), PORTS)
    assert same(written, shown(others), PORTS) == (cpus == others)


@given(text=WORDS.map(str.strip), path=st.sampled_from([PATTERN, "/proc/sys/kernel/hostname"]))
def test_a_free_text_is_only_itself(text: str, path: str) -> None:
    assert not same(text + "x", text, path)
    assert equal(text, text, path)


@pytest.mark.parametrize(
    ("path", "content", "value"),
    [
        (THP, b"always [madvise] never\n", "madvise"),
        ("/sys/block/sda/queue/scheduler", b"[none]\n", "none"),
        ("/sys/any", b"foo[3] bar\n", "foo[3] bar"),
        ("/sys/any", b"[a] [b] c\n", "[a] [b] c"),
        ("/sys/any", b" 7\n", "7"),
        (PATTERN, b"/var/crash/[%e].%p\n", "/var/crash/[%e].%p"),
        (PATTERN, b"a [b] c \n", "a [b] c "),
        ("/proc/sys/vm/x", b"always [madvise] never\n", "always [madvise] never"),
    ],
)
def test_a_choice_is_in_brackets_only_below_sys(path: str, content: bytes, value: str) -> None:
    assert parse(content, path) == value
