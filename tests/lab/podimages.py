"""Images for pods, as archives in the format of `docker save`, which containerd imports."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab import cache, debian, kubebuild, product

#: The first process of each pod, the agent, and what reads its knobs: `/bin/sh` with coreutils.
PAUSE, AGENT = "lab.example/pause:1", "lab.example/ocp-tuned-agent:1"

CONTAINERFILE = product.TREE / "packaging/agent/Containerfile"


def pause(target: Path) -> None:
    """Writes the image that containerd starts each pod with."""
    with tempfile.TemporaryDirectory() as folder:
        layer = Path(folder, "layer.tar")
        with tarfile.open(layer, "w") as tar:
            tar.add(kubebuild.binaries() / "pause", "pause", filter=_plain)
        _write(target, PAUSE, [layer], {"Entrypoint": ["/pause"]})


def agent(target: Path) -> None:
    """Writes the image of packaging/agent/Containerfile, of the working tree."""
    text = CONTAINERFILE.read_text()
    copied = dict(re.findall(r"^COPY (?:--chmod=0755 )?(\S+) (\S+)$", text, re.MULTILINE))
    with tempfile.TemporaryDirectory() as folder:
        tree, layer = Path(folder, "tree"), Path(folder, "layer.tar")
        product.copy_tree(tree, *copied)
        with tarfile.open(layer, "w") as tar:
            for source, there in copied.items():
                tar.add(tree / source, there.strip("/"), filter=_plain)
        config = {
            "User": _only(r"^USER (\S+)$", text),
            "Entrypoint": json.loads(_only(r"^ENTRYPOINT (.*)$", text)),
        }
        _write(target, AGENT, [_base(text), layer], config)


def _base(text: str) -> Path:
    """Debian, and the packages that the Containerfile installs, as a layer."""
    packages = re.findall(r"\bpython3-[\w-]+", text)
    suite = _only(r"^FROM docker\.io/library/debian:(\w+)-slim$", text)
    recipe = debian.Recipe(suite, "minbase", tuple(packages))
    return debian.cached("agentbase", recipe, "tar")


def _only(pattern: str, text: str) -> str:
    (found,) = re.findall(pattern, text, re.MULTILINE)
    return str(found)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Root's, and readable by all, as in an image."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


def _write(target: Path, name: str, layers: Sequence[Path], config: Mapping[str, object]) -> None:
    names = [f"{cache.digest(layer)}.tar" for layer in layers]
    described = json.dumps({
        "architecture": "amd64", "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{Path(each).stem}" for each in names]},
    }).encode()  # fmt: skip
    config_name = f"{hashlib.sha256(described).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": names}]
    with tarfile.open(target, "w") as tar:
        for layer, each in zip(layers, names):
            tar.add(layer, each)
        for each, data in (
            (config_name, described),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(each)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
