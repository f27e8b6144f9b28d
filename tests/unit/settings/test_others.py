"""The settings of other plugins: what TuneD is to restore, and what is named because it stays."""

from __future__ import annotations

from pathlib import Path

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record.model import Residue
from ocp_tuned_boot.settings import compare, others, residue
from ocp_tuned_boot.settings.residue import Other, Settings
from ocp_tuned_boot.tuned import wanted
from ocp_tuned_boot.tuned.asked import Asked, Comparison, Original, Restored, Section
from tests.unit.tuned.asking import held, meaning, section

GOVERNOR = section("cpu", {"governor": "performance"})
CPUS = ("cpu0", "cpu1")
#: A profile that sets none of it.
ANOTHER = meaning(section("sysctl", {"vm.x": "1"}))


def rows(of: Section, option: str, *devices: str, state: str = "passed", why: str = ""
         ) -> list[Comparison]:  # fmt: skip
    return [
        Comparison(of.name, of.type, option, state, device=device, why=why) for device in devices
    ]


def original(option: str, *devices: str, first: str, plugin: str = "cpu", applied: str = ""
             ) -> Original:  # fmt: skip
    return Original(plugin, option, devices, first, applied or "performance")


SET = others.of_profile(
    meaning(GOVERNOR), rows(GOVERNOR, "governor", *CPUS),
    [original("governor", *CPUS, first="powersave")],
)  # fmt: skip


def after(known: tuple[Other, ...], said: Asked, compared: list[Comparison],
          restored: tuple[Restored, ...] = (), owned: tuple[str, ...] = (),
          ) -> tuple[tuple[Other, ...], tuple[Residue, ...]]:  # fmt: skip
    """What is known after a run of this profile, and what is left over."""
    now_set = others.of_profile(said, compared, ())
    return others.settled(known, now_set, others.named(said), restored, owned)


def names(left: tuple[Residue, ...]) -> list[tuple[str, str, str]]:
    return [(each.key, each.how, each.devices) for each in left]


def test_tuned_is_to_restore_what_a_profile_does_not_name() -> None:
    row = {
        "plugin": "cpu", "option": "governor", "devices": list(CPUS),
        "first": "powersave", "applied": "performance",
    }  # fmt: skip
    assert others.to_restore(SET, ANOTHER) == [row]
    # The new profile may set another value: a detour would be a gap.
    assert others.to_restore(SET, meaning(section("cpu", {"governor": "schedutil"}))) == []
    # A section that is left out on this machine sets nothing.
    left_out = section("cpu", {"governor": "x"}, left_out="uname_regex")
    assert others.to_restore(SET, meaning(left_out)) == [row]
    # Nothing is known of the rest of the profile.
    assert others.to_restore(SET, None) == []
    assert others.to_restore(SET, Asked(**{**vars(ANOTHER), "left": 1})) == []


def test_what_was_so_before_is_not_to_be_restored() -> None:
    same = others.of_profile(
        meaning(GOVERNOR), (), [original("governor", "cpu0", first="performance")]
    )
    assert others.to_restore(same, ANOTHER) == []
    assert after(same, ANOTHER, [])[1] == ()


def test_what_became_of_it_is_recorded() -> None:
    restored = (
        Restored("cpu", "governor", "cpu0", "restored"),
        Restored("cpu", "governor", "cpu1", "theirs"),
    )
    known, left = after(SET, ANOTHER, [], restored)
    assert known == ()
    assert left == (
        Residue("cpu.governor", "put-back", "powersave", "performance", "powersave", "cpu0"),
        Residue("cpu.governor", "theirs", "powersave", "performance", "", "cpu1"),
    )
    assert list(residue.findings(left)) == []


def test_what_was_not_restored_is_named_until_the_next_boot() -> None:
    failed = tuple(Restored("cpu", "governor", cpu, "stays", "refused") for cpu in CPUS)
    known, left = after(SET, ANOTHER, [], failed)
    (finding,) = residue.findings(left)
    assert (finding.kind, finding.subject) == ("still-set", "cpu.governor")
    assert finding.message == (
        "cpu.governor (cpu0, cpu1): 'performance' of an earlier profile stays: refused"
    )
    # And again after the next profile: TuneD was not asked (contract = operand).
    known, left = after(known, ANOTHER, [])
    assert names(left) == [("cpu.governor", "stays", "cpu0, cpu1")]
    # A profile that sets it ends that.
    assert after(known, meaning(GOVERNOR), rows(GOVERNOR, "governor", *CPUS))[1] == ()


def test_only_the_devices_that_the_profile_does_not_set_are_left() -> None:
    one = section("cpu", {"governor": "schedutil"}, devices="cpu1")
    known, left = after(SET, meaning(one), rows(one, "governor", "cpu1"))
    assert names(left) == [("cpu.governor", "stays", "cpu0")]
    # The first value of the boot is kept.
    assert Other("cpu", "governor", ("cpu1",), "schedutil", "powersave") in known
    # Of all devices, one may have gone since.
    assert after(SET, meaning(GOVERNOR), rows(GOVERNOR, "governor", "cpu0"))[1] == ()
    # Another section has taken it.
    more = section("more", {"no_turbo": "1"}, "cpu", devices="cpu0")
    _, left = after(SET, meaning(GOVERNOR, more), rows(GOVERNOR, "governor", "cpu1"))
    assert names(left) == [("cpu.governor", "stays", "cpu0")]


def test_without_a_comparison_it_is_all_devices_or_those_that_are_named() -> None:
    for devices, shown in (("*", ""), ("sda", "sda")):
        disk = section("disk", {"elevator": "none"}, devices=devices)
        known = others.of_profile(meaning(disk), (), ())
        assert names(after(known, ANOTHER, [])[1]) == [("disk.elevator", "stays", shown)]
        assert after(known, meaning(disk), [])[1] == ()


def test_what_tuned_did_not_set_is_not_left() -> None:
    options = {"governor": "performance", "load_threshold": "0.3", "force_latency": "7"}
    cpu = section("cpu", options)
    compared = [
        *rows(cpu, "governor", "cpu0", state="not-applicable"),
        *rows(cpu, "load_threshold", "", state="parameter"),
    ]
    assert others.of_profile(meaning(cpu), compared, ()) == ()
    site = section("site", {"a": "1", "b": "1", "c": "1"})
    compared = [
        *rows(site, "a", "", state="unchecked", why="TuneD does not know this option"),
        *rows(site, "b", "", state="unchecked", why="failed to initialize plugin site"),
        *rows(site, "c", "", state="unchecked", why="TuneD does not compare it"),
    ]
    assert [it.option for it in others.of_profile(meaning(site), compared, ())] == ["c"]
    # Kernel arguments are those of the next boot, and values are restored by the host.
    elsewhere = [section(name, {"x": "1"}) for name in ("bootloader", "sysfs", "vm", "rtentsk")]
    assert others.of_profile(meaning(*elsewhere), (), ()) == ()


def test_a_script_may_have_set_anything() -> None:
    script = section("script", {"script": "/etc/tuned/a/s.sh"})
    before = section("sysctl", {"vm.x": "1", "script_pre": "/etc/tuned/a/pre.sh"})
    known = others.of_profile(meaning(script, before), (), ())
    left = after(known, ANOTHER, [])[1]
    assert names(left) == [("script.script", "stays", ""), ("sysctl.script_pre", "stays", "")]
    message = next(residue.findings(left)).message
    assert message.startswith("script.script: '/etc/tuned/a/s.sh' of an earlier profile stays")
    other = section("script", {"script": "/etc/tuned/b/s.sh"})
    assert len(after(known, meaning(other), [])[1]) == 2
    assert len(after(known, meaning(script), [])[1]) == 1


def test_the_first_value_is_not_that_of_an_unfinished_run() -> None:
    begun = others.with_unfinished((), others.of_profile(meaning(GOVERNOR), (), ()))
    # TuneD found what the run before had set.
    found = others.of_profile(
        meaning(GOVERNOR), rows(GOVERNOR, "governor", "cpu0"),
        [original("governor", "cpu0", first="performance")],
    )  # fmt: skip
    known, left = others.settled(begun, found, others.named(meaning(GOVERNOR)), (), ())
    assert left == ()
    assert names(after(known, ANOTHER, [])[1]) == [("cpu.governor", "stays", "cpu0")]


def test_parameters_in_a_list_of_net_are_settings_of_their_own() -> None:
    value, before = "adaptive-rx on, rx-usecs 3", "adaptive-rx off rx-usecs 0"
    net = section("net", {"coalesce": value})
    first = original("coalesce", "eth0", plugin="net", first=before, applied=value)
    known = others.of_profile(meaning(net), rows(net, "coalesce", "eth0"), [first])
    fewer = section("net", {"coalesce": "adaptive-rx off"})
    (row,) = others.to_restore(known, meaning(fewer))
    assert (row["option"], row["first"]) == ("coalesce rx-usecs", "rx-usecs 0")
    _, left = after(known, meaning(fewer), rows(fewer, "coalesce", "eth0"))
    assert names(left) == [("net.coalesce rx-usecs", "stays", "eth0")]


def test_what_is_in_a_file_stays_longer_than_the_boot() -> None:
    systemd = section("systemd", {"cpu_affinity": "0"})
    modules, kvm = section("modules", {"kvm": "a=1"}), section("modules", {"kvm_intel": "a=1"})
    known = others.of_profile(meaning(systemd, modules), (), ())
    messages = [each.message for each in residue.findings(after(known, ANOTHER, [])[1])]
    assert (
        "stays: it is in /etc/systemd/system.conf or system.conf.d/00-tuned.conf, also after"
        in messages[0]
    )
    assert "stays: it is in /etc/modprobe.d/tuned.conf, also after the next boot" in messages[1]
    # The plugin has written the file anew.
    messages = [each.message for each in residue.findings(after(known, meaning(kvm), [])[1])]
    assert messages[1] == "modules.kvm: 'a=1' of an earlier profile stays until the next boot"


def test_what_others_own_by_now_is_theirs() -> None:
    irqbalance = section("irqbalance", {"banned_cpus": "0"})
    known = others.of_profile(meaning(irqbalance), (), ())
    _, left = after(known, ANOTHER, [], owned=("/etc/sysconfig/irqbalance",))
    assert names(left) == [("irqbalance.banned_cpus", "theirs", "")]
    assert names(after(known, ANOTHER, [])[1]) == [("irqbalance.banned_cpus", "stays", "")]


def test_of_many_devices_a_few_are_shown() -> None:
    cpus = [f"cpu{number}" for number in range(512)]
    known = others.of_profile(meaning(GOVERNOR), rows(GOVERNOR, "governor", *cpus), ())
    (left,) = after(known, ANOTHER, [])[1]
    assert left.devices == "cpu0, cpu1, cpu10 and 509 more"


def test_a_boot_of_many_profiles_does_not_fill_the_file() -> None:
    known: tuple[Other, ...] = ()
    for number in range(200):
        said = meaning(section("script", {"script": f"/{number}/" + "s" * 10_000}))
        known, _ = after(known, said, [])
    assert 40 < len(known) < 60
    assert known[-1].applied.startswith("/199/")


def test_settings_of_a_profile_that_is_not_known_are_kept(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    (tmp_path / "run/ocp-tuned-boot").mkdir(parents=True)
    known = Settings("b", others=SET)
    compare.compare(paths, known, compare.requested(None, "no Python"), ())
    assert residue.read(paths, "b").others == SET
    said = meaning(section("audio", {"timeout": "1"}))
    profile = compare.Requested(wanted.settings(said), said, held())
    _, left = compare.compare(paths, residue.read(paths, "b"), profile, ())
    assert names(left) == [("cpu.governor", "stays", "cpu0, cpu1")]


def test_what_an_unfinished_run_may_have_set_is_named() -> None:
    begun = meaning(section("cpu", {"governor": "schedutil"}), section("audio", {"timeout": "1"}))
    known = others.with_unfinished(SET, others.of_profile(begun, (), ()))
    # Which CPUs is known; whose value they have is not.
    assert others.to_restore(known, ANOTHER) == []
    _, left = after(known, ANOTHER, [])
    assert set(names(left)) == {
        ("cpu.governor", "stays", "cpu0, cpu1"), ("audio.timeout", "stays", ""),
    }  # fmt: skip
    audio = section("audio", {"timeout": "1"})
    compared = [
        *rows(GOVERNOR, "governor", *CPUS), *rows(audio, "timeout", "", state="not-applicable"),
    ]  # fmt: skip
    assert after(known, meaning(GOVERNOR, audio), compared)[1] == ()
