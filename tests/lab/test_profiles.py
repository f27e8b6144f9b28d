"""What we say a profile asks for is what TuneD itself says: every stock profile of two versions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ocp_tuned_boot.tuned import profiles
from tests.lab import rootfs
from tests.lab.node import Node

pytestmark = pytest.mark.lab

# Runs in the image: TuneD's own loader on every profile, and every tuned.conf there is.
DUMP = """
import glob, json, os, sys, logging
import tuned.logs
from tuned import consts
from tuned.profiles import Factory, Loader, Locator, Merger
from tuned.profiles.variables import Variables
folders = ["/usr/lib/tuned/profiles", "/usr/lib/tuned", "/etc/tuned"]
texts = {path: open(path, errors="replace").read()
         for folder in folders for path in glob.glob(folder + "/*/tuned.conf")}
texts.update((path, open(path).read()) for path in glob.glob("/etc/tuned/*.conf"))
found = {}
for name in sorted({path.split("/")[-2] for path in texts if path.endswith("/tuned.conf")}):
    variables = Variables()
    profile = Loader(Locator(folders), Factory(), Merger(), None, variables).load(name)
    found[name] = [
        (unit.type, key, variables.expand(unit.options[key].strip('"')))
        for unit in profile.units.values()
        if unit.type in ("sysctl", "sysfs", "vm") and unit.enabled
        for key in unit.options
    ]
print("DUMP" + json.dumps({"texts": texts, "found": found}))
"""

CUSTOM = {
    "lab-base": "[variables]\na=1\ninclude=/etc/tuned/realtime-variables.conf\n"
    "[sysctl]\nlab.a=${a}\nlab.b=2\nlab.c = 3 # three\n[more]\ntype=sysctl\nlab.d=4\n",
    "lab-top": "[main]\ninclude=lab-base, -nowhere\n[variables]\na=9\nb=${a}${a}\n"
    '[sysctl]\ndrop=lab.b\nlab.e="${b} 5"\n[vm]\ntransparent_hugepages=never\n',
    "lab-replaced": "[main]\ninclude=lab-top;balanced\n[sysctl]\nreplace=1\nlab.f=\\${a}\n",
    "lab-disabled": "[main]\ninclude=lab-top\n[more]\nenabled=0\n[sysctl]\nlab.a=>5\n",
}


def dumped(node: Node, image: str) -> dict[str, Any]:
    for name, text in CUSTOM.items():
        node.write(f"/var/tmp/custom/{name}/tuned.conf", text)
    mounts = [f"--volume=/var/tmp/custom/{name}:/etc/tuned/{name}" for name in CUSTOM]
    said = node.run("podman", "run", "--rm", "-i", "--net=host", *mounts, image, "python3", "-",
                    input=DUMP).stdout  # fmt: skip
    (line,) = (line for line in said.splitlines() if line.startswith("DUMP"))
    content: dict[str, Any] = json.loads(line[4:])
    return content


@pytest.mark.parametrize("suite", rootfs.SUITES)
def test_tuned_means_the_same(suite: str) -> None:
    with Node(image=suite, product=False) as node:
        node.boot()
        dump = dumped(node, f"localhost/tuned:{suite}")
    assert len(dump["found"]) > 20
    known = 0
    for name, found in dump["found"].items():
        ours = profiles.resolve(name, dump["texts"])
        if not any(each.plugin == "include" for each in ours):
            assert [(each.plugin, each.key) for each in ours] == [tuple(one[:2]) for one in found]
        for each in ours:
            if not each.unknown:
                known += 1
                assert [each.plugin, each.key, each.value] in found, name
    assert known > 200
