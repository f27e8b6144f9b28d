"""Which file of the host to change because of a finding."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested.inputs import Inputs
from ocp_tuned_boot.settings import handover
from ocp_tuned_boot.tuned import profiles
from ocp_tuned_boot.tuned.findings import Finding


def file_for(paths: Paths, requested: Inputs, texts: Mapping[str, str], found: Finding) -> str:
    """The file, with the line if TuneD names one; empty if it is not known. `texts`: as for
    `profiles.absent`."""
    if found.kind in ("unknown-profile", "wrong-profile"):
        return requested.named_in
    if found.kind == "missing-include":
        by = profiles.absent(requested.profile, texts).get(found.subject, "")
        return on_host(paths, by)
    if found.kind == "broken-profile":
        line = re.search(r"\bline:? +(\d+)", found.message)
        file = on_host(paths, found.subject)
        return f"{file}, line {line[1]}" if file and line else file
    if found.kind == "script-failed":
        return on_host(paths, found.subject)
    if found.kind == "overridden":
        return handover.sysctl_d_file(paths, found.subject)
    return ""


def on_host(paths: Paths, path: str) -> str:
    """Where to change a file that has this path in the container: our `/etc/tuned` there is a copy
    of the custom profiles."""
    folder = f"{profiles.CUSTOM}/"
    if path.startswith(folder):
        return str(paths.profiles / path[len(folder) :])
    if path.startswith("/usr/"):
        return f"{path} in the image"
    return path if path.startswith("/") else ""
