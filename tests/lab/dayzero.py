"""What the tests of `render` put on a node: a profile whose settings are the node's own, rendered
by the command, and what is then to be found there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from ocp_tuned_boot.commands.render.content import UNITS
from tests.lab import tunedimage
from tests.lab.node import Node
from tests.lab.test_boot import found_by, property_of
from tests.lab.workload import has_ended, record

#: Of the node's own namespaces: no other node sees them. The first one is the script's alone, which
#: would not run without its mode.
WANTED = {"/proc/sys/net/ipv4/tcp_fin_timeout": "37", "/proc/sys/kernel/shmmni": "4097"}
FILES = {
    "site/tuned.conf": (
        "[main]\nsummary=größer\n[sysctl]\nkernel.shmmni=4097\n"
        "[script]\nscript=${i:PROFILE_DIR}/größe.sh\n"
    ).encode(),
    "site/größe.sh": (
        b'#!/bin/sh\n[ "$1" != start ] || echo 37 > /proc/sys/net/ipv4/tcp_fin_timeout\n'
    ),
    "site/blob": bytes(range(256)),
    "site/empty": b"",
    # What the readers of the documents would take for something else.
    "site/it's $HOME `x` <<EOF": b"%end\n%include /x\n%post\nEOF\n\\\n#cloud-config\n",
}  # fmt: skip
BOOT_CONF = b"[tuning]\ngate = closed\n"
PROVIDER = "aws"


def rendered(folder: Path, form: str, suite: str = "trixie") -> str:
    """What the command writes. `folder` is for the files that are given to it."""
    for name, data in FILES.items():
        path = folder / "profiles" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o700 if name.endswith(".sh") else 0o600)
    (folder / "boot.conf").write_bytes(BOOT_CONF)
    command: list[str | Path] = [
        sys.executable, "-m", "ocp_tuned_boot", "render", form,
        "--profiles", folder / "profiles", "--profile", "site", "--provider", PROVIDER,
        "--image", tunedimage.name(suite), "--boot-conf", folder / "boot.conf",
    ]  # fmt: skip
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def watched(node: Node) -> None:
    """crio and kubelet note what they find."""
    node.write("/etc/lab/watch", "".join(f"{path}\n" for path in WANTED))


def disable(node: Node) -> None:
    """The package is there, and nothing has enabled its units."""
    subprocess.run(["systemctl", f"--root={node.root}", "--quiet", "disable", *UNITS], check=True)


def lies(root: Path, files: dict[str, bytes]) -> None:
    """Content, mode and owner of each file, by its path below the root."""
    for name, data in files.items():
        path = root / name
        assert path.read_bytes() == data, name
        found = path.stat()
        mode = 0o755 if name.endswith(".sh") else 0o644
        assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (mode, 0, 0), name
        assert path.parent.stat().st_mode & 0o7777 == 0o755, name


def agent_files(suite: str = "trixie") -> dict[str, bytes]:
    """What is on a node where the files are those of an agent."""
    agent = "var/lib/ocp-tuned"
    return {
        "etc/ocp-tuned-boot/boot.conf": BOOT_CONF,
        f"{agent}/image.env": f"NTO_IMAGE={tunedimage.name(suite)}\n".encode(),
        f"{agent}/recommend.d/50-openshift.conf": b"[site]\n",
        f"{agent}/provider": PROVIDER.encode(),
        **{f"{agent}/profiles/{name}": data for name, data in FILES.items()},
    }


def is_tuned(node: Node) -> dict[str, Any]:
    """crio and kubelet of this boot have found the values, and the units are enabled. Returns the
    record."""
    for unit in ("crio", "kubelet"):
        found = found_by(node, unit)
        assert found == WANTED, (unit, found)
    has_ended(node)
    done = record(node)
    assert (done["result"], done["profile"]) == ("applied", "site"), done
    assert done["boot_id"] == node.boot_id
    for unit in UNITS:
        assert property_of(node, unit, "UnitFileState") == "enabled", unit
        assert property_of(node, unit, "ActiveState") == "active", unit
    return done
