"""A section of a kickstart file. That Anaconda's parser finds it, and that it does what it should,
is tested in tests/lab/test_kickstart.py."""

from __future__ import annotations

import base64
import re
import shlex

from hypothesis import given
from hypothesis import strategies as st

from ocp_tuned_boot.commands.render import kickstart
from ocp_tuned_boot.commands.render.content import Content, placed
from ocp_tuned_boot.tuned.profilefile import ProfileFile


@given(st.binary())
def test_nothing_in_it_can_be_taken_for_the_end(data: bytes) -> None:
    given_files = Content("a", "b", files=(ProfileFile("site/%end it's", data),))
    text = kickstart.text(given_files).decode()
    assert text.isascii()
    marks = [line for line in text.splitlines() if line.strip().startswith("%")]
    assert marks == ["%post --erroronfail", "%end"]
    found = {
        shlex.split(path)[0]: base64.b64decode(lines)
        for path, lines in re.findall(r"(?m)^base64 -d > (.+) << 'EOF'\n((?:.+\n)*?)EOF$", text)
    }
    assert found == {file.path: file.data for file in placed(given_files)}
