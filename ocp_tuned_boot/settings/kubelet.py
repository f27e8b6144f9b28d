"""The sysctls of the kubelet. It sets them when it starts. With protectKernelDefaults it sets
nothing, and does not start if one has another value (setupKernelTunables in pkg/kubelet/cm of
Kubernetes).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths, sysctl_file
from ocp_tuned_boot.settings import notation, values
from ocp_tuned_boot.tuned.findings import Finding, make

log = logging.getLogger(__name__)

#: Each sysctl, and the value that the kubelet requires.
REQUIRED = {
    "kernel.keys.root_maxbytes": "25000000",
    "kernel.keys.root_maxkeys": "1000000",
    "kernel.panic": "10",
    "kernel.panic_on_oops": "1",
    "vm.overcommit_memory": "1",
    "vm.panic_on_oom": "0",
}
# The key in YAML or JSON, or the option in a list of arguments; not in a comment.
_SAID = re.compile(
    r"(?m)^[^#\n]*?\bprotect(?:KernelDefaults|-kernel-defaults)\b"
    r"(?:[\"']?[ \t]*[:=][ \t]*[\"']?(\w+))?"
)
_TRUE = {"true", "t", "1", "yes", "on", "y"}


@dataclass(frozen=True)
class Kubelet:
    """Before a run of TuneD: the file of this node that sets protectKernelDefaults, or None; then
    nothing else is read. `before`: the values of the kubelet's sysctls."""

    protected_by: Path | None = None
    before: Mapping[str, str] = field(default_factory=dict)


def look(paths: Paths) -> Kubelet:
    """What the kubelet of this node requires, and what the host has now."""
    found = _protected_by(paths)
    return Kubelet(found, _now(paths)) if found is not None else Kubelet()


def _protected_by(paths: Paths) -> Path | None:
    """The file that sets protectKernelDefaults; the last of several that name it wins, as an
    argument of the kubelet overrides its configuration.

    The files are not parsed: a line that names the key is sufficient.
    """
    protected_by = None
    for path in paths.kubelet_settings:
        try:
            text = files.read(files.resolved(path)).decode(errors="replace")
        except FileNotFoundError:
            continue
        except HostError as error:
            log.debug("%s", error)
            continue
        for said in _SAID.finditer(text):
            protected_by = path if (said[1] or "true").lower() in _TRUE else None
    return protected_by


def _now(paths: Paths) -> dict[str, str]:
    return {key: values.read(paths.root, sysctl_file(key)) for key in REQUIRED}


def refused(
    paths: Paths,
    kubelet: Kubelet,
    named: Collection[str],
    owned: Collection[str],
    left_out: Mapping[str, str],
) -> Iterator[Finding]:
    """A finding for each value of the profile with which the kubelet does not start.

    `named`: the files that the profile is known to set; what TuneD has changed besides them is the
    profile's as well. `owned`: the files that TuneD could not set, because the run was guarded;
    `left_out`: what it would have set there, by key.
    """
    if kubelet.protected_by is None:
        return
    for key, found in _now(paths).items():
        path = sysctl_file(key)
        is_set = path not in owned and (path in named or found != kubelet.before[key])
        value = left_out.get(key, found if is_set else "")
        if value and not notation.equal(REQUIRED[key], value, path):
            words = (
                f"{key}: the profile requests {value!r}; with protectKernelDefaults in "
                f"{kubelet.protected_by}, the kubelet starts only with {REQUIRED[key]!r}"
            )
            yield make("kubelet-default", key, words, str(kubelet.protected_by))
