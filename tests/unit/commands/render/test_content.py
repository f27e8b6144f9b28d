"""What is put on a node on day 0: read and checked."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from ocp_tuned_boot.commands.render.content import UNITS, placed, read
from ocp_tuned_boot.errors import BootError, ConfigurationError
from tests.unit.commands.render.made import AGENT, IMAGE, TREE, content


def test_all_units_with_an_install_section_are_enabled() -> None:
    with_install = {
        path.name
        for path in (TREE / "units").iterdir()
        if path.is_file() and "[Install]" in path.read_text()
    }
    assert set(UNITS) == with_install


def test_image_and_profile_may_be_in_boot_conf_alone(tmp_path: Path) -> None:
    conf = tmp_path / "boot.conf"
    conf.write_text(f"[tuning]\nimage = {IMAGE}\nprofile = throughput-performance\n")
    found = read(None, "", "", conf)
    assert [file.path for file in placed(found)] == ["/etc/ocp-tuned-boot/boot.conf"]
    assert found.notes == (
        "'throughput-performance' is not one of the given profiles: the image must contain it",
    )


def test_a_note_names_what_the_image_must_contain(profiles: Path) -> None:
    assert content(profiles).notes == ()
    for name, text in {
        "site": "[main]\ninclude=base, network-latency, -maybe\n",
        "base": "[main]\ninclude=base;network-latency\n",
    }.items():
        (profiles / name).mkdir(exist_ok=True)
        (profiles / name / "tuned.conf").write_text(text)
    assert content(profiles).notes == (
        "'network-latency' is not one of the given profiles: the image must contain it",
    )


def test_a_note_names_an_option_that_is_used_instead_of_boot_conf(tmp_path: Path) -> None:
    conf = tmp_path / "boot.conf"
    conf.write_text("[tuning]\nimage = localhost/other:1\nprofile = site\n")
    assert read(None, IMAGE, "site", conf).notes[0] == (
        f"--image {IMAGE} is used instead of image = localhost/other:1 in {conf}"
    )


def test_a_profile_without_tuned_conf_is_none(profiles: Path) -> None:
    (profiles / "typo").mkdir()
    (profiles / "typo/tuned.cnf").touch()
    with pytest.raises(ConfigurationError, match=r"typo: no tuned\.conf found"):
        content(profiles)


@pytest.mark.parametrize(
    ("image", "profile", "conf", "message"),
    [
        ("", "site", "", "no image was given\nUse --image, or set image"),
        (IMAGE, "", "[tuning]\n", "no profile was given\nUse --profile"),
        ("Not An Image", "site", "", "--image: found 'Not An Image', expected an image reference"),
        (IMAGE, "../site", "", "--profile: found '../site', expected a profile name"),
        (
            IMAGE,
            "site",
            "[tuning]\ngaet = open\n",
            "boot.conf: line 2: [tuning]: found the key 'gaet'",
        ),
        (IMAGE, "site", "[tuning\n", "boot.conf: line 1: found '[tuning'"),
        (IMAGE, "site", "[image]\nrequire_digest = yes\n", "is requested by its tag"),
    ],
)
def test_a_request_that_is_not_valid(
    tmp_path: Path, image: str, profile: str, conf: str, message: str
) -> None:
    (tmp_path / "boot.conf").write_text(conf)
    with pytest.raises(ConfigurationError) as error:
        read(None, image, profile, tmp_path / "boot.conf")
    assert message in str(error.value)


def test_a_boot_conf_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "boot.conf").write_bytes(b"[tuning]\n# \xff\n")
    with pytest.raises(ConfigurationError, match="line 2: found a byte that is not UTF-8"):
        read(None, IMAGE, "site", tmp_path / "boot.conf")
    with pytest.raises(ConfigurationError, match=r"/none: there is no such file"):
        read(None, IMAGE, "site", tmp_path / "none")


def _link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        # The path of a socket may be longer than an address can be.
        folder = os.open(path.parent, os.O_RDONLY)
        bound.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)


def _large(path: Path) -> None:
    path.write_bytes(bytes(1024 * 1024 + 1))


def _folder_link(path: Path) -> None:
    path.symlink_to(path.parent / "deep", target_is_directory=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_link, "it is a symbolic link"),
        (_folder_link, "it is a symbolic link"),
        (os.mkfifo, "it is not a regular file"),
        (_socket, "cannot read"),
        (_large, "it is larger than 1048576 bytes"),
    ],
)
def test_something_in_a_profile_that_is_no_file(profiles: Path, make: Any, message: str) -> None:
    make(profiles / "site/odd")
    with pytest.raises(BootError, match="site/odd") as error:
        content(profiles)
    assert message in str(error.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_in_a_profile(profiles: Path) -> None:
    try:
        os.mknod(profiles / "site/zero", 0o20666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this machine lets nobody make devices")
    with pytest.raises(BootError, match="site/zero"):
        content(profiles)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("not a name/tuned.conf", "found 'not a name', expected a profile name"),
        ("recommend.d/tuned.conf", "found a profile named 'recommend.d'"),
        ("site/a\x1b[2Jb", "found a character that cannot be printed"),
        ("site/a\udcffb", "found a file name that is not UTF-8"),
        ("tuned.conf", "expected a directory for each profile"),
    ],
)
def test_a_name_that_does_not_fit(profiles: Path, name: str, message: str) -> None:
    (profiles / name).parent.mkdir(exist_ok=True)
    (profiles / name).touch()
    with pytest.raises(ConfigurationError) as error:
        content(profiles)
    assert message in str(error.value)
    assert "\x1b" not in str(error.value)


def test_a_profile_that_is_no_text(profiles: Path) -> None:
    (profiles / "site/tuned.conf").write_bytes(b"[main]\nsummary=\xe4\n")
    with pytest.raises(ConfigurationError, match=r"line 2: found the byte 0xe4, expected UTF-8"):
        content(profiles)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such directory"):
        content(tmp_path / "none")


def test_the_provider_is_written_as_the_agent_writes_it(profiles: Path) -> None:
    files = {file.path: file.data for file in placed(content(profiles, provider="aws"))}
    assert files[f"{AGENT}/provider"] == b"aws"
    assert f"{AGENT}/provider" not in {file.path for file in placed(content(profiles))}


@pytest.mark.parametrize("name", ["a b", "aws\n", "$(x)", "a/b", "größe"])
def test_a_provider_that_no_name_of_a_profile_can_have(profiles: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--provider: found .* a cloud provider"):
        content(profiles, provider=name)
