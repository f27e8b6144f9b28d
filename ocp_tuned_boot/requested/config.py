"""`boot.conf`: vendor default, admin's file and drop-ins → one frozen `Config`.

Each file is checked on its own, so that an error can name it; then they are laid over each
other, later wins. What a file leaves out comes from the configspec below, which is the one
place for names, types, ranges and defaults.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configobj import ConfigObj, ConfigObjError, flatten_errors
from configobj.validate import Validator, VdtTypeError, is_float

from ocp_tuned_boot.errors import ConfigurationError, HostError
from ocp_tuned_boot.host import files
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested.inputs import parse_image_reference, parse_profile_name
from ocp_tuned_boot.tuned.findings import KINDS

# What irqbalance and the CNI own. To set ip_forward is also to set accept_redirects
# (ip-sysctl in the kernel's networking documentation).
_FILES = "/etc/sysconfig/irqbalance, /proc/irq/default_smp_affinity, /proc/irq/*/smp_affinity"
_SYSCTLS = (
    "net.ipv4.ip_forward, net.ipv4.conf.*.forwarding, net.ipv4.conf.*.accept_redirects, "
    "net.ipv6.conf.*.forwarding"
)

SPEC = f"""
[tuning]
image = string(default='')
profile = string(default='')
contract = option('tuned', 'operand', default='tuned')
timeout = seconds(min=5, max=3600, default=90)
tuned_timeout = seconds(min=1, max=3600, default=60)
gate = option('open', 'closed', default='open')
accept = string(default='')
on_change = option('next-boot', 'apply', default='next-boot')
late = option('apply', 'defer', default='apply')

[handover]
files = string(default='{_FILES}')
sysctls = string(default='{_SYSCTLS}')
sysctl_d = option('yes', 'no', default='yes')

[image]
pull = option('missing', 'newer', 'never', default='missing')
fallback = option('last-good', 'none', default='last-good')
keep = integer(min=1, max=20, default=2)
require_digest = option('yes', 'no', default='no')
store = option('shared', 'own', default='shared')

[podman]
socket = string(default='')
"""

#: Where our own Podman services listen (units/ocp-tuned-podman*.socket), by the store they have.
SOCKETS = {
    "shared": Path("/run/ocp-tuned-boot/podman.sock"),
    "own": Path("/run/ocp-tuned-boot/podman-own.sock"),
}

#: The spec's types, in the words an admin reads in an error.
_EXPECTED = {
    "image": "an image reference",
    "profile": "a profile name",
    "contract": "'tuned' or 'operand'",
    "timeout": "a number of seconds from 5 to 3600",
    "tuned_timeout": "a number of seconds from 1 to 3600",
    "gate": "'open' or 'closed'",
    "accept": "a list of <kind>:<subject>, …",
    "on_change": "'next-boot' or 'apply'",
    "late": "'apply' or 'defer'",
    "files": "a list of absolute paths, …",
    "sysctls": "a list of sysctl keys, …",
    "sysctl_d": "'yes' or 'no'",
    "pull": "'missing', 'newer' or 'never'",
    "fallback": "'last-good' or 'none'",
    "keep": "a number of images from 1 to 20",
    "require_digest": "'yes' or 'no'",
    "store": "'shared' or 'own'",
    "socket": "the absolute path of a unix socket",
}


#: What an item of the hand-over list looks like.
_OWNED = {
    "files": r"(?!.*/\.\.?(/|$))(/[^/]+)+",
    "sysctls": r"[\w*?\[\]!-]+([./][\w*?\[\]!-]+)+",
}


@dataclass(frozen=True)
class Owners:
    """What others own once workloads run: files and sysctls, with wildcards; `sysctl_d`: and all
    that the host's sysctl.d sets."""

    files: tuple[str, ...] = ()
    sysctls: tuple[str, ...] = ()
    sysctl_d: bool = False


@dataclass(frozen=True)
class Images:
    """How the image is had. `keep`: so many of those that this program has brought stay."""

    pull: str = "missing"
    fallback: str = "last-good"
    keep: int = 2
    require_digest: bool = False

    def check(self, reference: str) -> None:
        """Raises `ConfigurationError` for an image that boot.conf does not let run."""
        if self.require_digest and "@" not in reference:
            raise ConfigurationError(
                f"found the image {reference!r}, expected one by its digest (…@sha256:…): "
                "boot.conf says require_digest = yes",
                "Name it by its digest (ocp-tuned-boot image stage), or change boot.conf.",
            )

    store: str = "shared"


@dataclass(frozen=True)
class Config:
    """What `boot.conf` says, checked. Times are seconds; boot.conf(5) has the meanings."""

    image: str
    profile: str
    contract: str
    timeout: float
    tuned_timeout: float
    gate: str
    #: Findings that this site knows: kind, and subject with wildcards.
    accept: tuple[tuple[str, str], ...]
    #: What becomes of changed profiles in a boot that has one in force, without a reload.
    on_change: str
    #: What becomes of a first run that finds workloads running.
    late: str
    handover: Owners
    images: Images
    socket: Path


def parse(layers: Iterable[tuple[str, str]]) -> Config:
    """Merges `(file name, text)` pairs, later ones winning. Raises `ConfigurationError`."""
    merged = ConfigObj(configspec=SPEC.splitlines(), interpolation=False, list_values=False)
    for name, text in layers:
        merged.merge(_layer(name, text))
    merged.validate(_validator())
    tuning, handover, image = merged["tuning"], merged["handover"], merged["image"]
    return Config(
        image=tuning["image"],
        profile=tuning["profile"],
        contract=tuning["contract"],
        timeout=tuning["timeout"],
        tuned_timeout=tuning["tuned_timeout"],
        gate=tuning["gate"],
        accept=parse_accept(tuning["accept"], "accept"),
        on_change=tuning["on_change"],
        late=tuning["late"],
        handover=Owners(
            tuple(_items(handover["files"])),
            tuple(_items(handover["sysctls"])),
            handover["sysctl_d"] == "yes",
        ),
        images=Images(
            image["pull"],
            image["fallback"],
            image["keep"],
            image["require_digest"] == "yes",
            image["store"],
        ),
        socket=Path(merged["podman"]["socket"] or SOCKETS[image["store"]]),
    )


def _layer(name: str, text: str) -> dict[str, Any]:
    """One file as plain text values, after it has been checked against the spec by itself."""
    try:
        said = ConfigObj(text.splitlines(), interpolation=False, list_values=False)
    except ConfigObjError as error:
        first = error.errors[0] if getattr(error, "errors", None) else error
        raise ConfigurationError(
            f"{name}: line {first.line_number}: found {first.line!r}, "
            f"expected '[section]' or 'key = value', each once ({first})"
        ) from error
    values: dict[str, Any] = {
        section: {key: _unquoted(value) for key, value in keys.items()}
        if isinstance(keys, Mapping)
        else keys
        for section, keys in said.items()
    }
    checked = ConfigObj(values, configspec=SPEC.splitlines(), interpolation=False)
    _refuse_unknown(name, values, checked.configspec)
    for sections, key, problem in flatten_errors(
        checked, checked.validate(_validator(), preserve_errors=True)
    ):
        section = "/".join(sections)
        found = values.get(section, {}).get(key)
        raise ConfigurationError(
            f"{name}: [{section}] {key}: found {found!r}, expected {_EXPECTED[key]} ({problem})"
        )
    _check_meaning(name, values)
    return values


def _validator() -> Validator:
    return Validator({"seconds": _is_seconds})


def _is_seconds(value: Any, min: Any = None, max: Any = None) -> float:  # noqa: A002
    """configobj's float, but that `nan` is inside of every range."""
    seconds = float(is_float(value, min, max))
    if math.isnan(seconds):
        raise VdtTypeError(value)
    return seconds


def _unquoted(value: Any) -> Any:
    """`'text'` and `"text"` mean text; configobj does this only where it also makes lists."""
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def _refuse_unknown(name: str, said: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
    for section, keys in said.items():
        if not isinstance(keys, Mapping):
            raise ConfigurationError(
                f"{name}: found the key {section!r} before any section, "
                f"expected one of the sections {_listed(spec)}"
            )
        if section not in spec:
            raise ConfigurationError(
                f"{name}: found the section [{section}], expected one of {_listed(spec)}"
            )
        for key, value in keys.items():
            if key not in spec[section] or isinstance(value, Mapping):
                what = "section" if isinstance(value, Mapping) else "key"
                raise ConfigurationError(
                    f"{name}: [{section}]: found the {what} {key!r}, "
                    f"expected one of the keys {', '.join(spec[section])}"
                )


def _listed(spec: Mapping[str, Any]) -> str:
    return ", ".join(f"[{section}]" for section in spec)


def _check_meaning(name: str, values: Mapping[str, Any]) -> None:
    """What a configspec cannot say."""
    tuning = values.get("tuning", {})
    if tuning.get("image"):
        parse_image_reference(tuning["image"], f"{name}: [tuning] image")
    if tuning.get("profile"):
        parse_profile_name(tuning["profile"], f"{name}: [tuning] profile")
    parse_accept(tuning.get("accept", ""), f"{name}: [tuning] accept")
    for key, pattern in _OWNED.items():
        for item in _items(values.get("handover", {}).get(key, "")):
            if not re.fullmatch(pattern, item):
                raise ConfigurationError(
                    f"{name}: [handover] {key}: found {item!r}, expected {_EXPECTED[key]}"
                )
    socket = values.get("podman", {}).get("socket", "")
    if socket and not socket.startswith("/"):
        raise ConfigurationError(
            f"{name}: [podman] socket: found {socket!r}, expected {_EXPECTED['socket']}"
        )


def _items(text: str) -> list[str]:
    """The parts of a list with commas."""
    return [item for item in (part.strip() for part in text.split(",")) if item]


def parse_accept(text: str, where: str) -> tuple[tuple[str, str], ...]:
    """The pairs in `<kind>:<subject>, …`; `where` begins the error. A kind has to be one that may
    be accepted, and a subject more than wildcards: those would hide what nobody has seen yet."""
    pairs = []
    for item in _items(text):
        kind, colon, subject = item.partition(":")
        acceptable = sorted(name for name, it in KINDS.items() if it.acceptable)
        if not colon or kind not in acceptable:
            raise ConfigurationError(
                f"{where}: found {item!r}, expected <kind>:<subject> "
                f"with one of the kinds {', '.join(acceptable)}"
            )
        if not subject.strip("*?[]!-. /"):
            raise ConfigurationError(
                f"{where}: found {item!r}, expected a subject that names something: "
                "a wildcard over everything would hide what nobody has seen yet"
            )
        pairs.append((kind, subject))
    return tuple(pairs)


def gate(paths: Paths, override: Path | None = None) -> str:
    """`open` or `closed`, also from files that are broken elsewhere: a typing error must not open
    a gate that an admin has closed."""
    try:
        return load(paths, override).gate
    except (ConfigurationError, HostError):
        said = [word for name in _names(paths, override) for word in _gates(name)]
        return said[-1] if said else "open"


def _gates(path: Path) -> list[str]:
    try:
        text = files.read(files.resolved(path)).decode(errors="replace")
    except (HostError, OSError):
        return []
    return re.findall(r"(?m)^[ \t]*gate[ \t]*=[ \t]*['\"]?(open|closed)\b", text)


def load(paths: Paths, override: Path | None = None) -> Config:
    """Reads and merges the host's files, or `override` alone (`--config`).

    Order: `/usr/lib/ocp-tuned-boot/boot.conf`, `/etc/ocp-tuned-boot/boot.conf`, then
    `/etc/ocp-tuned-boot/boot.conf.d/*.conf` by name. Raises `ConfigurationError`, `HostError`.
    """
    if override is not None and not os.path.lexists(override):
        raise ConfigurationError(f"{override}: there is no such file")
    names = _names(paths, override)
    return parse((str(name), text(name)) for name in names if os.path.lexists(name))


def _names(paths: Paths, override: Path | None) -> list[Path]:
    if override is not None:
        return [override]
    drop_ins = sorted(paths.admin_conf.with_name("boot.conf.d").glob("*.conf"))
    return [paths.vendor_conf, paths.admin_conf, *drop_ins]


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
