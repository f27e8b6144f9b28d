"""The command as a whole, where there is no Podman: in a plain checkout, and on a broken node."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ocp_tuned_boot import cli
from ocp_tuned_boot.commands.check import ask, host, look, profiles
from ocp_tuned_boot.commands.check.problem import Severity
from ocp_tuned_boot.errors import Busy, PodmanError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.tuned.profilefile import ProfileFile

SOUND = {"ours": "[main]\ninclude=base\n", "base": "[sysctl]\nvm.swappiness=10\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in SOUND.items():
        (tmp_path / "profiles" / name).mkdir(parents=True)
        (tmp_path / "profiles" / name / "tuned.conf").write_text(text)
    return tmp_path / "profiles"


def check(*arguments: str) -> int:
    return cli.main(["check", *arguments])


def test_a_sound_folder_has_no_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--profiles", str(folder)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing found; 1 not checked"


def test_an_error_has_its_line_and_the_documented_status(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "ours/tuned.conf").write_text("[main]\nnonsense\n")
    assert check("--profiles", str(folder), "--format", "gcc") == os.EX_DATAERR
    first = capsys.readouterr().out.splitlines()[0]
    expected = "error: found 'nonsense', expected '[section]' or 'option=value' [profile-syntax]"
    assert first == f"{folder}/ours/tuned.conf:2: {expected}"


def test_a_warning_is_no_failure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "base/tuned.conf").write_text("[sysctl]\nvm.swappiness=1\nvm.swappiness=2\n")
    assert check("--profiles", str(folder), "--json") == 0
    (problem,) = [it for it in json.loads(capsys.readouterr().out)["problems"] if it["line"]]
    assert (problem["kind"], problem["severity"]) == ("duplicate-key", "warning")


def test_if_strict_a_warning_is_a_failure(folder: Path) -> None:
    assert check("--profiles", str(folder), "--strict") == 0  # what is not checked is none
    (folder / "base/tuned.conf").write_text("[sysctl]\nvm.swappiness=1\nvm.swappiness=2\n")
    assert check("--profiles", str(folder), "--strict") == os.EX_DATAERR


@pytest.mark.parametrize("line", ["net.core.somaxconn=abc", "vm.swappiness=1000"])
def test_a_value_that_no_kernel_takes_is_a_failure(folder: Path, line: str) -> None:
    (folder / "base/tuned.conf").write_text(f"[sysctl]\n{line}\n")
    assert check("--profiles", str(folder)) == os.EX_DATAERR


@pytest.mark.parametrize("where", ["", "empty", ".git"])
def test_a_folder_without_profiles_is_an_error(
    tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ci" / where).mkdir(parents=True)
    (tmp_path / "ci/README").write_text("about these\n")
    assert check("--profiles", f"{tmp_path}/ci", "--format", "gcc") == os.EX_DATAERR
    lines = capsys.readouterr().out.splitlines()
    assert f"{tmp_path}/ci:1: error: {tmp_path}/ci contains no profile. " in lines[0]
    assert lines[0].endswith("NAME/tuned.conf. [no-profiles]")
    kinds = [it.kind for it in look.folder(tmp_path / "ci", "", "", None).errors]
    assert kinds == ["no-profiles"]


def test_a_folder_that_cannot_be_read_is_not_called_empty(folder: Path) -> None:
    (folder / "ours/tuned.conf").write_bytes(b"[main]\nsummary=\xff\n")
    kinds = [it.kind for it in look.folder(folder, "", "", None).errors]
    assert kinds == ["profiles-unreadable"]


def test_the_folder_of_one_profile_is_an_error_that_names_its_parent(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(argument: str) -> str:
        assert check("--profiles", argument, "--format", "gcc") == os.EX_DATAERR
        # What is in the folder is not in a wrong place.
        first, not_asked = capsys.readouterr().out.splitlines()
        assert "[not-checked]" in not_asked
        return first

    (folder / "ours/scripts").mkdir()
    assert f"{folder}/ours is the folder of one profile" in said(f"{folder}/ours")
    assert f"check --profiles {folder} [" in said(f"{folder}/ours/")
    monkeypatch.chdir(folder)
    assert said("ours").endswith(" check --profiles . [no-profiles]")
    monkeypatch.chdir(folder / "ours")
    assert said(".").endswith(f" check --profiles {folder} [no-profiles]")
    # Where there are profiles as well, it is the file that is in a wrong place.
    (folder / "tuned.conf").write_text("")
    assert check("--profiles", str(folder), "--format", "gcc") == 0
    assert "[profile-not-in-folder]" in capsys.readouterr().out


def test_only_what_one_profile_reaches_counts(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other/tuned.conf").write_text("nonsense\n")
    assert check("--profiles", str(folder)) == os.EX_DATAERR
    assert check("--profiles", str(folder), "--profile", "ours") == 0


def test_a_boot_conf_that_is_named_is_checked_as_well(folder: Path, tmp_path: Path) -> None:
    conf = tmp_path / "boot.conf"
    conf.write_text("[tuning]\ngate = shut\n")
    assert check("--profiles", str(folder), "--config", str(conf)) == os.EX_DATAERR


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    assert check("--profiles", str(tmp_path / "none")) == os.EX_CONFIG


def test_without_podman_tuned_is_not_asked_which_is_no_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("CONTAINER_HOST", f"unix://{tmp_path}/none.sock")
    assert check("--profiles", str(folder), "--image", "registry.example/tuned:1") == 0
    assert "TuneD: it cannot be asked: cannot reach Podman" in " ".join(
        capsys.readouterr().out.split()
    )


def test_where_podman_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask.socket({"CONTAINER_HOST": "unix:///x.sock"}) == Path("/x.sock")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert ask.socket({"XDG_RUNTIME_DIR": "/run/user/7"}) == Path("/run/user/7/podman/podman.sock")
    assert ask.socket({}) == Path("/run/user/1000/podman/podman.sock")


def test_a_node_whose_podman_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths(tmp_path)
    paths.admin_conf.parent.mkdir(parents=True)
    paths.admin_conf.write_text(
        "[tuning]\nimage = registry.example/tuned:1\nprofile = ours\n"
        f"[podman]\nsocket = {tmp_path}/none.sock\n"
    )
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    kinds = {it.kind: it.severity for it in look.node(paths, None, "", "").problems}
    assert kinds["podman-unreachable"] is Severity.ERROR
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    found = look.node(paths, None, "", "")
    assert found.errors == ()
    assert any("Podman" in it.message for it in found.not_checked)
    assert sorted(tmp_path.rglob("*")) == before


def test_another_check_at_the_same_time_says_nothing_about_the_boot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert host.unreachable(Busy("another one runs")).kind == "not-checked"
    assert host.unreachable(PodmanError("no")).kind == "podman-unreachable"


def test_with_these_profiles_all_are_asked_about(folder: Path) -> None:
    files, _ = profiles.read(folder, folder)
    assert look.top(profiles.Sources(folder, files)) == ["ours"]
    (folder / "base/tuned.conf").write_text("[main]\ninclude=ours\n")
    files, _ = profiles.read(folder, folder)
    assert look.top(profiles.Sources(folder, files)) == ["base"]


@pytest.mark.parametrize(
    ("includes", "stock", "expected"),
    [
        ({"a": "b", "b": "c", "c": ""}, {}, ["a"]),
        ({"a": "a", "b": "-b"}, {}, ["a", "b"]),
        # A circle beside a chain, a circle that is included, and two that include the same.
        ({"a": "b", "b": "", "x": "y", "y": "x"}, {}, ["a", "x"]),
        ({"a": "x", "x": "y", "y": "x"}, {}, ["a"]),
        ({"a": "b", "b": "a,z", "x": "y", "y": "x,z", "z": ""}, {}, ["a", "x"]),
        # By way of the image; and there, a profile that no custom one includes does not count.
        ({"a": "s", "b": ""}, {"s": "b"}, ["a"]),
        ({"a": "", "b": ""}, {"s": "b"}, ["a", "b"]),
        ({"s": "", "b": ""}, {"s": "b"}, ["b", "s"]),
        ({"s": "s", "b": ""}, {"s": "b"}, ["s"]),
    ],
)
def test_each_profile_is_asked_about_or_included(
    includes: dict[str, str], stock: dict[str, str], expected: list[str]
) -> None:
    files = tuple(
        ProfileFile(f"{name}/tuned.conf", f"[main]\ninclude={them}\n".encode())
        for name, them in includes.items()
    )
    texts = {
        f"/usr/lib/tuned/{name}/tuned.conf": f"[main]\ninclude={them}\n"
        for name, them in stock.items()
    }
    assert sorted(look.top(profiles.Sources(Path("/x"), files, texts))) == expected
