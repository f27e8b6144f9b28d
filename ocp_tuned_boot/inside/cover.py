"""In the container, before TuneD sets anything: covers files of the host by copies.

    enter PROGRAM [ARGUMENT…]

Each file below `files`, beside this program, is mounted over the file of the same path. The mounts
are in the container's mount namespace only: what TuneD, its plugins and the scripts of a profile
write goes to the copies, and the host's files keep their values.

Where TuneD is asked what the profile means, program.py does this before it runs TuneD. Otherwise
this is the container's first program, which then becomes TuneD.

Run by the image's own Python, 3.6 and later, with nothing but its standard library, which has no
mount(2).
"""

import os
import sys
import time

#: Where the container has the folder with the copies (settings/handover.py).
FOLDER = "/run/ocp-tuned-boot/guard"
#: The line that is written instead of TuneD's log if a file cannot be covered, in TuneD's format.
LOGGER = "ocp-tuned-boot.guard"
_KERNEL = ("/proc/", "/sys/")
# linux/mount.h
RDONLY, REMOUNT, BIND, _REC = 1, 32, 4096, 16384


def mount(source: "str", target: "str", flags: "int") -> "None":
    """mount(2). Raises `OSError`."""
    import ctypes  # noqa: PLC0415  # slow to import, and only a guarded run needs it

    libc = ctypes.CDLL(None, use_errno=True)
    arguments = os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None
    if libc.mount(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def _fail(error: "OSError") -> "None":
    raise error


def cover(files: "str") -> "None":
    """Mounts each file below `files` over the file of the same path. Raises `OSError`."""
    for folder, _, names in os.walk(files, onerror=_fail):
        target = folder[len(files) :]
        try:
            # The owner of an ordinary file may replace it meanwhile, which removes a mount on it.
            # Then nothing may be written there, rather than over the owner's file.
            if names and not target.startswith(_KERNEL):
                mount(target, target, BIND | _REC)
                mount(target, target, REMOUNT | BIND | RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in names:
            try:
                mount(f"{folder}/{name}", f"{target}/{name}", BIND)
            except (FileNotFoundError, NotADirectoryError):
                # A network interface, for example, which has been removed since.
                continue


def covered(files: "str") -> "frozenset[str]":
    """The files that are covered, as the kernel names them."""
    return frozenset(
        os.path.realpath(f"{folder[len(files) :]}/{name}")
        for folder, _, names in os.walk(files)
        for name in names
    )


def cover_or_exit(files: "str") -> "None":
    """Covers the files. If one cannot be covered, writes a line to the log and exits: TuneD must
    not run."""
    try:
        cover(files)
    except OSError as error:
        at = time.strftime("%Y-%m-%d %H:%M:%S")
        words = f"cannot protect {error.filename}: {error.strerror}"
        sys.exit(f"{at},000 ERROR    {LOGGER}: {words}")


def main(here: "str", program: "list[str]") -> "None":
    """Covers the files and becomes the program."""
    cover_or_exit(f"{here}/files")
    os.execv(program[0], program)  # noqa: S606  # the point of it


if __name__ == "__main__":
    main(os.path.dirname(os.path.abspath(__file__)), sys.argv[1:])
