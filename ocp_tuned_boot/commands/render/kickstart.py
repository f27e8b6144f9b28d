"""A section %post for a kickstart file (Anaconda).

Anaconda runs it with /bin/sh in the installed system, and sets the SELinux contexts of /etc and
/var/lib afterwards. Everything is in base64: a line of a file that begins with a percent sign would
have a meaning for pykickstart.
"""

from __future__ import annotations

import base64
import shlex

from ocp_tuned_boot.commands.render.content import UNITS, Content, NodeFile, folders, placed

_HEAD = """\
# Day 0 of ocp-tuned-boot, see ocp-tuned-boot(8). The package must be installed, too (%packages).
%post --erroronfail
set -eu
umask 022
"""


def text(content: Content) -> bytes:
    """The section."""
    found = placed(content)
    steps = [
        f"mkdir -p {shlex.join(folders(found))}\n",
        *(_written(each) for each in found),
        f"systemctl enable {shlex.join(UNITS)}\n",
    ]
    return "".join([_HEAD, *steps, "%end\n"]).encode()


def _written(file: NodeFile) -> str:
    path = shlex.quote(file.path)
    lines = base64.encodebytes(file.data).decode()
    return f"base64 -d > {path} << 'EOF'\n{lines}EOF\nchmod {file.mode:04o} {path}\n"
