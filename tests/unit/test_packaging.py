"""What the package installs is what there is, and says what is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ocp_tuned_boot
from ocp_tuned_boot import watching
from ocp_tuned_boot.commands import staging, table
from ocp_tuned_boot.commands.command import Command
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import config

TREE = Path(__file__).resolve().parents[2]
SPEC = (TREE / "rpm.spec").read_text()
FOLDER = TREE / "units"
#: By name; a drop-in is named with its folder.
UNITS = {
    str(path.relative_to(FOLDER)): path.read_text()
    for path in sorted(FOLDER.rglob("*"))
    if path.is_file()
}
#: The units that run this program.
OURS = (
    "ocp-tuned.service", "ocp-tuned-notice.service", "ocp-tuned-image.service",
    "ocp-tuned-retry.service", "ocp-tuned-daemon.service",
)  # fmt: skip
SANDBOX = "10-sandbox.conf"
INSTANCES = ("shared", "own", "quiet")
SOCKETS = {f"ocp-tuned-podman@{name}.socket" for name in INSTANCES}
COMPLETION = TREE / "packaging/completions/ocp-tuned-boot"


def values(name: str, directive: str) -> list[str]:
    """All values of one directive in one unit file or drop-in, split into words."""
    lines = re.findall(rf"(?m)^{directive}=(.*)$", UNITS[name])
    return [word for line in lines for word in line.split()]


def macro(name: str) -> set[str]:
    """The words of a macro of the spec."""
    match = re.search(rf"(?m)^%global {name} (%\{{shrink:[^}}]*\}}|.*)$", SPEC)
    assert match is not None
    words = set(match[1].replace("%{shrink:", "").rstrip("}").split())
    return words if "%{sockets" not in match[1] else words - {"%{sockets"} | macro("sockets")


def test_the_spec_has_every_unit_and_no_other() -> None:
    listed = re.findall(r"(?m)^%\{_unitdir\}/(ocp-tuned\S*)$", SPEC)
    # That one holds a drop-in for a unit of somebody else.
    foreign = {"ocp-tuned-one-shot.service.d/50-ocp-tuned-boot.conf"}
    assert set(listed) - foreign == {path.name for path in FOLDER.iterdir()}


def test_what_runs_is_stopped_when_the_package_is_removed() -> None:
    plain = {name for name in UNITS if "/" not in name and "@" not in name}
    # ocp-tuned.service is only disabled: systemd keeps open what is in its descriptor store.
    assert macro("stopped") == (plain - {"ocp-tuned.service"}) | SOCKETS
    # A service is stopped with the socket that it requires.
    assert values("ocp-tuned-podman@.service", "Requires") == ["ocp-tuned-podman@%i.socket"]


def test_the_units_start_the_sockets_that_the_program_connects_to() -> None:
    assert set(values("ocp-tuned.service", "Wants")) == {
        *SOCKETS, "ocp-tuned.path", "ocp-tuned-go.service",
    }  # fmt: skip
    assert set(values("ocp-tuned.service", "After")) >= SOCKETS
    for order in ("Wants", "After"):
        assert "ocp-tuned-podman@quiet.socket" in values("ocp-tuned-image.service", order)
    (path,) = values("ocp-tuned-podman@.socket", "ListenStream")
    paths = {*map(str, config.SOCKETS.values()), str(staging.QUIET)}
    assert paths == {path.replace("%i", name) for name in INSTANCES}


def test_the_package_replaces_the_units_of_the_earlier_one() -> None:
    earlier = TREE / "tests/lab/before-template/units"
    assert macro("earlier_sockets") == {path.name for path in earlier.glob("*.socket")}
    assert macro("sockets") == SOCKETS


def test_one_sandbox_is_shared_by_the_units_of_this_program_and_by_no_other() -> None:
    own = FOLDER / f"{OURS[0]}.d" / SANDBOX
    assert {path.parent.name for path in FOLDER.rglob(SANDBOX)} == {f"{name}.d" for name in OURS}
    for name in OURS[1:]:
        link = FOLDER / f"{name}.d" / SANDBOX
        assert str(link.readlink()) == f"../{own.parent.name}/{SANDBOX}"
    # systemd.unit(5): dash-truncated folders would reach Podman's services, too.
    assert not [name for name in UNITS if "-.service.d" in name]


def test_the_drop_ins_leave_room_for_those_of_the_administrator() -> None:
    """Numbers 10 to 40 are for the vendor, 60 to 90 for the administrator (systemd.unit(5))."""
    drop_ins = [name.partition("/")[2] for name in UNITS if "/" in name]
    assert drop_ins
    assert all(re.match(r"[1-4]0-[a-z-]+\.conf\Z", name) for name in drop_ins)


def test_the_preset_enables_what_can_be_enabled() -> None:
    preset = (TREE / "packaging/80-ocp-tuned-boot.preset").read_text()
    enabled = re.findall(r"(?m)^enable (.*)$", preset)
    assert sorted(enabled) == sorted(name for name, text in UNITS.items() if "[Install]" in text)


#: The folders of node_exporter, by the files that systemd-tmpfiles removes there at boot.
FOLDERS_OF_METRICS = [
    str(Path(each).parent)
    for each in re.findall(
        r"(?m)^r! (\S+/ocp-tuned-boot\.prom)$", (TREE / "packaging/tmpfiles.conf").read_text()
    )
]


def test_the_metrics_of_the_boot_before_are_removed_wherever_the_units_may_write_them() -> None:
    assert len(FOLDERS_OF_METRICS) == 3
    for name in ("ocp-tuned.service", "ocp-tuned-notice.service"):
        writable = [each.lstrip("-") for each in values(name, "ReadWritePaths")]
        assert set(FOLDERS_OF_METRICS) <= set(writable)


def test_what_the_unit_may_write_is_made_before_it_starts() -> None:
    made = re.findall(r"(?m)^[dD] (\S+)", (TREE / "packaging/tmpfiles.conf").read_text())
    made += FOLDERS_OF_METRICS
    for name in OURS:
        shared = values(f"{name}.d/{SANDBOX}", "ReadWritePaths")
        assert shared
        for path in [*shared, *values(name, "ReadWritePaths")]:
            # Without it the unit starts all the same, and says what is missing.
            assert path.startswith("-")
            assert path[1:] in made or path.startswith("-/etc/")


def test_podman_keeps_passwords_in_a_folder_of_its_own_that_is_emptied() -> None:
    """Each in its own: one that starts must not take away what another one is at work with."""
    made = (TREE / "packaging/tmpfiles.conf").read_text()
    assert "D /var/lib/ocp-tuned-boot/tmp 0700 root root -" in made
    folder = "/var/lib/ocp-tuned-boot/tmp/%i"
    unit = UNITS["ocp-tuned-podman@.service"]
    assert f"\nEnvironment=TMPDIR={folder}\n" in unit
    # Without it Podman starts all the same.
    steps = re.findall(r"(?m)^ExecStartPre=-/usr/bin/(.*)$", unit)
    assert steps == [f"rm -rf {folder}", f"mkdir -p -m 0700 {folder}"]


def test_each_unit_waits_for_the_file_systems_that_it_opens() -> None:
    # The unit that pauses reads files in /etc and /run only.
    for name in set(OURS) - {"ocp-tuned-retry.service"}:
        assert values(name, "RequiresMountsFor") == [
            "/var/lib/ocp-tuned",
            "/var/lib/ocp-tuned-boot",
        ]
    # The kubelet's credentials: without them, an image that is on the node is applied all the same.
    for name in ("ocp-tuned-go.service", "ocp-tuned-image.service"):
        for order in ("Wants", "After"):
            assert "var-lib-kubelet.mount" in values(name, order)
    store = values("ocp-tuned-podman@.socket", "RequiresMountsFor")
    assert store == ["/var/lib/containers", "/var/lib/ocp-tuned-boot"]
    # It is mounted after sockets.target if it is on the network.
    assert values("ocp-tuned-podman@.socket", "DefaultDependencies") == ["no"]
    # With it there, systemd does nothing else any more if a file system cannot be mounted.
    assert values("ocp-tuned-podman@.service", "RequiresMountsFor") == []


def test_the_hosts_defaults_for_containers_are_read_before_ours() -> None:
    """And ours are installed. What they do is tested in tests/lab/test_defaults.py."""
    path = "/usr/lib/ocp-tuned-boot/containers.conf"
    unit = UNITS["ocp-tuned-podman@.service"]
    assert f"\nEnvironment=CONTAINERS_CONF_OVERRIDE={path}\n" in unit
    assert "packaging/containers.conf" in (TREE / "Makefile").read_text()
    assert "%{_prefix}/lib/ocp-tuned-boot/containers.conf\n" in (TREE / "rpm.spec").read_text()


def test_what_is_brought_in_quietly_waits_for_the_run_and_is_tried_again() -> None:
    unit = UNITS["ocp-tuned-image.service"]
    assert "\nAfter=ocp-tuned.service\n" in unit
    assert "\nRestart=on-failure\nRestartSec=60\n" in unit
    # What will fail again is not.
    assert f"\nRestartPreventExitStatus={os.EX_USAGE} {os.EX_CONFIG}\n" in unit
    # What is asked for now, not what was asked for when it began.
    assert values("ocp-tuned-image.path", "Unit") == ["ocp-tuned-restart@image.service"]


def test_no_change_is_lost_between_a_path_unit_and_the_unit_that_reads_the_files() -> None:
    """A path unit starts nothing while what it starts is active: that is active for a moment, and
    what it restarts reads the files later. tests/lab/test_operator.py shows that."""
    assert (
        "\nExecStart=/usr/bin/systemctl --no-block restart ocp-tuned-%i.service\n"
        in (UNITS["ocp-tuned-restart@.service"])
    )
    for name, text in UNITS.items():
        if name.endswith(".path"):
            # Of several, one that does not exist makes systemd lose what happens at the others. The
            # directories of boot.conf are those of the package.
            assert len(values(name, "PathChanged")) == 1 + (name == "ocp-tuned-conf.path")
            ((instance,),) = [re.findall(r"@(\w+)\.service", each) for each in values(name, "Unit")]
            started = f"ocp-tuned-restart@{instance}.service"
            assert started in values(f"ocp-tuned-{instance}.service", "After"), text
            # boot.conf is watched only while the unit is active: writing it starts nothing.
            stops = {"ocp-tuned.path": [], "ocp-tuned-conf.path": ["ocp-tuned.service"]}
            stopped = [*values(name, "PartOf"), *values(name, "BindsTo")]
            assert stopped == stops.get(name, ["ocp-tuned.path"])


def test_the_folder_of_each_profile_can_be_watched() -> None:
    # Directories: a file in one of them is noticed when it is written in place.
    assert values("ocp-tuned.path", "PathChanged") == [str(Paths().agent)]
    assert values("ocp-tuned-folder@.path", "PathChanged") == [f"{Paths().agent}/%I"]
    for path in (Paths().recommend.parent, Paths().profiles):
        name = str(path.relative_to(Paths().agent))
        assert f"ocp-tuned-folder@{name}.path" in values("ocp-tuned.path", "Wants")
    started = f"ocp-tuned-folder@{Paths().profiles.relative_to(Paths().agent)}-a.path"
    assert watching.unit("a") == started
    assert set(values("ocp-tuned-conf.path", "PathChanged")) == {
        str(Paths().admin_conf.parent), f"{Paths().admin_conf}.d",
    }  # fmt: skip
    direct = (Paths().image_env, Paths().provider, Paths().agent_on_change,
              Paths().agent_reapply_sysctl)  # fmt: skip
    assert {path.parent for path in direct} == {Paths().agent}


def test_the_version_is_said_once_and_the_news_have_it() -> None:
    assert ocp_tuned_boot.__version__ in (TREE / "NEWS.md").read_text()
    assert "0-1" in SPEC
    for name in ("rpm.spec", "pyproject.toml", "Makefile", "README.md"):
        assert ocp_tuned_boot.__version__ not in (TREE / name).read_text()


def test_the_package_is_not_built_when_a_unit_test_fails() -> None:
    assert re.search(
        r"\n%check\n(#.*\n)+%pytest --ignore=tests/unit/test_memory.py tests/unit >&2\n", SPEC
    )
    assert "nocheck" not in (TREE / "Makefile").read_text()


def completed(*words: str) -> set[str]:
    script = (
        f"source {COMPLETION}\n"
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))\n'
        '_ocp_tuned_boot ocp-tuned-boot "${@: -1}" "${@: -2:1}"\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    command = ["bash", "-euc", script, "bash", "ocp-tuned-boot", *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return set(done.stdout.split())


def test_the_completions_are_what_the_tables_make(tmp_path: Path) -> None:
    """That zsh and fish complete with theirs is tested in tests/lab/test_readers.py."""
    command = [sys.executable, str(TREE / "packaging/completion.py"), str(tmp_path)]
    subprocess.run(command, check=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert len(made) == 3
    assert made == {path.name: path.read_text() for path in COMPLETION.parent.iterdir()}, (
        "make completion"
    )


def test_each_completion_and_each_manual_is_installed() -> None:
    makefile = (TREE / "Makefile").read_text()
    for path in COMPLETION.parent.iterdir():
        assert f"packaging/completions/{path.name}\n" in makefile
        assert re.search(rf"(?m)^%\{{_datadir\}}/\S+/{re.escape(path.name)}$", SPEC)
    for path in (TREE / "man").glob("*.rst"):
        assert f"%{{_mandir}}/man{path.stem[-1]}/{path.stem}*\n" in SPEC


def test_what_the_manuals_refer_to_is_installed_as_documentation() -> None:
    (words,) = re.findall(r"(?m)^%doc (.+)$", SPEC)
    installed = (TREE / "packaging/debian/docs").read_text().split()
    assert sorted(installed) == sorted(words.split())
    manuals = "".join(path.read_text() for path in (TREE / "man").glob("*.rst"))
    named = set(re.findall(r"\*((?:docs|packaging)/[\w./-]+\w)\*", manuals))
    assert named >= {"docs/status.schema.json", "docs/situations.md", "packaging/monitoring"}
    for each in named:
        assert (TREE / each).exists()
        assert any(each == word or each.startswith(f"{word}/") for word in words.split())


@pytest.mark.parametrize("row", table.COMMANDS, ids=lambda row: row.name)
def test_bash_completes_every_command_and_its_options(row: Command) -> None:
    *group, last = row.name.split()
    beside = [each.name.split() for each in table.COMMANDS]
    offered = {name[len(group)] for name in beside if name[: len(group)] == group}
    assert completed(*group, last[:3]) == {each for each in offered if each.startswith(last[:3])}
    options = {each.name for each in row.options if each.name.startswith("-")}
    assert completed(*group, last, "--") == options | {"--help"}


def test_bash_completes_options_before_a_command_and_files_after_config(tmp_path: Path) -> None:
    assert {"--root", "--verbose", "--version"} <= completed("--")
    (tmp_path / "boot.conf").touch()
    assert completed("status", "--config", f"{tmp_path}/bo") == {f"{tmp_path}/boot.conf"}
    assert completed("render", "butane", "--variant", "") == {"fcos", "openshift"}
    assert completed("image", "export", f"{tmp_path}/bo") == {f"{tmp_path}/boot.conf"}
    (tmp_path / "folder").mkdir()
    assert completed("--root", f"{tmp_path}/") == {f"{tmp_path}/folder"}
    assert completed("render", "butane", "--role", "") == set()


def test_the_package_for_debian_stops_the_same_units_as_the_rpm() -> None:
    prerm = (TREE / "packaging/debian/prerm").read_text()
    stops = prerm.split("deb-systemd-invoke stop")[1].split("||")[0].replace("\\", "")
    assert set(stops.split()) == macro("stopped")
