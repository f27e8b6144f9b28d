"""While TuneD only reads or creates its plugins, it writes nothing."""

import os
import threading
from typing import Any

from tuned.utils.commands import commands

from ocp_tuned_boot.inside.quiet import Replaced

#: Methods of TuneD's `commands` that change a file.
_CHANGING = ("rename", "unlink", "copy", "rmtree")


class Harmless(Replaced):
    """While TuneD compares in this thread, it writes nothing. `refused`: the files to be written.

    A few plugins write while they read (boost of cpu) or when they are created (systemd).
    """

    def __init__(self) -> "None":
        super().__init__()
        self.refused = []  # type: list[str]
        self._thread = threading.get_ident()

    def start(self) -> "None":
        self.replace(commands, "write_to_file", self._write_to_file)
        for name in _CHANGING:
            self.replace(commands, name, self._change)

    def _write_to_file(self, real: "Any") -> "Any":
        def write_to_file(
            self_: "Any", file: "str", data: "Any", *rest: "Any", **options: "Any"
        ) -> "Any":
            if threading.get_ident() != self._thread:
                return real(self_, file, data, *rest, **options)
            same = bool(self_.read_file(file, no_error=True).strip() == str(data).strip())
            if not same:
                self.refused.append(file)
            return same

        return write_to_file

    def _change(self, real: "Any") -> "Any":
        def change(self_: "Any", file: "str", *rest: "Any", **options: "Any") -> "Any":
            if threading.get_ident() != self._thread:
                return real(self_, file, *rest, **options)
            if os.path.exists(file):
                self.refused.append(file)
            return False

        return change
