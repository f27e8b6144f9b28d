"""The files of the agent (or of the installer), and `boot.conf` → one frozen `Inputs`.

Parsing is a pure function of text; `read` reads the text from the host. Later code does not check
these values again.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ocp_tuned_boot.errors import ConfigurationError, HostError, NotRequested
from ocp_tuned_boot.host import files, kernelargs, userspace
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import envfile
from ocp_tuned_boot.tuned.findings import RELOAD, START, Finding, make
from ocp_tuned_boot.tuned.profilefile import ProfileFile

#: The largest `image.env`, recommend file and `provider` (bytes). Upstream writes one line each.
TEXT_LIMIT = 64 * 1024
#: The largest size of all custom profile files together (bytes). Upstream's have a few KiB.
PROFILES_LIMIT = 2 * 1024 * 1024
#: The most custom profile files and folders together, for 1000 profiles and more. Upstream has two
#: for each profile.
ENTRIES_LIMIT = 2500
#: The most bytes of the names of these files together, with their folders.
NAMES_LIMIT = 256 * 1024
#: The most levels of folders in a profile.
DEPTH_LIMIT = 8
#: In `Inputs`, where something is named that no file of the agent says. `config.located` puts the
#: file of boot.conf in its place.
BOOT_CONF = "[tuning] of boot.conf"
#: What the agent may say about a change, as in the annotation `tuned.openshift.io/deferred`.
ON_CHANGE = ("always", "update", "never")


# TuneD ignores any other name (tuned/profiles/loader.py, safe_name).
_PROFILE_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,255}\Z")

# The grammar of an image reference, as in the distribution project's reference package.
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[\w][\w.-]{0,127})?(?:@[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-fA-F]{32,})?\Z",
    re.ASCII,
)
# A name has at most 255 characters there, a tag 128; of digests, the longest is SHA-512's.
_LONGEST = 1000

# Names of other files in /etc/tuned: a profile of this name would be hidden, or would hide one.
_RESERVED = {"active_profile", "bootcmdline", "post_loaded_profile", "profile_mode", "profiles",
             "recommend.conf", "recommend.d", "tuned-main.conf", ".", "..",
             "ocp-tuned-boot-guard"}  # fmt: skip


@dataclass(frozen=True)
class Inputs:
    """Everything that determines what TuneD does on this node in this boot."""

    image: str
    profile: str
    contract: str
    boot_id: str
    provider: str = ""
    files: tuple[ProfileFile, ...] = ()
    #: Findings about an input that could not be used, and what is used instead.
    doubts: tuple[Finding, ...] = ()
    #: Where the profile is named, for messages: a file, or a key of boot.conf.
    named_in: str = ""
    #: Why the last profile that was applied is used instead of the requested one, if it is.
    fallback: tuple[Finding, ...] = ()
    #: Where the image is named, as `named_in`.
    image_named_in: str = ""
    #: When the agent wants a change to be applied: one of `ON_CHANGE`; empty if it does not say.
    on_change: str = ""
    #: Whether TuneD applies the host's sysctl.d again after its own sysctls.
    reapply_sysctl: bool = True
    #: Whether TuneD exits once the profile is applied: `oneshot` or `daemon`.
    mode: str = "oneshot"
    #: The fingerprint of what is requested, if the last profile that was applied is used instead;
    #: empty if it could not be read.
    instead_of: str = ""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that can change the result, except the image and the boot.

        The image is left out because a new image with the same profiles must not cause another
        apply. The record has its ID beside this.
        """
        return self.fingerprint_with(self.files)

    def fingerprint_with(self, files: Sequence[ProfileFile]) -> str:
        """The same with these custom profile files only, for example those that this node's profile
        can reach (`tuned.reach`)."""
        digest = hashlib.sha256()
        parts = [self.profile.encode(), self.contract.encode(), self.provider.encode()]
        for file in files:
            parts += [file.path.encode(), b"x" if file.executable else b"-", file.data]
        if not self.reapply_sysctl:
            # The default adds nothing: so a record of an earlier release still compares equal.
            parts.append(b"reapply_sysctl=0")
        if self.mode != "oneshot":
            parts.append(b"mode=" + self.mode.encode())
        for part in parts:
            digest.update(b"%d:" % len(part) + part)
        return digest.hexdigest()


def parse_image_reference(text: str, where: str) -> str:
    """Checks an image reference (`[host/]name[:tag][@digest]`). `where` begins the error message.
    Raises `ConfigurationError`."""
    if len(text) > _LONGEST or not _REFERENCE.match(text):
        raise ConfigurationError(
            f"{where}: found {text!r}, expected an image reference such as "
            "'registry.example/openshift/tuned:4.20' or '…@sha256:<digest>'"
        )
    return text


def parse_image_env(text: str, where: str) -> str:
    """The image reference in the text of `image.env` (systemd.exec(5), EnvironmentFile=).

    Upstream writes the file in place, so it can be incomplete: then it is refused with
    `ConfigurationError`.
    """
    hint = "Write one complete line to this file: NTO_IMAGE=<image reference>"
    if not text.strip():
        raise ConfigurationError(f"{where}: the file is empty, expected NTO_IMAGE=…", hint)
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ConfigurationError(
            f"{where}: line {line}: found a NUL byte, expected text; the file is incomplete", hint
        )
    if not text.endswith("\n"):
        raise ConfigurationError(
            f"{where}: line {text.count(chr(10)) + 1}: found no newline at the end, "
            "expected a complete line; the file is incomplete", hint
        )  # fmt: skip
    variables = envfile.parse(text, where)
    if "NTO_IMAGE" not in variables:
        found = ", ".join(sorted(variables)) or "no variable"
        raise ConfigurationError(f"{where}: found {found}, expected NTO_IMAGE=…", hint)
    return parse_image_reference(variables["NTO_IMAGE"], f"{where}: NTO_IMAGE")


def is_profile_name(text: str) -> bool:
    """Whether a profile can have this name."""
    return bool(_PROFILE_NAME.match(text)) and text not in _RESERVED


def parse_profile_name(text: str, where: str) -> str:
    """Checks a profile name. `where` begins the error message. Raises `ConfigurationError`."""
    if not is_profile_name(text):
        raise ConfigurationError(
            f"{where}: found {text!r}, expected a profile name "
            "(letters, digits, '_', '.', '-'; not a path, not a name reserved by TuneD)"
        )
    return text


def parse_provider(text: str, where: str) -> str:
    """Checks the name of a cloud provider: a profile has it in the name of another profile that it
    includes. `where` begins the error message. Raises `ConfigurationError`."""
    if not _PROFILE_NAME.match(text):
        raise ConfigurationError(
            f"{where}: found {text!r}, expected the name of a cloud provider, such as 'aws' "
            "(letters, digits, '_', '.', '-')"
        )
    return text


def parse_recommend(text: str, where: str) -> str:
    """The profile that a recommend file names: one section header without conditions.

    An empty file is an error: TuneD would choose a stock profile and report success. Raises
    `ConfigurationError`.
    """
    lines = [
        (number, line.strip())
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and line.strip()[0] not in "#;"
    ]
    if not lines:
        raise ConfigurationError(f"{where}: the file is empty, expected a line '[<profile>]'")
    number, header = lines[0]
    if not (header.startswith("[") and header.endswith("]")):
        raise ConfigurationError(f"{where}: line {number}: found {header!r}, "
                                 "expected '[<profile>]'")  # fmt: skip
    if len(lines) > 1:
        number, line = lines[1]
        raise ConfigurationError(
            f"{where}: line {number}: found {line!r}, expected nothing after {header!r}: "
            "the file must name one profile, without conditions"
        )
    return parse_profile_name(header[1:-1], f"{where}: line {number}")


def whole(paths: Paths) -> Paths:
    """The paths by which to read the agent's files.

    An agent that replaces several of them first writes all of them to a folder of their own, which
    gets its name when it is complete (`Paths.agent_next`), and is removed afterwards. While it
    exists, its content counts: so what is read is one state or the other, wherever the agent was
    killed.
    """
    try:
        complete = stat.S_ISDIR(paths.agent_next.lstat().st_mode)
    except OSError:
        return paths
    if not complete:
        return paths
    return replace(paths, agent_folder=str(paths.agent_next.relative_to(paths.root)))


def with_profiles(paths: Paths) -> Paths:
    """As `whole`; the profiles are those of the operating system if no agent, or whoever writes in
    its place, has requested anything on this node.

    Its files alone decide that, which a pod sees as well: it does not see the operating system's.
    """
    paths = whole(paths)
    if any(map(os.path.lexists, (paths.image_env, paths.recommend))):
        return paths
    ours = paths.system_profiles
    if not _is_empty(paths.profiles) or not ours.is_dir():
        return paths
    return replace(paths, profiles_folder=str(ours.relative_to(paths.root)))


def _is_empty(folder: Path) -> bool:
    """Whether there is nothing in it. What cannot be found out is an error when it is read."""
    try:
        if folder.is_symlink():
            return False
        with os.scandir(folder) as found:
            return next(found, None) is None
    except FileNotFoundError:
        return True
    except OSError:
        return False


def tree(profiles: Path, root: Path) -> files.Tree:
    """The folder of the custom profiles, within the limits above."""
    return files.Tree(profiles, root, DEPTH_LIMIT, ENTRIES_LIMIT)


def read(
    paths: Paths, contract: str, image: str = "", profile: str = "", fallback: str = "none"
) -> Inputs:
    """Reads what is requested on this host. `image` and `profile`, from `boot.conf`, are used if
    there is no `image.env` or no recommend file.

    Instead of an `image.env` that is not valid, or cannot be read, the last image that worked is
    used, which is a finding in `doubts`; with `fallback = last-good` the last profile that was
    applied in the same way. Raises `ConfigurationError` and `HostError`, which name the file.
    """
    paths = with_profiles(paths)
    reference, image_named_in, doubts = _image(paths, image)
    inputs = Inputs(
        reference, "", contract, boot_id(paths), doubts=doubts, image_named_in=image_named_in
    )
    try:
        _not_linked(paths.profiles)
        name, named_in = _profile(paths, profile)
        files = tuple(profile_files(paths.profiles, paths.root))
        return replace(
            inputs, profile=name, named_in=named_in, provider=_provider(paths), files=files
        )
    except NotRequested:
        raise
    except (ConfigurationError, HostError) as error:
        instead = last_applied(paths, inputs, error.message) if fallback == "last-good" else None
        if instead is None:
            raise
        return instead


def last_applied(paths: Paths, requested: Inputs, why: str, advice: str = "") -> Inputs | None:
    """The last profile that was applied, with its files, instead of the requested one, which cannot
    be used: `why`, and what to do about it. None where no profile was ever applied."""
    from ocp_tuned_boot.requested import lastgood  # noqa: PLC0415  # rarely needed

    last = lastgood.profile(paths)
    if last is None:
        return None
    words = f"{why}; the last profile that was applied is used instead: {last.profile}"
    finding = make("profile-fallback", requested.profile, words)
    # The unit is active: what is fixed is applied by a reload.
    advice = advice.replace(START, RELOAD)
    return replace(
        requested,
        profile=last.profile,
        provider=last.provider,
        files=last.files,
        fallback=(replace(finding, advice=advice) if advice else finding,),
        instead_of=requested.fingerprint if requested.profile else "",
    )


def following(paths: Paths, requested: Inputs, on_change: str, reapply_sysctl: str) -> Inputs:
    """With what the agent says about changes and about the host's sysctl.d, where boot.conf (its
    keys of these names) says `agent`.

    A file of the agent that is not valid is a finding in `doubts`, and counts as missing.
    """
    paths = whole(paths)
    word, reapply, doubts = "", reapply_sysctl, requested.doubts
    if on_change == "agent":
        word, found = _word(paths, paths.agent_on_change, ON_CHANGE)
        doubts += found
    if reapply_sysctl == "agent":
        reapply, found = _word(paths, paths.agent_reapply_sysctl, ("true", "false"))
        doubts += found
    again = reapply not in ("no", "false")
    return replace(requested, on_change=word, reapply_sysctl=again, doubts=doubts)


def _word(paths: Paths, path: Path, words: Sequence[str]) -> tuple[str, tuple[Finding, ...]]:
    """The word in a file of the agent; empty if there is no such file."""
    expected = f"expected one of the words {', '.join(words)}"
    try:
        word = _text(path, paths).strip()
    except FileNotFoundError:
        return "", ()
    except (ConfigurationError, HostError) as error:
        return "", (make("agent-word", str(path), f"{error.message}; {expected}"),)
    if word in words:
        return word, ()
    wrong = f"{path}: found {word!r}, {expected}; the file is ignored"
    return "", (make("agent-word", str(path), wrong),)


def read_image(paths: Paths, image: str = "") -> str:
    """The requested image alone, found as `read` finds it. Raises `ConfigurationError`,
    `HostError`."""
    return _image(whole(paths), image)[0]


def read_named(paths: Paths, profile: str = "") -> tuple[str, str]:
    """The requested profile alone, and where it is named, found as `read` finds them. Raises
    `ConfigurationError`, `HostError`."""
    return _profile(whole(paths), profile)


def read_files(paths: Paths) -> tuple[ProfileFile, ...]:
    """The files of all custom profiles, as `read` reads them. Raises `ConfigurationError`,
    `HostError`."""
    folder = with_profiles(paths).profiles
    _not_linked(folder)
    return tuple(profile_files(folder, paths.root))


def read_profile(paths: Paths) -> str:
    """The profile that the recommend file names; empty if it names none."""
    try:
        return _profile(whole(paths), "")[0]
    except (ConfigurationError, HostError):
        return ""


def _not_linked(path: Path) -> None:
    """Refuses a symbolic link: a pod writes here, so a link could lead anywhere."""
    if path.is_symlink():
        raise HostError(
            f"cannot read {path}: it is a symbolic link", "Replace it with a directory."
        )


def boot_id(paths: Paths) -> str:
    """The kernel's ID of this boot (random(4)), and which run of user space this is. Two boots, and
    two runs of user space, never share one. Raises `HostError`."""
    with files.explained("read", paths.boot_id):
        kernel = _decoded(paths.boot_id, files.read(paths.boot_id)).strip()
    return userspace.named(kernel, paths)


def kernel_arguments(paths: Paths) -> tuple[str, ...]:
    """The arguments of the running kernel (kernel-command-line(7)). Raises `HostError`."""
    try:
        return kernelargs.split(_decoded(paths.kernel_cmdline, files.read(paths.kernel_cmdline)))
    except FileNotFoundError:
        return ()


def _text(path: Path, paths: Paths) -> str:
    """The text of a file that the agent writes."""
    return _decoded(path, files.read_below(path, paths.root, TEXT_LIMIT))


def _decoded(path: Path, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigurationError(
            f"{path}: line {line}: found a byte that is not UTF-8, expected text"
        ) from error


def _image(paths: Paths, default: str) -> tuple[str, str, tuple[Finding, ...]]:
    """The image, where it is named, and what is doubtful about that."""
    where = str(paths.image_env)
    try:
        return parse_image_env(_text(paths.image_env, paths), where), where, ()
    except FileNotFoundError:
        if default:
            return default, BOOT_CONF, ()
        raise NotRequested(
            f"{paths.image_env}: there is no such file, and boot.conf has no [tuning] image",
            "Write NTO_IMAGE=<image reference> to this file, or set image in boot.conf.",
        ) from None
    except (ConfigurationError, HostError) as error:
        from ocp_tuned_boot.requested import lastgood  # noqa: PLC0415  # rarely needed

        worked = lastgood.read(paths)
        if not worked:
            raise
        words = f"{error.message}; the last image that worked is used instead: {worked.image}"
        return worked.image, str(paths.last_good), (make("torn-image-env", where, words),)


def _profile(paths: Paths, default: str) -> tuple[str, str]:
    """The name of the profile, and where it is named."""
    where = str(paths.recommend)
    try:
        return parse_recommend(_text(paths.recommend, paths), where), where
    except FileNotFoundError:
        if default:
            return default, BOOT_CONF
        raise NotRequested(
            f"{paths.recommend}: there is no such file, and boot.conf has no [tuning] profile",
            "Write [<profile>] to this file, or set profile in boot.conf.",
        ) from None


def _provider(paths: Paths) -> str:
    try:
        return _text(paths.provider, paths).strip()
    except FileNotFoundError:
        return ""


def profile_files(profiles: Path, root: Path) -> Iterator[ProfileFile]:
    """Every file of every custom profile in a folder below `root`, in a stable order. There may be
    none: the requested profile may be one of the image's own.

    Raises `ConfigurationError`, `HostError`."""
    budget, names = PROFILES_LIMIT, NAMES_LIMIT
    for entry in tree(profiles, root):
        path, name = entry.path, entry.path.relative_to(profiles)
        if entry.is_folder:
            continue
        if len(name.parts) == 1:
            _not_linked(path)
            continue  # a file beside the profiles' folders
        _check_name(path, name)
        with files.explained("read", path):
            mode = stat.S_IMODE(entry.stat().st_mode) & 0o777
            data = entry.read()
        budget -= len(data)
        names -= len(str(name).encode())
        if budget < 0:
            raise HostError(f"{profiles}: the profiles are larger than {PROFILES_LIMIT} bytes")
        if names < 0:
            raise HostError(
                f"{profiles}: the names of the files are longer than {NAMES_LIMIT} bytes together"
            )
        if name.name == "tuned.conf":
            _check_utf8(path, data)
        yield ProfileFile(str(name), data, mode)


def _check_name(path: Path, name: Path) -> None:
    """Checks the name of a file in a profile. `name`: its path below the profiles."""
    if name.parts[0] in _RESERVED:
        raise ConfigurationError(
            f"{path}: found a profile named {name.parts[0]!r}; TuneD or ocp-tuned-boot uses this "
            "name for another file", "Give the profile another name."
        )  # fmt: skip
    try:
        str(name).encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"{path}: found a file name that is not UTF-8, expected text"
        ) from error


def _check_utf8(path: Path, data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigurationError(
            f"{path}: line {line}: found the byte 0x{data[error.start]:02x}, expected UTF-8"
        ) from error
