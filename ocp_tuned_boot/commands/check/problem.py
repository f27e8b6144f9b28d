"""What `check` reports: a problem, and the table of all kinds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum


class Severity(Enum):
    """`ERROR`: the next boot fails, or does not do what is requested. `WARNING`: it is degraded, or
    this is likely a mistake. `NOTE`: it is good to know; also, what could not be checked."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Kind:
    """A kind of problem. `severity`: what it is unless less is known to depend on it; `says`: what
    it means, in one sentence."""

    severity: Severity
    says: str


def _error(says: str) -> Kind:
    return Kind(Severity.ERROR, says)


def _warning(says: str) -> Kind:
    return Kind(Severity.WARNING, says)


def _note(says: str) -> Kind:
    return Kind(Severity.NOTE, says)


#: Every kind. The words are stable; docs/check.md has the same table.
KINDS = {
    # boot.conf
    "boot-conf-invalid": _error("A file of boot.conf is not valid, or cannot be read."),
    "drop-in-ignored": _warning("A file in boot.conf.d is not read."),
    "conflicting-timeouts": _warning("TuneD is given more time than the whole run."),
    "gate-without-request": _warning("The gate is closed, but nothing is requested."),
    "digest-required": _error(
        "The image is requested by its tag, and boot.conf requires a digest."
    ),
    "overruled": _warning("A key of boot.conf has no effect, because another file decides."),
    # What is requested.
    "nothing-requested": _note("No image and no profile is requested: the unit does nothing."),
    "half-requested": _error("Only one of image and profile is requested."),
    "image-env-invalid": _error("image.env is not valid, or cannot be read."),
    "recommend-invalid": _error("The recommend file is not valid, or cannot be read."),
    "agent-word": _warning("A file of the agent has an unknown word, and is ignored."),
    # The folder of the profiles.
    "profiles-unreadable": _error("The custom profiles cannot be read, and no profile is applied."),
    "no-profiles": _error("The folder of --profiles contains no profile."),
    "profile-not-in-folder": _warning("A file lies beside the folders of the profiles."),
    "profile-too-deep": _warning("A profile lies in the folder of another one."),
    "no-tuned-conf": _warning("A folder has no tuned.conf, and is no profile."),
    "profile-name": _warning("TuneD ignores a profile with this name."),
    "shadowed-stock-profile": _note("A custom profile replaces the image's own of this name."),
    # The text of a profile.
    "profile-syntax": _error("TuneD cannot parse a profile."),
    "duplicate-section": _warning("A section exists twice in a file; TuneD merges both."),
    "duplicate-key": _warning("An option exists twice in a section; the last one counts."),
    "unknown-profile": _error("The requested profile does not exist."),
    "missing-include": _error("A profile includes one that does not exist."),
    "include-circle": _warning("Profiles include each other; TuneD ignores the last include."),
    "script-missing": _warning("A script of a profile does not exist."),
    "script-not-executable": _warning("A script of a profile is not executable."),
    "script-refused": _warning("TuneD does not run a script from this place."),
    "script-no-interpreter": _warning("The first line of a script names no interpreter."),
    "value-out-of-range": _error("The kernel refuses a value, as it is documented."),
    # What TuneD says about the profile.
    "profile-not-loaded": _error("TuneD cannot load the profile."),
    "tuned-warning": _warning("TuneD logs a warning or an error while it loads the profile."),
    "unknown-plugin": _warning("TuneD in this image has no such plugin."),
    "plugin-failed": _warning("A plugin of TuneD does not work in this image."),
    "unknown-option": _warning("TuneD does not know an option, and ignores it."),
    "unknown-variable": _warning("A variable is not defined, and its name remains in the value."),
    "no-devices": _warning("This machine has none of the devices that a section names."),
    # What this machine says about it.
    "no-such-setting": _warning("This kernel has no such setting."),
    "read-only-setting": _warning("The kernel does not let this setting be written."),
    "value-not-accepted": _warning("The setting does not take such a value."),
    "set-elsewhere": _warning("A file of the host's sysctl.d sets another value."),
    "missing-kernel-argument": _warning(
        "The kernel of this boot was started without an argument of the profile."
    ),
    "kubelet-default": _error("The kubelet does not start with this value."),
    "no-such-cstate": _warning("The CPUs of this machine have none of the idle states."),
    "no-such-cpu": _warning("A list of CPUs names one that this machine does not have."),
    # The image.
    "image-not-available": _error("The image is not on the node, and is not pulled."),
    "last-pull-failed": _warning("The image is not on the node, and its last pull failed."),
    "image-to-be-pulled": _note("The image is not on the node: the next boot pulls it."),
    "image-short-name": _warning("The image has no registry in its name."),
    "image-by-tag": _note("The image is requested by its tag, which may name another one later."),
    "image-contract": _error("The image does not contain what is required."),
    # The units.
    "unit-missing": _error("A unit of this program is not installed."),
    "unit-disabled": _error("A unit of this program is disabled or masked."),
    "unit-not-ordered": _error("The kubelet does not wait for ocp-tuned.service."),
    "unit-changed": _warning("The file of a unit has changed, and systemd has not read it again."),
    "other-tuned-unit": _warning("Another unit that runs TuneD is enabled."),
    # The host.
    "podman-unreachable": _error("Podman cannot be reached, or refuses."),
    "podman-too-old": _error("Podman is older than required."),
    "systemd-too-old": _error("systemd is older than required."),
    "low-space": _warning("A file system is almost full."),
    "not-checked": _note("Something could not be checked; the message says why."),
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One problem. `file`: where it is to be fixed, as a person would open it; empty if it is in no
    file. `line`: its number in the file, from 1; 0 if it is not known. `is_stock`: the file is one
    of the image. `advice`: what to do, or empty."""

    kind: str
    file: str
    line: int
    message: str
    advice: str = ""
    severity: Severity = Severity.NOTE
    is_stock: bool = False


def problem(
    kind: str, file: object = "", line: int = 0, message: str = "", advice: str = "",
    *, is_stock: bool = False,
) -> Problem:  # fmt: skip
    """A problem with the severity of its kind. In a profile of the image it is a note: such a
    profile is made for many machines, and leaves out what one does not have."""
    severity = Severity.NOTE if is_stock else KINDS[kind].severity
    return Problem(kind, str(file or ""), line, message, advice, severity, is_stock)


def not_checked(what: str, why: str, advice: str = "", file: object = "", line: int = 0) -> Problem:
    """What could not be checked. `what` begins a sentence."""
    return problem("not-checked", file, line, f"{what}: {why}", advice)


def lowered(found: Problem, to: Severity) -> Problem:
    """With this severity, if it is a lower one."""
    order = list(Severity)
    return replace(found, severity=max(found.severity, to, key=order.index))


def ordered(found: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each problem once: errors first, then by file and line. What is found in the text and said by
    TuneD as well is one problem, and so is what several profiles include."""
    order = list(Severity)
    once: dict[tuple[str, str, int, str], Problem] = {}
    for each in found:
        once.setdefault((each.kind, each.file, each.line, each.message), each)
    return tuple(sorted(once.values(), key=lambda it: (order.index(it.severity), it.file, it.line)))


@dataclass(frozen=True)
class Checkup:
    """All problems, in the order of `ordered`."""

    problems: Sequence[Problem] = ()

    def of(self, severity: Severity) -> tuple[Problem, ...]:
        """Those of one severity, without what could not be checked."""
        return tuple(
            it for it in self.problems if it.severity is severity and it.kind != "not-checked"
        )

    @property
    def errors(self) -> tuple[Problem, ...]:
        return self.of(Severity.ERROR)

    @property
    def not_checked(self) -> tuple[Problem, ...]:
        return tuple(it for it in self.problems if it.kind == "not-checked")
