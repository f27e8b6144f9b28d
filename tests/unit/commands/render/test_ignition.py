"""Day 0: a request → a document, and back. What Ignition makes of it on a node is tested in
tests/lab/test_render.py."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ocp_tuned_boot.commands import render
from ocp_tuned_boot.errors import BootError, ConfigurationError
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import inputs
from ocp_tuned_boot.tuned.profilefile import ProfileFile

TREE = Path(__file__).resolve().parents[3]
IMAGE = "registry.example/tuned:2.25"
AGENT = "/var/lib/ocp-tuned"


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """A folder with one profile: text, a script, bytes that are no text."""
    folder = tmp_path / "profiles"
    (folder / "site/deep").mkdir(parents=True)
    (folder / "site/tuned.conf").write_text("[main]\nsummary=größer\n")
    (folder / "site/script.sh").write_text("#!/bin/sh\n\texit 0\n")
    (folder / "site/script.sh").chmod(0o775)
    (folder / "site/deep/blob").write_bytes(bytes(range(256)))
    (folder / "site/empty").touch()
    (folder / "README").write_text("beside the profiles: none of them\n")
    return folder


def content(profiles: Path, boot_conf: Path | None = None) -> render.Content:
    return render.read(profiles, IMAGE, "site", boot_conf)


def laid_out(ignition: dict[str, Any]) -> dict[str, tuple[bytes, int]]:
    """Contents and mode of each file that an Ignition config puts somewhere."""
    found = {}
    for file in ignition["storage"]["files"]:
        with urlopen(file["contents"]["source"]) as opened:
            found[file["path"]] = (opened.read(), file["mode"])
    return found


def test_everything_is_in_its_place_with_its_mode(profiles: Path, tmp_path: Path) -> None:
    conf = tmp_path / "boot.conf"
    conf.write_text("[tuning]\ngate = closed\n")
    made = render.document(content(profiles, conf), "ignition")
    assert made["ignition"] == {"version": "3.2.0"}
    assert laid_out(made) == {
        "/etc/ocp-tuned-boot/boot.conf": (b"[tuning]\ngate = closed\n", 0o644),
        f"{AGENT}/image.env": (f"NTO_IMAGE={IMAGE}\n".encode(), 0o644),
        f"{AGENT}/profiles/site/deep/blob": (bytes(range(256)), 0o644),
        f"{AGENT}/profiles/site/empty": (b"", 0o644),
        f"{AGENT}/profiles/site/script.sh": (b"#!/bin/sh\n\texit 0\n", 0o755),
        f"{AGENT}/profiles/site/tuned.conf": ("[main]\nsummary=größer\n".encode(), 0o644),
        f"{AGENT}/recommend.d/50-openshift.conf": (b"[site]\n", 0o644),
    }
    assert all(file["overwrite"] is True for file in made["storage"]["files"])


def test_what_is_put_there_is_what_is_read_there(profiles: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for path, (data, mode) in laid_out(render.document(content(profiles), "ignition")).items():
        (root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (root / path.lstrip("/")).write_bytes(data)
        (root / path.lstrip("/")).chmod(mode)
    Paths(root).boot_id.parent.mkdir(parents=True)
    Paths(root).boot_id.write_text("x\n")
    found = inputs.read(Paths(root), "tuned")
    assert (found.image, found.profile) == (IMAGE, "site")
    given = tuple(inputs.profile_files(profiles, profiles))
    assert [(it.path, it.data, it.executable) for it in found.files] == [
        (it.path, it.data, it.executable) for it in given
    ]


def test_all_units_with_an_install_section_are_enabled() -> None:
    with_install = {
        path.name
        for path in (TREE / "units").iterdir()
        if path.is_file() and "[Install]" in path.read_text()
    }
    assert set(render.UNITS) == with_install
    units = render.document(render.Content(IMAGE, "site"), "ignition")["systemd"]["units"]
    assert units == [{"enabled": True, "name": name} for name in sorted(with_install)]


def test_a_machineconfig_holds_the_ignition_config(profiles: Path) -> None:
    made = render.document(content(profiles), "machineconfig")
    assert made == {
        "apiVersion": "machineconfiguration.openshift.io/v1",
        "kind": "MachineConfig",
        "metadata": {
            "labels": {"machineconfiguration.openshift.io/role": "worker"},
            "name": "99-worker-ocp-tuned-boot",
        },
        "spec": {"config": render.document(content(profiles), "ignition")},
    }
    named = render.document(content(profiles), "machineconfig", "low-latency", "50-a.b")["metadata"]
    assert named["labels"] == {"machineconfiguration.openshift.io/role": "low-latency"}
    assert named["name"] == "50-a.b"


# What Butane makes of its own keys. Not checked here: that the real program takes the document
# (Debian has no package of it), its check for unknown keys, that it reads JSON as YAML, and that it
# may compress what is inline for fcos.
def test_a_butane_config_means_the_ignition_config(profiles: Path) -> None:
    for variant, version in (("fcos", "1.2.0"), ("openshift", "4.8.0")):
        made = render.document(content(profiles), variant)
        assert (made.pop("variant"), made.pop("version")) == (variant, version)
        wrapped = render.document(content(profiles), "machineconfig")
        assert made.pop("metadata", wrapped["metadata"]) == wrapped["metadata"]
        for file in made["storage"]["files"]:
            inline = file["contents"].pop("inline", None)
            if inline is not None:
                assert file["contents"] == {}
                file["contents"]["source"] = render.data_url(inline.encode())
        assert {"ignition": {"version": "3.2.0"}, **made} == wrapped["spec"]["config"]


def test_text_can_be_read_in_a_butane_config(profiles: Path) -> None:
    (profiles / "site/tuned.conf").write_text("[main]\nsummary=größer 😀\n")
    made = render.document(content(profiles), "fcos")
    # Not as JSON may have it: YAML does not know surrogates.
    assert "größer 😀" in render.text_of(made).decode()
    files = made["storage"]["files"]
    contents = {Path(file["path"]).name: file["contents"] for file in files}
    assert contents["tuned.conf"] == {"inline": "[main]\nsummary=größer 😀\n"}
    assert contents["script.sh"] == {"inline": "#!/bin/sh\n\texit 0\n"}
    assert contents["blob"]["source"].startswith("data:;base64,")


@pytest.mark.parametrize("form", ["ignition", "machineconfig", "fcos", "openshift"])
def test_the_same_content_gives_the_same_bytes(profiles: Path, tmp_path: Path, form: str) -> None:
    first = render.text_of(render.document(content(profiles), form))
    again = tmp_path / "again"
    # Made in another order, at another time, under another umask.
    for path in sorted(profiles.rglob("*"), reverse=True):
        copy = again / path.relative_to(profiles)
        if path.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            copy.chmod(0o700 if path.stat().st_mode & 0o100 else 0o600)
            os.utime(copy, (1, 1))
    assert render.text_of(render.document(content(again), form)) == first
    assert first.endswith(b"}\n")
    paths = [file["path"] for file in render.document(content(again), "fcos")["storage"]["files"]]
    assert paths == sorted(paths)


@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_what_is_decoded_is_what_was_there(data: bytes) -> None:
    made = with_file(data, "ignition")
    assert laid_out(made)[f"{AGENT}/profiles/site/x"] == (data, 0o644)
    for file in with_file(data, "fcos")["storage"]["files"]:
        if file["path"] == f"{AGENT}/profiles/site/x" and "inline" in file["contents"]:
            assert file["contents"]["inline"].encode() == data


def with_file(data: bytes, form: str) -> render.Document:
    """What is written of a profile with this file, read again."""
    given_files = render.Content(IMAGE, "site", files=(ProfileFile("site/x", data),))
    made: render.Document = json.loads(render.text_of(render.document(given_files, form)))
    return made


@given(st.one_of(st.binary(), st.text().map(str.encode)))
@example(b"[main]\n")
def test_a_data_url_has_only_what_ignition_takes(data: bytes) -> None:
    # Letters and digits, and the marks that its parser knows (RFC 2396, "reserved", "unreserved").
    allowed = set("-_.!~*'();/?:@&=+$,%")
    assert all(char.isascii() and (char.isalnum() or char in allowed)
               for char in render.data_url(data))  # fmt: skip


@given(st.text())
def test_what_is_written_is_yaml_that_can_be_printed(text: str) -> None:
    given_files = render.Content(IMAGE, "site", files=(ProfileFile("site/x", text.encode()),))
    made = render.text_of(render.document(given_files, "fcos")).decode()
    assert all(line.isprintable() for line in made.split("\n"))


def test_image_and_profile_may_be_in_boot_conf_alone(tmp_path: Path) -> None:
    conf = tmp_path / "boot.conf"
    conf.write_text(f"[tuning]\nimage = {IMAGE}\nprofile = throughput-performance\n")
    found = render.read(None, "", "", conf)
    made = laid_out(render.document(found, "ignition"))
    assert list(made) == ["/etc/ocp-tuned-boot/boot.conf"]
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
    assert render.read(None, IMAGE, "site", conf).notes[0] == (
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
        (IMAGE, "site", "[tuning]\ngaet = open\n", "boot.conf: [tuning]: found the key 'gaet'"),
        (IMAGE, "site", "[tuning\n", "boot.conf: line 1: found '[tuning'"),
        (IMAGE, "site", "[image]\nrequire_digest = yes\n", "is requested by its tag"),
    ],
)
def test_a_request_that_is_not_valid(
    tmp_path: Path, image: str, profile: str, conf: str, message: str
) -> None:
    (tmp_path / "boot.conf").write_text(conf)
    with pytest.raises(ConfigurationError) as error:
        render.read(None, image, profile, tmp_path / "boot.conf")
    assert message in str(error.value)


def test_a_boot_conf_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "boot.conf").write_bytes(b"[tuning]\n# \xff\n")
    with pytest.raises(ConfigurationError, match="line 2: found a byte that is not UTF-8"):
        render.read(None, IMAGE, "site", tmp_path / "boot.conf")
    with pytest.raises(BootError, match=r"cannot read .*/none: No such file"):
        render.read(None, IMAGE, "site", tmp_path / "none")


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


@pytest.mark.parametrize("form", ["machineconfig", "openshift"])
def test_what_is_too_large_for_the_api(profiles: Path, form: str) -> None:
    (profiles / "site/largest").write_bytes(bytes(700_000))
    (profiles / "site/large").write_bytes(bytes(600_000))
    with pytest.raises(ConfigurationError) as error:
        render.document(content(profiles), form)
    first, hint = str(error.value).splitlines()
    assert "expected at most 1572864, the limit of etcd" in first
    assert hint == f"The largest file is {AGENT}/profiles/site/largest with 700000 bytes."
    # For a node alone it is not.
    render.document(content(profiles), "ignition")


def test_the_limit_is_that_of_the_object_as_the_api_gets_it() -> None:
    def made(size: int) -> render.Document:
        files = tuple(ProfileFile(f"site/{at}", b"x" * 500_000) for at in range(3))
        given_files = render.Content(IMAGE, "s", files=(*files, ProfileFile("s/x", b"x" * size)))
        return render.document(given_files, "machineconfig")

    compact = len(json.dumps(made(0), separators=(",", ":")))
    room = render.LIMIT - compact
    assert len(json.dumps(made(room), separators=(",", ":"))) == render.LIMIT
    with pytest.raises(ConfigurationError, match="has 1572865 bytes"):
        made(room + 1)


@pytest.mark.parametrize(
    ("role", "name", "message"),
    [
        ("Worker", "", "--name: found '99-Worker-ocp-tuned-boot', expected lower case"),
        ("", "Name", "--name: found 'Name'"),
        ("", "a..b", "--name: found 'a..b'"),
        ("", "-a", "--name: found '-a'"),
        ("", "a\n", r"--name: found 'a\n'"),
        ("", "a" * 254, "at most 253"),
        ("not a role", "a", "--role: found 'not a role'"),
        ("r" * 64, "a", "--role: found"),
    ],
)
def test_a_name_that_the_api_does_not_take(role: str, name: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        render.document(render.Content(IMAGE, "site"), "machineconfig", role, name)
    assert message in str(error.value)
    with pytest.raises(ConfigurationError, match="--variant openshift"):
        render.document(render.Content(IMAGE, "site"), "fcos", role, name)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ocp_tuned_boot", "render", *map(str, arguments)]
    # A program that is run by cron has no locale to speak of.
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}
    return subprocess.run(command, env=env, check=False, capture_output=True, encoding="utf-8")


@pytest.mark.parametrize(
    ("form", "options"),
    [("ignition", []), ("machineconfig", ["--role", "cnf"]), ("butane", []),
     ("butane", ["--variant", "openshift", "--name", "50-x"])],
)  # fmt: skip
def test_the_command(profiles: Path, tmp_path: Path, form: str, options: list[str]) -> None:
    (profiles / "site/tuned.conf").write_text("[main]\nsummary=größer\ninclude=balanced\n")
    asked = [form, "--profiles", profiles, "--profile", "site", "--image", IMAGE, *options]
    done = run(*asked)
    assert done.returncode == 0
    # What is printed is the document alone.
    assert json.loads(done.stdout)
    assert done.stderr == (
        "'balanced' is not one of the given profiles: the image must contain it\n"
    )
    file = tmp_path / "out.json"
    written = run(*asked, "--output", file)
    assert (written.returncode, written.stdout) == (0, "")
    assert file.read_text(encoding="utf-8") == done.stdout


def test_an_error_leaves_what_was_there(profiles: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    file.write_text("before")
    done = run("ignition", "--profiles", profiles, "--profile", "site", "--output", file)
    assert done.returncode == os.EX_CONFIG
    assert done.stderr.startswith("ocp-tuned-boot: no image was given\n")
    assert file.read_text() == "before"
