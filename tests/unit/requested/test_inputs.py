"""The inputs: each one is complete and checked, or refused with the file's name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocp_tuned_boot.errors import ConfigurationError, HostError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import inputs, lastgood
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.tuned.profilefile import ProfileFile

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "text",
    [
        "tuned", "localhost/tuned:x", "quay.io/openshift/origin-tuned:4.20",
        f"quay.io/openshift-release-dev/ocp-v4.0-art-dev@{DIGEST}",
        f"registry.example:5000/a/b__c-d.e:v1.2@{DIGEST}", "[fd00::1]:5000/tuned",
        "Registry.Example/tuned",
    ],
)  # fmt: skip
def test_an_image_reference(text: str) -> None:
    assert inputs.parse_image_reference(text, "x") == text


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "has space", "Upper/Case", "a//b", "a/", "/a", "a:", "a:b:c", "a@sha256:short",
        "docker://a", "a\nb", "a;b", "$(a)", "-a", "a:" + "x" * 129, "…",
    ],
)  # fmt: skip
def test_not_an_image_reference(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        inputs.parse_image_reference(text, "x.env: NTO_IMAGE")
    assert caught.value.message.startswith(f"x.env: NTO_IMAGE: found {text!r}, expected an image")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x: the file is empty, expected NTO_IMAGE="),
        (" \n\t\n", "x: the file is empty, expected NTO_IMAGE="),
        ("# nothing\n", "x: found no variable, expected NTO_IMAGE="),
        ("B=1\nA=2\n", "x: found A, B, expected NTO_IMAGE="),
        ("NTO_IMAGE=a/b", "x: line 1: found no newline at the end, expected a complete line"),
        ("A=1\nNTO_IMAGE=a/b\nC", "x: line 3: found no newline at the end"),
        (
            "NTO_IMAGE=a/b\n\0\0\0\n",
            "x: line 2: found a NUL byte, expected text; the file is incomplete",
        ),
        ("NTO_IMAGE='a/b\n", "x: line 1: found no closing ', expected one; the file is incomplete"),
        ("NTO_IMAGE=a b\n", "x: NTO_IMAGE: found 'a b', expected an image reference"),
    ],
)
def test_an_incomplete_image_env(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        inputs.parse_image_env(text, "x")
    assert caught.value.message.startswith(message)


def test_a_file_cut_off_anywhere_is_refused_or_means_the_same() -> None:
    whole = "# image\nOTHER='a\nb'\nNTO_IMAGE=localhost/tuned:x\n"
    for end in range(len(whole)):
        with pytest.raises(ConfigurationError):
            inputs.parse_image_env(whole[:end], "x")
    assert inputs.parse_image_env(whole, "x") == "localhost/tuned:x"


@pytest.mark.parametrize(
    "name", ["../../etc", "a/b", "", "a b", "a\n", ".", "..", "recommend.d", "tuned-main.conf",
             "active_profile", "x" * 256, "é", "${f:exec:id}"],
)  # fmt: skip
def test_not_a_profile_name(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        inputs.parse_profile_name(name, "x")
    assert caught.value.message.startswith(f"x: found {name!r}, expected a profile name")


@pytest.mark.parametrize(
    ("text", "profile"),
    [
        ("[openshift-node]\n", "openshift-node"),
        ("# comment\n  ; comment\n\n \t\n  [a.b_c-1]  \n", "a.b_c-1"),
        ("[no-newline]", "no-newline"),
    ],
)
def test_a_recommend_file(text: str, profile: str) -> None:
    assert inputs.parse_recommend(text, "x") == profile


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x: the file is empty, expected a line '[<profile>]'"),
        ("# [a]\n\n", "x: the file is empty"),
        ("a\n", "x: line 1: found 'a', expected '[<profile>]'"),
        ("a]\n", "x: line 1: found 'a]', expected '[<profile>]'"),
        ("[a\n", "x: line 1: found '[a', expected '[<profile>]'"),
        ("\n[a]\n[b]\n", "x: line 3: found '[b]', expected nothing after '[a]'"),
        ("[a]\nvirt=.*\n", "x: line 2: found 'virt=.*', expected nothing after '[a]'"),
        ("[../../etc]\n", "x: line 1: found '../../etc', expected a profile name"),
        ("[]\n", "x: line 1: found '', expected a profile name"),
    ],
)
def test_a_recommend_file_that_does_not_name_one_profile(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        inputs.parse_recommend(text, "x")
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize("parse", [inputs.parse_image_env, inputs.parse_recommend])
@given(text=st.text(max_size=60))
def test_any_text_is_read_or_refused(parse: Callable[[str, str], str], text: str) -> None:
    refusal = "x: "
    try:
        parse(text, "x")
    except ConfigurationError as error:
        refusal = error.message
    assert refusal.startswith("x: ")


REQUESTED = Inputs("localhost/a", "site", "tuned", "boot-1", "aws", (ProfileFile("site/f", b"1"),))


@pytest.mark.parametrize(
    "change",
    [
        {"profile": "other"}, {"contract": "operand"}, {"provider": ""}, {"files": ()},
        {"files": (ProfileFile("site/g", b"1"),)}, {"files": (ProfileFile("site/f", b"2"),)},
        {"files": (ProfileFile("site/f", b"1", 0o755),)},
        # Nothing moves from one field to its neighbour unnoticed.
        {"profile": "sitetuned", "contract": ""}, {"files": (ProfileFile("site/f1", b""),)},
    ],
)  # fmt: skip
def test_the_fingerprint_is_of_all_that_can_change_the_result(change: dict[str, object]) -> None:
    assert replace(REQUESTED, **change).fingerprint != REQUESTED.fingerprint  # type: ignore[arg-type]


def test_of_a_mode_the_fingerprint_has_only_whether_the_file_may_be_executed() -> None:
    """TuneD runs as root. No boot may defer a profile because of a mode that changes nothing, and
    earlier releases recorded the same fingerprint."""
    modes = (0o600, 0o640, 0o644, 0o755, 0o700, 0o750)
    found = [replace(REQUESTED, files=(ProfileFile("site/f", b"1", mode),)) for mode in modes]
    prints = [each.fingerprint for each in found]
    assert len(set(prints[:3])) == len(set(prints[3:])) == 1
    assert prints[0] != prints[3]
    assert prints[2] == REQUESTED.fingerprint


def test_the_fingerprint_is_not_of_the_image_or_the_boot() -> None:
    other = replace(REQUESTED, image="localhost/b", boot_id="boot-2", named_in="/etc/boot.conf")
    assert other.fingerprint == REQUESTED.fingerprint


def test_everything_is_read(paths: Paths) -> None:
    script = paths.profiles / "site/deep/script.sh"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    paths.provider.write_text("aws\n")
    (paths.profiles / "README").write_text("beside the profiles")
    found = inputs.read(paths, "operand", image="default/image", profile="default-profile")
    assert found == Inputs(
        "localhost/a", "site", "operand", "boot-1", "aws",
        (ProfileFile("site/deep/script.sh", b"#!/bin/sh\n", 0o755),
         ProfileFile("site/tuned.conf", b"[main]\n")),
        named_in=str(paths.recommend), image_named_in=str(paths.image_env),
    )  # fmt: skip


def test_boot_conf_is_used_where_no_agent_writes(paths: Paths) -> None:
    paths.image_env.unlink()
    paths.recommend.unlink()
    found = inputs.read(paths, "tuned", image="default/image", profile="default-profile")
    assert (found.image, found.profile) == ("default/image", "default-profile")
    assert found.named_in == inputs.BOOT_CONF
    assert found.image_named_in == found.named_in
    with pytest.raises(ConfigurationError, match=f"{paths.image_env}: there is no such file"):
        inputs.read(paths, "tuned", profile="default-profile")
    with pytest.raises(ConfigurationError, match=f"{paths.recommend}: there is no such file"):
        inputs.read(paths, "tuned", image="default/image")


@pytest.mark.parametrize("word", ["always", "update", "never"])
def test_the_agent_says_when_a_change_is_to_be_applied(paths: Paths, word: str) -> None:
    paths.agent_on_change.write_text(f"{word}\n")
    found = inputs.read(paths, "tuned")
    assert inputs.following(paths, found, "agent", "agent").on_change == word
    assert inputs.following(paths, found, "next-boot", "agent").on_change == ""


@pytest.mark.parametrize(
    ("text", "follow", "expected"),
    [
        ("true", "agent", True), ("false\n", "agent", False), (None, "agent", True),
        ("false", "yes", True), ("true", "no", False),
    ],
)  # fmt: skip
def test_the_agent_says_whether_sysctl_d_is_applied_again(
    paths: Paths, text: str | None, follow: str, expected: bool
) -> None:
    if text is not None:
        paths.agent_reapply_sysctl.write_text(text)
    read = inputs.read(paths, "tuned")
    found = inputs.following(paths, read, "next-boot", follow)
    assert (found.reapply_sysctl, found.doubts) == (expected, ())
    # TuneD does something else then; without it, the fingerprint is that of earlier releases.
    assert (found.fingerprint == read.fingerprint) is expected


@pytest.mark.parametrize("data", [b"", b"next-boot\n", b"\xff", b"x" * 70_000, None])
def test_a_file_of_the_agent_without_a_known_word_is_reported_and_ignored(
    paths: Paths, data: bytes | None
) -> None:
    for path in (paths.agent_on_change, paths.agent_reapply_sysctl):
        if data is None:
            path.symlink_to(paths.image_env)
        else:
            path.write_bytes(data)
    found = inputs.following(paths, inputs.read(paths, "tuned"), "agent", "agent")
    assert (found.on_change, found.reapply_sysctl) == ("", True)
    first, second = found.doubts
    assert (first.kind, first.subject) == ("agent-word", str(paths.agent_on_change))
    assert "expected one of the words always, update, never" in first.message
    assert "expected one of the words true, false" in second.message
    # What is not followed is not read.
    assert inputs.following(paths, inputs.read(paths, "tuned"), "apply", "yes").doubts == ()


def test_a_profile_folder_that_is_missing_is_fine(paths: Paths) -> None:
    (paths.profiles / "site/tuned.conf").unlink()
    (paths.profiles / "site").rmdir()
    paths.profiles.rmdir()
    assert inputs.read(paths, "tuned").files == ()


def test_profiles_of_the_operating_system_are_used_if_there_is_no_agent(paths: Paths) -> None:
    profile = paths.system_profiles / "site/tuned.conf"
    profile.parent.mkdir(parents=True)
    profile.write_text("[main]\nsummary=of the system\n")
    for path in (paths.image_env, paths.recommend):
        path.unlink()

    def read() -> tuple[ProfileFile, ...]:
        found = inputs.read(paths, "tuned", "registry.example/tuned:1", "site").files
        assert inputs.read_files(paths) == found
        return found

    assert profile.read_bytes() not in [file.data for file in read()]
    assert inputs.with_profiles(paths) is paths
    # A pod that has removed all of its profiles leaves the folder.
    (paths.profiles / "site/tuned.conf").unlink()
    assert read() == ()
    (paths.profiles / "site").rmdir()
    for _ in ("empty", "missing"):
        (found,) = read()
        assert (found.path, found.data) == ("site/tuned.conf", profile.read_bytes())
        if paths.profiles.exists():
            paths.profiles.rmdir()
    # An agent may want none. It would not see these, and one may hide a profile of the image.
    for path, text in ((paths.image_env, "NTO_IMAGE=a/b:1\n"), (paths.recommend, "[site]\n")):
        path.write_text(text)
        assert read() == ()
        path.unlink()
    assert read() == (found,)


def test_no_boot_id_is_an_error(paths: Paths) -> None:
    paths.boot_id.unlink()
    with pytest.raises(HostError, match=f"cannot read {paths.boot_id}: No such file"):
        inputs.read(paths, "tuned")


@pytest.mark.parametrize("kind", ["link", "folder", "dangling", "fifo", "endless"])
def test_links_and_special_files_in_a_profile_are_refused_by_name(paths: Paths, kind: str) -> None:
    path = paths.profiles / "site/odd"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        to = {"link": "tuned.conf", "folder": ".", "dangling": "x", "endless": "/dev/zero"}
        path.symlink_to(to[kind])
    with pytest.raises(HostError, match=f"cannot read {path}: "):
        inputs.read(paths, "tuned")


@pytest.mark.parametrize("name", ["profiles", "profiles/site", "recommend.d"])
def test_a_folder_of_the_agent_that_is_a_link_is_refused_by_name(paths: Paths, name: str) -> None:
    folder = paths.agent / name
    folder.rename(paths.root / "elsewhere")
    folder.symlink_to(paths.root / "elsewhere")
    with pytest.raises(HostError, match=str(folder)):
        inputs.read(paths, "tuned")


def test_profiles_that_are_not_a_directory_are_refused_by_name(paths: Paths) -> None:
    paths.profiles.rename(paths.root / "elsewhere")
    paths.profiles.touch()
    with pytest.raises(HostError, match=f"cannot list {paths.profiles}: Not a directory"):
        inputs.read(paths, "tuned")


def test_the_depth_of_folders_is_limited(paths: Paths) -> None:
    deep = paths.profiles / "site" / "/".join("d" * inputs.DEPTH_LIMIT)
    deep.mkdir(parents=True)
    inputs.read(paths, "tuned")
    (deep / "d").mkdir()
    with pytest.raises(HostError, match="at most 8 levels of folders"):
        inputs.read(paths, "tuned")


def test_the_size_of_all_profiles_is_limited(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "PROFILES_LIMIT", len("[main]\n"))
    inputs.read(paths, "tuned")
    (paths.profiles / "site/more").write_text("x")
    with pytest.raises(HostError, match="the profiles are larger than 7 bytes"):
        inputs.read(paths, "tuned")


def test_a_profile_that_is_not_utf_8_is_named_with_line_and_byte(paths: Paths) -> None:
    conf = paths.profiles / "site/tuned.conf"
    conf.write_bytes(b"[main]\nsummary=\xe9t\xe9\n")
    with pytest.raises(ConfigurationError) as caught:
        inputs.read(paths, "tuned")
    assert caught.value.message == f"{conf}: line 2: found the byte 0xe9, expected UTF-8"
    # The other files of a profile may have any content.
    conf.write_bytes(b"[main]\n")
    (conf.parent / "data.bin").write_bytes(b"\xff\0")
    assert inputs.read(paths, "tuned").files[0].data == b"\xff\0"


PIECES = st.sampled_from([b"\n", b"a", "é".encode(), b"\xc3", b"\xff", b"\0"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(PIECES).map(b"".join))
def test_any_bytes_in_a_profile_are_kept_or_refused_by_name(paths: Paths, data: bytes) -> None:
    conf = paths.profiles / "site/tuned.conf"
    conf.write_bytes(data)
    good, broken, _ = data.decode(errors="replace").partition("\ufffd")
    if not broken:
        assert inputs.read(paths, "tuned").files == (ProfileFile("site/tuned.conf", data),)
        return
    with pytest.raises(ConfigurationError) as caught:
        inputs.read(paths, "tuned")
    where, byte = f"{conf}: line {good.count(chr(10)) + 1}", data[len(good.encode())]
    assert caught.value.message == f"{where}: found the byte 0x{byte:02x}, expected UTF-8"


@pytest.mark.parametrize("name", ["image_env", "recommend", "provider"])
def test_a_file_that_is_not_text_is_named_with_its_line(paths: Paths, name: str) -> None:
    path: Path = getattr(paths, name)
    path.write_bytes(b"# one\n# two \xff\n")
    with pytest.raises(ConfigurationError) as caught:
        inputs.read(paths, "tuned")
    words = f"{path}: line 2: found a byte that is not UTF-8, expected text"
    assert caught.value.message == words


def test_the_last_image_that_worked_is_used_instead_of_an_incomplete_image_env(
    paths: Paths,
) -> None:
    paths.image_env.write_text("NTO_IM")
    with pytest.raises(ConfigurationError, match="the file is incomplete"):
        inputs.read(paths, "tuned")
    lastgood.remember(paths, "localhost/worked", "id")
    found = inputs.read(paths, "tuned")
    assert found.image == "localhost/worked"
    (doubt,) = found.doubts
    assert (doubt.kind, doubt.subject) == ("torn-image-env", str(paths.image_env))
    assert "the file is incomplete; the last image that worked is used instead" in doubt.message
    # A missing file is not an incomplete one.
    paths.image_env.unlink()
    with pytest.raises(ConfigurationError, match="there is no such file"):
        inputs.read(paths, "tuned")


@pytest.mark.parametrize("name", ["recommend.d", "ocp-tuned-boot-guard", "tuned-main.conf"])
def test_a_profile_with_a_reserved_name_is_refused(paths: Paths, name: str) -> None:
    (paths.profiles / name).mkdir()
    (paths.profiles / name / "tuned.conf").touch()
    with pytest.raises(ConfigurationError, match=f"found a profile named '{name}'"):
        inputs.read(paths, "tuned")


def test_a_whole_state_in_the_folder_of_its_own_counts_while_it_exists(paths: Paths) -> None:
    (paths.agent / "on_change").write_text("always\n")
    complete = replace(paths, agent_folder="var/lib/ocp-tuned/next")
    for path, text in (
        (complete.image_env, "NTO_IMAGE=localhost/b\n"),
        (complete.recommend, "[other]\n"),
        (complete.provider, "aws"),
        (complete.agent_on_change, "update\n"),
        (complete.profiles / "other/tuned.conf", "[other]\n"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = inputs.following(paths, inputs.read(paths, "tuned"), "agent", "agent")
    assert (found.image, found.profile, found.provider) == ("localhost/b", "other", "aws")
    assert [file.path for file in found.files] == ["other/tuned.conf"]
    assert found.on_change == "update"
    assert found.named_in == str(complete.recommend)
    assert (inputs.read_image(paths), inputs.read_profile(paths)) == ("localhost/b", "other")
    os.rename(paths.agent_next, paths.agent / "gone")
    found = inputs.following(paths, inputs.read(paths, "tuned"), "agent", "agent")
    assert (found.image, found.profile, found.on_change) == ("localhost/a", "site", "always")


@pytest.mark.parametrize("what", ["file", "link"])
def test_only_a_folder_can_be_a_whole_state(paths: Paths, what: str) -> None:
    if what == "file":
        paths.agent_next.write_text("x")
    else:
        paths.agent_next.symlink_to(paths.agent)
    assert inputs.read(paths, "tuned").profile == "site"
