"""The first value of each setting, and which ones are restored: never one that others own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.record.model import Residue
from ocp_tuned_boot.settings import residue as settings
from ocp_tuned_boot.settings import values
from ocp_tuned_boot.settings.residue import Saved, Settings
from ocp_tuned_boot.tuned.wanted import Setting

A, B = "/proc/sys/vm/a", "/proc/sys/vm/b"
ASK_A, ASK_B = Setting("sysctl", "vm.a", "5"), Setting("sysctl", "vm.b", "6")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A kernel whose settings are 1."""
    (tmp_path / "proc/sys/vm").mkdir(parents=True)
    for path in (A, B):
        put(tmp_path, path, "1")
    return tmp_path


def put(root: Path, path: str, value: str) -> None:
    (root / path.lstrip("/")).write_text(value + "\n")


def applied(root: Path, *asked: Setting, known: Settings | None = None) -> Settings:
    """As after a run of TuneD that has set all of it."""
    known = settings.before(root, known or Settings("boot"), asked)
    for setting in asked:
        (path,), value = values.targets(root, setting)
        put(root, path, value)
    return settings.after(root, known, values.read_back(root, asked), asked, "12:00")


def test_the_first_value_of_a_boot_is_kept_through_all_runs(root: Path) -> None:
    known = applied(root, ASK_A)
    assert known == Settings("boot", {A: Saved("1", "5")}, "12:00")
    known = applied(root, Setting("sysctl", "vm.a", "7"), ASK_B, known=known)
    assert known.saved == {A: Saved("1", "7"), B: Saved("1", "6")}


def test_what_is_no_longer_named_gets_its_first_value_back(root: Path) -> None:
    known = applied(root, ASK_A, ASK_B)
    known, residue = settings.put_back(root, known, [ASK_B], ())
    assert residue == (Residue("vm.a", "put-back", "1", "5", "1"),)
    assert (values.read(root, A), values.read(root, B)) == ("1", "6")
    assert set(known.saved) == {B}
    assert settings.put_back(root, known, [ASK_B], ()) == (known, ())


def test_nothing_is_restored_that_an_unknown_part_of_the_profile_may_set(root: Path) -> None:
    known = applied(root, ASK_A, ASK_B)
    # TuneD has set the first again, and the second to another value.
    put(root, B, "9")
    unknown = Setting("include", "site-${f:exec:x}", "", "its settings are not known")
    known, residue = settings.put_back(root, known, [unknown], ())
    assert residue == ()
    assert (values.read(root, A), values.read(root, B)) == ("5", "9")
    # What is still as it was applied is restored once the profile is known.
    known, residue = settings.put_back(root, known, [], ())
    assert [each.key for each in residue] == ["vm.a"]
    assert (values.read(root, A), values.read(root, B)) == ("1", "9")


def test_what_others_have_changed_since_is_theirs(root: Path) -> None:
    known = applied(root, ASK_A)
    put(root, A, "9")
    _, residue = settings.put_back(root, known, [], ())
    assert residue == (Residue("vm.a", "theirs", "1", "5", "9"),)
    assert values.read(root, A) == "9"


def test_what_is_on_the_hand_over_list_stays(root: Path) -> None:
    known = applied(root, ASK_A)
    _, residue = settings.put_back(root, known, [], {A})
    assert residue == (Residue("vm.a", "theirs", "1", "5", "5"),)


def test_what_has_its_first_value_already_is_not_reported(root: Path) -> None:
    known = applied(root, ASK_A)
    put(root, A, "1")
    assert settings.put_back(root, known, [], ())[1] == ()


def test_the_profile_is_read_once_however_many_settings_are_put_back(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [Setting("sysctl", f"vm.first{number}", "5") for number in range(100)]
    second = [Setting("sysctl", f"vm.second{number}", "5") for number in range(100)]
    for setting in (*first, *second):
        put(root, values.targets(root, setting)[0][0], "1")
    known = applied(root, *first)
    asked: list[Setting] = []
    targets = values.targets

    def counted(root: Path, setting: Setting) -> tuple[list[str], str]:
        asked.append(setting)
        return targets(root, setting)

    monkeypatch.setattr(values, "targets", counted)
    _, residue = settings.put_back(root, known, second, ())
    assert len(residue) == 100
    # Not once more for each file: 1,024 files took 6.7 s, 5,000 would have taken minutes.
    assert asked == second


def test_what_the_kernel_refuses_to_restore_is_reported(root: Path) -> None:
    path = root / A.lstrip("/")
    path.unlink()
    path.symlink_to("/proc/sys/kernel/ostype")  # which cannot be written
    known = Settings("boot", {A: Saved("Linus", "Linux")})
    known, residue = settings.put_back(root, known, [], ())
    assert residue == (Residue("vm.a", "refused", "Linus", "Linux", "Linux"),)
    (finding,) = settings.findings(residue)
    assert (finding.kind, finding.subject) == ("not-restored", "vm.a")
    # It is remembered, also by a profile that does not name it, and tried again.
    assert known.saved[A] == Saved("Linus", "Linux", refused=True)
    paths = Paths(root)
    paths.run.mkdir(parents=True)
    settings.store(paths, known)
    assert settings.load(paths, "boot") == known
    known, residue = settings.put_back_again(root, known, ())
    assert residue[0].how == "refused"
    path.unlink()
    put(root, A, "Linux")
    known, residue = settings.put_back_again(root, known, ())
    assert (residue[0].how, values.read(root, A)) == ("put-back", "Linus")
    assert (known.saved, tuple(settings.findings(residue))) == ({}, ())


@pytest.mark.parametrize("state", ["different", "handed-over"])
def test_what_tuned_did_not_set_is_not_ours(root: Path, state: str) -> None:
    known = settings.before(root, Settings("boot"), [ASK_A])
    put(root, A, "9")
    owned = {A} if state == "handed-over" else set()
    found = values.read_back(root, [ASK_A], owned)
    assert [value.state for value in found] == [state]
    known = settings.after(root, known, found, [ASK_A], "12:00")
    assert known.saved[A] == Saved("1", None)
    assert settings.put_back(root, known, [], ())[1] == ()


@pytest.mark.parametrize(("now", "ours"), [("8", "8"), ("1", None)])
def test_what_cannot_be_compared_is_ours_if_it_has_changed(
    root: Path, now: str, ours: str | None
) -> None:
    computed = Setting("sysctl", "vm.a", "${f:x}", unknown="TuneD computes it")
    known = settings.before(root, Settings("boot"), [computed])
    put(root, A, now)
    found = values.read_back(root, [computed])
    known = settings.after(root, known, found, [computed], "12:00")
    assert known.saved[A].applied == ours


class Kernel:
    """Writes as the kernel does: one of a pair sets the other to zero, and A must not be above B
    (as net.ipv4.ip_unprivileged_port_start and ip_local_port_range). A real one: test_cases.py in
    the lab."""

    def __init__(self, root: Path) -> None:
        self.root, self.written = root, []  # type: ignore[var-annotated]

    def write(self, root: Path, path: str, value: str) -> bool:
        self.written.append((path, value))
        a, b = (value if path == one else values.read(root, one) for one in (A, B))
        if (path.endswith("bytes") and value == "0") or int(a) > int(b):
            return False
        put(root, path, value)
        other = values.COUNTERPARTS.get(path)
        if other:
            put(root, other, "0")
        return True


@pytest.fixture
def kernel(root: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel(root)
    monkeypatch.setattr(values, "write", made.write)
    return made


@pytest.mark.parametrize("pair", [
    ("dirty_bytes", "dirty_ratio"), ("dirty_background_bytes", "dirty_background_ratio"),
    ("overcommit_kbytes", "overcommit_ratio"),
])  # fmt: skip
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("first", [("0", "20"), ("8192", "0")])
def test_of_two_settings_that_rule_each_other_out_both_get_their_first_value(
    root: Path, kernel: Kernel, pair: tuple[str, str], both: bool, first: tuple[str, str]
) -> None:
    paths = [f"/proc/sys/vm/{name}" for name in pair]
    for path, value in zip(paths, first):
        put(root, path, value)
    asked = [Setting("sysctl", f"vm.{pair[0]}", "4096")]
    if both:
        asked.insert(0, Setting("sysctl", f"vm.{pair[1]}", "40"))
    known = settings.before(root, Settings("boot"), asked)
    kernel.write(root, paths[0], "4096")
    known = settings.after(root, known, values.read_back(root, asked), asked, "12:00")
    known, residue = settings.put_back(root, known, [], ())
    assert tuple(values.read(root, path) for path in paths) == first
    assert {each.how for each in residue} == {"put-back"}
    assert not [each for each in known.saved.values() if each.applied is not None]


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("first", "then"), [("1 1", "5 6"), ("5 6", "1 1"), ("7 8", "1 1")])
def test_they_are_restored_in_an_order_that_the_kernel_accepts(
    root: Path, first: str, then: str
) -> None:
    for values_ in (first, then):
        for path, value in zip((A, B), values_.split()):
            put(root, path, value)
    known = Settings("boot", {
        path: Saved(one, two) for path, one, two in zip((A, B), first.split(), then.split())
    })  # fmt: skip
    _, residue = settings.put_back(root, known, [], ())
    assert {each.how for each in residue} == {"put-back"}
    assert [values.read(root, path) for path in (A, B)] == first.split()


def test_a_text_in_brackets_is_restored_as_it_was(root: Path) -> None:
    pattern = "/proc/sys/kernel/core_pattern"
    (root / "proc/sys/kernel").mkdir()
    for first in ("/var/crash/[%e].%p", "a [b] c "):
        put(root, pattern, first)
        known = applied(root, Setting("sysctl", "kernel.core_pattern", "core.%p"))
        _, residue = settings.put_back(root, known, [], ())
        assert (residue[0].how, residue[0].first) == ("put-back", first)
        assert values.read(root, pattern) == first


def test_what_is_stored_is_loaded_in_the_same_boot_only(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    assert settings.load(paths, "boot") == Settings("boot")
    known = Settings("boot", {A: Saved("1", "5"), B: Saved("", None)}, "12:00")
    settings.store(paths, known)
    assert settings.load(paths, "boot") == known
    assert settings.load(paths, "other") == Settings("other")
    assert paths.settings.stat().st_mode & 0o777 == 0o600
    # After a soft-reboot nothing has been applied, but the kernel has all values still.
    assert settings.load(paths, "boot+1") == replace(known, boot_id="boot+1", applied_at="")
    assert settings.load(paths, "other+1") == Settings("other+1")


@pytest.mark.parametrize(
    "text",
    ["", "torn {", "[]", '{"version": 1}',
     ('{"version": 1, "boot_id": "boot", "applied_at": "", '
     '"saved": {"/x": {"first": 1, "applied": null}}}'),
     '{"version": 1, "boot_id": "boot", "applied_at": "", "saved": {"/x": {}}}',
     '{"version": 0, "boot_id": "boot", "applied_at": "", "saved": {}}'],
)  # fmt: skip
def test_a_broken_file_is_logged_and_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    paths.settings.write_text(text)
    assert settings.load(paths, "boot") == Settings("boot")
    assert f"{paths.settings}: found no settings of a boot" in caplog.text
