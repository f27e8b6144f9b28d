"""The image of packaging/image/Containerfile.debian: what is in it, and that it is built again."""

from __future__ import annotations

import json
import struct
import tarfile
import tempfile
from pathlib import Path

import pytest

from tests.lab import cache, tunedimage, tunedroot

pytestmark = pytest.mark.lab

SUITES = ("trixie", "bookworm")
#: What the image adds to the base (bytes): about 75 MB, and little more some updates later.
SMALL = 85_000_000
#: What plugins and functions of TuneD call; by the folder in /usr.
CALLED = {
    "sbin": {"ethtool", "hdparm", "modinfo", "modprobe", "sysctl", "virt-what"},
    "bin": {"gawk", "ip", "lscpu", "nproc", "systemctl"},
}
# PEP 552: found current by the hash of the source, not by its time.
_BY_HASH = 0b11


@pytest.mark.parametrize("suite", SUITES)
def test_the_image_has_what_plugins_call_and_no_more(suite: str) -> None:
    root = tunedroot.root_of(suite)
    for folder, names in CALLED.items():
        assert names - {path.name for path in (root / "usr" / folder).iterdir()} == set()
    for folder in ("var/cache", "var/log", "var/lib/apt/lists"):
        assert [path for path in (root / folder).rglob("*") if path.is_file()] == []
    added = tunedimage.tuned_image(suite).stat().st_size - tunedimage.base(suite).stat().st_size
    assert added < SMALL


@pytest.mark.parametrize("suite", SUITES)
def test_no_node_gets_its_machine_id_from_the_image(suite: str) -> None:
    root = tunedroot.root_of(suite)
    assert (root / "etc/machine-id").read_text() == ""
    assert not (root / "var/lib/dbus/machine-id").exists()


@pytest.mark.parametrize("suite", SUITES)
def test_byte_code_is_current_whatever_the_time_of_its_source(suite: str) -> None:
    """`podman build --timestamp` sets the time of all files of a layer."""
    flags = {
        path: struct.unpack("<I", path.read_bytes()[4:8])[0]
        for path in tunedroot.root_of(suite).glob("usr/lib/python3*/**/*.pyc")
    }
    assert any("tuned/daemon" in str(path) for path in flags)
    assert set(flags.values()) == {_BY_HASH}


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_the_same_base_and_packages_give_the_same_layers(suite: str) -> None:
    with tempfile.TemporaryDirectory(dir=cache.directory()) as folder:
        layers = []
        for name in ("one", "another"):
            archive = Path(folder, name)
            tunedimage.build(suite, archive)
            layers.append(_layers(archive))
    assert layers[0] == layers[1]
    assert len(layers[0]) == 2


def _layers(archive: Path) -> list[str]:
    """They are named after the digest of their content."""
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        (image,) = json.load(manifest)
    layers: list[str] = image["Layers"]
    return layers
