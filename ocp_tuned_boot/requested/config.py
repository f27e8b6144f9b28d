"""`boot.conf`: vendor default, admin's file and drop-ins → one frozen `Config`.

The dataclasses below are the table of all keys: section, name, type, limits, default and what the
key is for. Parsing, errors and defaults come from it, and tests compare it with packaging/boot.conf
and boot.conf(5). Each file is checked by itself, so that an error can name it; then they are laid
over each other, later wins.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from configobj import ConfigObj, ConfigObjError, DuplicateError

from ocp_tuned_boot.errors import ConfigurationError, HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import keys
from ocp_tuned_boot.requested.inputs import BOOT_CONF, Inputs
from ocp_tuned_boot.requested.keys import choice, key, number, yes_or_no

#: The sockets of our own Podman services (units/ocp-tuned-podman@.socket), by image store.
SOCKETS = {
    "shared": Path("/run/ocp-tuned-boot/podman-shared.sock"),
    "own": Path("/run/ocp-tuned-boot/podman-own.sock"),
}
#: The path of the shared one before it was a template; a boot.conf may name it.
OLD_SOCKET = Path("/run/ocp-tuned-boot/podman.sock")


@dataclass(frozen=True)
class Tuning:
    """Section [tuning]. Times are in seconds."""

    image: str = key(
        "", keys.image(),
        "The image that contains TuneD; used if /var/lib/ocp-tuned/image.env does not exist.",
    )  # fmt: skip
    profile: str = key(
        "", keys.profile(),
        "The profile to apply; used if /var/lib/ocp-tuned/recommend.d/50-openshift.conf does not "
        "exist.",
    )  # fmt: skip
    contract: str = key(
        "tuned", choice("tuned", "operand"),
        "Controls which program of the image is run.",
    )  # fmt: skip
    mode: str = key(
        "oneshot", choice("oneshot", "daemon"),
        "Controls whether TuneD exits once the profile is applied, or keeps running.",
    )  # fmt: skip
    timeout: float = key(
        90.0, number(float, "seconds", 5, 3600),
        "The time from the start of ocp-tuned-boot until the profile must be applied.",
    )  # fmt: skip
    tuned_timeout: float = key(
        60.0, number(float, "seconds", 1, 3600),
        "The time that TuneD may run.",
    )  # fmt: skip
    gate: str = key(
        "open", choice("open", "closed"),
        "Controls whether units ordered after ocp-tuned.service start when the profile cannot be "
        "applied.",
    )  # fmt: skip
    fallback_profile: str = key(
        "last-good", choice("last-good", "none"),
        "Controls what is applied instead if the requested profile cannot be loaded.",
    )  # fmt: skip
    accept: tuple[tuple[str, str], ...] = key(
        (), keys.findings(),
        "Findings that are known and accepted on this node.",
    )  # fmt: skip
    on_change: str = key(
        "next-boot", choice("next-boot", "apply", "agent"),
        "Controls when a changed profile is applied if a profile is already applied in this boot "
        "and the unit is not reloaded.",
    )  # fmt: skip
    late: str = key(
        "apply", choice("apply", "defer"),
        "Controls whether the first run of a boot applies the profile if the kubelet or a "
        "container runtime is already running.",
    )  # fmt: skip
    reapply_sysctl: str = key(
        "agent", choice("yes", "no", "agent"),
        "Controls whether TuneD applies the host's sysctl.d again after the sysctls of the "
        "profile.",
    )  # fmt: skip
    verify: bool = key(
        True, yes_or_no(),
        "Controls whether TuneD itself compares the settings with the host after it has applied "
        "the profile.",
    )  # fmt: skip


# Writing ip_forward also changes accept_redirects (ip-sysctl in the kernel's networking
# documentation), so both belong to the CNI. The kubelet's are in settings/kubelet.py.
@dataclass(frozen=True)
class Owners:
    """Section [handover]: what others own once workloads run."""

    files: tuple[str, ...] = key(
        ("/etc/sysconfig/irqbalance", "/proc/irq/default_smp_affinity",
         "/proc/irq/*/smp_affinity"),
        keys.items("absolute paths", r"(?!.*/\.\.?(/|$))(/[^/]+)+"),
        "Files owned by CRI-O, irqbalance, the CNI or the administrator once workloads run.",
    )  # fmt: skip
    sysctls: tuple[str, ...] = key(
        ("net.ipv4.ip_forward", "net.ipv4.conf.*.forwarding", "net.ipv4.conf.*.accept_redirects",
         "net.ipv6.conf.*.forwarding", "kernel.keys.root_maxbytes", "kernel.keys.root_maxkeys",
         "kernel.panic", "kernel.panic_on_oops", "vm.overcommit_memory", "vm.panic_on_oom"),
        keys.items("sysctl keys", r"[\w*?\[\]!-]+([./][\w*?\[\]!-]+)+"),
        "Sysctls owned by CRI-O, the kubelet, the CNI or the administrator once workloads run.",
    )  # fmt: skip
    sysctl_d: bool = key(
        True, yes_or_no(),
        "Controls whether all sysctls set in the host's sysctl.d belong to this list.",
    )  # fmt: skip


@dataclass(frozen=True)
class Images:
    """Section [image]."""

    pull: str = key(
        "missing", choice("missing", "newer", "never"),
        "Controls when the image is pulled.",
    )  # fmt: skip
    fallback: str = key(
        "last-good", choice("last-good", "none"),
        "Controls what is used instead if the requested image is not available.",
    )  # fmt: skip
    keep: int = key(
        2, number(int, "images", 1, 20),
        "The number of images pulled by ocp-tuned-boot that remain on the node.",
    )  # fmt: skip
    require_digest: bool = key(
        False, yes_or_no(),
        "Controls whether the image must be requested by its digest.",
    )  # fmt: skip
    store: str = key(
        "shared", choice("shared", "own"),
        "Controls where images are stored.",
    )  # fmt: skip
    archives: tuple[str, ...] = key(
        (), keys.items("absolute paths", r"(?!.*/\.\.?(/|$))(/[^/]+)+"),
        "Folders of other programs with image archives.",
    )  # fmt: skip

    def check(self, reference: str) -> None:
        """Raises `ConfigurationError` for an image that boot.conf does not let run."""
        if self.require_digest and "@" not in reference:
            raise ConfigurationError(
                f"the image {reference!r} is requested by its tag, but boot.conf sets "
                "require_digest = yes",
                "Request it as NAME@sha256:DIGEST, or change boot.conf.",
            )


@dataclass(frozen=True)
class Service:
    """Section [podman]."""

    socket: str = key(
        "", keys.socket(),
        "The socket of another podman system service, used instead of the one of this package.",
    )  # fmt: skip


@dataclass(frozen=True)
class Metrics:
    """Section [metrics]."""

    textfile: str = key(
        "", keys.prom(),
        "The file to which the metrics of this boot are written, for the textfile collector of "
        "node_exporter.",
    )  # fmt: skip


SECTIONS: Mapping[str, type] = {
    "tuning": Tuning,
    "handover": Owners,
    "image": Images,
    "podman": Service,
    "metrics": Metrics,
}


@dataclass(frozen=True)
class Naming:
    """A file of boot.conf that sets this key of [tuning], and to what."""

    file: str
    key: str
    value: Any


@dataclass(frozen=True)
class Config(Tuning):
    """What `boot.conf` says, checked: the keys of [tuning], and the other sections. `namings`: who
    says the keys of [tuning], in the order in which the files are read."""

    handover: Owners = Owners()
    images: Images = Images()
    service: Service = Service()
    metrics: Metrics = Metrics()
    # Not compared: the same said elsewhere is no change.
    namings: tuple[Naming, ...] = field(default=(), compare=False)

    def named_in(self, key: str) -> str:
        """The file that decides a key of [tuning]; empty if no file sets it."""
        return next((it.file for it in reversed(self.namings) if it.key == key), "")

    def overridden(self, key: str) -> tuple[Naming, ...]:
        """The files that set a key of [tuning] to another value, which a later file overrides."""
        value = getattr(self, key)
        return tuple(it for it in self.namings if it.key == key and it.value not in ("", value))

    @property
    def socket(self) -> Path:
        """Where Podman listens: on what boot.conf names, else on our own socket for the store."""
        named = Path(self.service.socket or SOCKETS[self.images.store])
        return SOCKETS["shared"] if named == OLD_SOCKET else named


def located(config: Config, requested: Inputs) -> Inputs:
    """With the file that names the image and the profile, of those that boot.conf is made of."""

    def where(named_in: str, key: str) -> str:
        file = config.named_in(key)
        return f"[tuning] of {file}" if file and named_in == BOOT_CONF else named_in

    return replace(
        requested,
        named_in=where(requested.named_in, "profile"),
        image_named_in=where(requested.image_named_in, "image"),
    )


def overruled(config: Config, requested: Inputs) -> tuple[str, ...]:
    """What boot.conf says without effect, for people."""
    image = _without_effect(config, "image", requested.image, requested.image_named_in)
    return (*image, *profiles_overruled(config, requested))


def profiles_overruled(config: Config, requested: Inputs) -> tuple[str, ...]:
    """The same of the profile alone."""
    return _without_effect(config, "profile", requested.profile, requested.named_in)


def _without_effect(config: Config, key: str, used: str, decides: str) -> tuple[str, ...]:
    """A file of the agent decides, or a later file of boot.conf says something else."""
    if decides.startswith("/"):
        others, why = config.namings, f"{decides} decides"
    else:
        others = config.overridden(key)
        why = f"{config.named_in(key)} sets {key} = {getattr(config, key)}"
    return tuple(
        f"{key} = {it.value} in {it.file} has no effect: {why}"
        for it in others
        if it.key == key and it.value not in ("", used)
    )


def parse(layers: Iterable[tuple[str, str]]) -> Config:
    """Merges `(file name, text)` pairs, later ones winning. Raises `ConfigurationError`."""
    said: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    namings: list[Naming] = []
    for name, text in layers:
        for section, values in _layer(name, text).items():
            said[section].update(values)
            if section == "tuning":
                namings += [Naming(name, *each) for each in values.items()]
    found = Config(
        **said["tuning"],
        handover=Owners(**said["handover"]),
        images=Images(**said["image"]),
        service=Service(**said["podman"]),
        metrics=Metrics(**said["metrics"]),
        namings=tuple(namings),
    )
    if (found.mode, found.contract) == ("daemon", "operand"):
        raise ConfigurationError(
            f"found mode = daemon in {found.named_in('mode')} and contract = operand in "
            f"{found.named_in('contract')}, expected only one of the two",
            "The operator's program runs TuneD once. Remove one of these keys.",
        )
    return found


def _layer(name: str, text: str) -> dict[str, dict[str, Any]]:
    """The checked values of one file, by section and key."""
    try:
        # Not splitlines(): a form feed or a U+2028 ends no line for any other program.
        lines = re.split("\r\n|\r|\n", text)
        sections = ConfigObj(lines, interpolation=False, list_values=False)
    except ConfigObjError as error:
        first = error.errors[0] if getattr(error, "errors", None) else error
        raise ConfigurationError(f"{name}: line {first.line_number}: {_syntax(first)}") from error
    return {
        section: _section(name, section, said, _lines_of(lines, section))
        for section, said in sections.items()
    }


def _lines_of(lines: Sequence[str], section: str) -> dict[str, int]:
    """The number of the line of each key of a section, as far as it can be told."""
    here = ""
    found: dict[str, int] = {}
    for at, line in enumerate(lines, 1):
        words = line.strip()
        if words.startswith("["):
            here = words.strip("[]").partition("]")[0].strip()
        elif here == section:
            found[words.partition("=")[0].strip("'\" \t")] = at
    return found


def _syntax(error: ConfigObjError) -> str:
    """What is wrong with a line."""
    line = error.line.strip()
    if not isinstance(error, DuplicateError):
        return f"found {line!r}, expected '[section]' or 'key = value' ({error})"
    if line.startswith("["):
        return f"found the section {line} twice, expected it once"
    return f"found the key {line.partition('=')[0].strip()!r} twice in a section, expected it once"


def _section(name: str, section: str, said: Any, at: Mapping[str, int]) -> dict[str, Any]:
    """The checked values of a section; `at`: the line of each key."""
    known = ", ".join(f"[{each}]" for each in SECTIONS)
    if not isinstance(said, Mapping):
        raise ConfigurationError(
            f"{name}: found the key {section!r} before any section, "
            f"expected one of the sections {known}"
        )
    if section not in SECTIONS:
        raise ConfigurationError(f"{name}: found the section [{section}], expected one of {known}")
    rows = keys.of(SECTIONS[section])
    values = {}
    for each, text in said.items():
        where = f"{name}: line {at[each]}: [{section}]" if each in at else f"{name}: [{section}]"
        what = "section" if isinstance(text, Mapping) else "key"
        if each not in rows or what == "section":
            near = keys.nearest(each, list(rows)) if what == "key" else ""
            # A list of all keys would hide the one that was meant.
            expected = f" (did you mean {near}?), expected a key of this section"
            if not near:
                expected = f", expected one of the keys {', '.join(rows)}"
            raise ConfigurationError(f"{where}: found the {what} {each!r}{expected}")
        if "\n" in text:
            raise ConfigurationError(
                f"{where} {each}: found a value of several lines, expected one line"
            )
        values[each] = rows[each].kind.parse(_unquoted(text), f"{where} {each}")
    return values


def _unquoted(text: str) -> str:
    """`'text'` and `"text"` mean text; configobj does this only where it also makes lists."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


# Whatever is around the words, such as a blank that was copied from a web page, is no part of them.
_GATE = re.compile(r"(?ma)^[^\w=#;\n]*gate[^\w=\n]*=[^\w=\n]*(open|closed)\b")
_TEXTFILE = re.compile(r"(?m)^\s*textfile\s*=\s*['\"]?(/[^\s'\"#]+\.prom)\b")


def gate(paths: Paths, override: Path | None = None) -> str:
    """`open` or `closed`, also from files that are broken elsewhere: a typing error must not open
    a gate that an admin has closed. packaging/gate.sh reads them in the same way."""
    try:
        return load(paths, override).gate
    except (ConfigurationError, HostError):
        return _last(_GATE, paths, override, "open")


def textfile(paths: Paths, override: Path | None = None) -> str:
    """The file of the metrics, empty for none; also from files that are broken elsewhere: that the
    run fails because of them is one of the things that metrics are for."""
    try:
        return load(paths, override).metrics.textfile
    except (ConfigurationError, HostError):
        try:
            return keys.prom().parse(_last(_TEXTFILE, paths, override, ""), "textfile")
        except ConfigurationError:
            return ""


def _last(pattern: re.Pattern[str], paths: Paths, override: Path | None, default: str) -> str:
    """The last value that matches in any of the files, readable or not as a whole."""
    said = [word for name in names(paths, override) for word in _said(pattern, name)]
    return said[-1] if said else default


def _said(pattern: re.Pattern[str], path: Path) -> list[str]:
    try:
        # Of a file that is too large, what would have been read.
        text = files.read(files.resolved(path), cut=True).decode(errors="replace")
    except (HostError, OSError):
        return []
    return re.findall(pattern, text.replace("\r", "\n"))


def load(paths: Paths, override: Path | None = None) -> Config:
    """Reads and merges the host's files, or `override` alone (`--config`).

    Order: `/usr/lib/ocp-tuned-boot/boot.conf`, `/etc/ocp-tuned-boot/boot.conf`, then
    `/etc/ocp-tuned-boot/boot.conf.d/*.conf` by name, without hidden files. Raises
    `ConfigurationError`, `HostError`.
    """
    if override is not None and not os.path.lexists(override):
        raise ConfigurationError(f"{override}: there is no such file")
    found = [name for name in names(paths, override) if os.path.lexists(name)]
    return parse((str(name), text(name)) for name in found)


def names(paths: Paths, override: Path | None) -> list[Path]:
    """The files that boot.conf may be made of, in the order in which they are read."""
    if override is not None:
        return [override]
    # An editor's lock files and copies are hidden. [!.] is what `*` means to a shell.
    drop_ins = sorted(paths.drop_ins.glob("[!.]*.conf"))
    return [paths.vendor_conf, paths.admin_conf, *(it for it in drop_ins if _is_drop_in(it))]


def _is_drop_in(path: Path) -> bool:
    """Whether systemd would take it for a drop-in: not a folder, and not a link to /dev/null, which
    masks. What cannot be found out is an error when it is read (`text`)."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def text(path: Path) -> str:
    """What one file says, not checked. Raises `ConfigurationError`, `HostError`."""
    # An admin may well have linked boot.conf to where it is managed: follow it.
    with files.explained("read", path):
        data = files.read(files.resolved(path))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigurationError(
            f"{path}: line {line}: found a byte that is not UTF-8, expected text"
        ) from error
