"""packaging/gate.sh: it reads boot.conf without the program, and as the program does."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ocp_tuned_boot.errors import HostError
from ocp_tuned_boot.host.files import LIMIT
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.requested import config

SCRIPT = Path(__file__).resolve().parents[2] / "packaging/gate.sh"
ETC = "etc/ocp-tuned-boot"
FILES = (
    "usr/lib/ocp-tuned-boot/boot.conf", f"{ETC}/boot.conf", f"{ETC}/boot.conf.d/10-a.conf",
    f"{ETC}/boot.conf.d/9.conf", f"{ETC}/boot.conf.d/B.conf", f"{ETC}/boot.conf.d/a.conf",
    f"{ETC}/boot.conf.d/ä b.conf", f"{ETC}/boot.conf.d/.hidden.conf", f"{ETC}/boot.conf.d/c.txt",
)  # fmt: skip

WHOLE = st.sampled_from(
    [
        "[tuning]", "[image]", "[tuning", "", "# gate = open", "timeout = 20", "timeout = soon",
        "image = localhost/a", "gate", "gate == closed", "gate: closed", "gate = ajar",
    ]
)  # fmt: skip
BLANK = st.sampled_from(
    ["", " ", "\t", " \t ", "\v", "\f", "\x1c", "\x85", "\u00a0", "\u2028", "\ufeff", "\0", "\\",
     ";"]
)  # fmt: skip
QUOTE = st.sampled_from(["", "'", '"', "'''", "# "])
WORD = st.sampled_from(["open", "closed", "Closed", "ajar", ""])
AFTER = st.sampled_from(["", "'", '"', " ", "-", "_", "x", "é", "\udcff", " # why", "\0", "="])
GATE = st.builds(
    lambda a, q, b, c, r, word, z: f"{a}{q}gate{q}{b}={c}{r}{word}{z}",
    BLANK, QUOTE, BLANK, BLANK, QUOTE, WORD, AFTER,
)  # fmt: skip
# Most of these texts are valid but for one thing.
ONE = st.sampled_from(["gate = closed", "gate = open", "'gate'='closed'", "image = '''", "'''"])
ALMOST = st.builds(lambda a, line, b: f"{a}{line}{b}", BLANK, ONE, BLANK)
END = st.sampled_from(["\n", "\n", "\n", "\r\n", "\r", "", "\f", "\v", "\x1e", "\x85", "\u2029"])
LINE = st.tuples(WHOLE | GATE | ALMOST, END).map("".join)
TEXT = st.tuples(st.sampled_from(["", "[tuning]\n"]), st.lists(LINE, max_size=4).map("".join)).map(
    "".join
)


def compared(root: Path) -> str:
    said = subprocess.run([SCRIPT, "word", root], check=True, stdout=subprocess.PIPE, text=True)
    assert config.gate(Paths(root)) == said.stdout.rstrip("\n")
    return said.stdout.rstrip("\n")


@given(st.dictionaries(st.sampled_from(FILES), TEXT, max_size=4))
@example({f"{ETC}/boot.conf": "[tuning]\ngate = closed"})
@example({f"{ETC}/boot.conf": "[tuning]\n'gate' = 'closed'\n"})
@example({f"{ETC}/boot.conf": "[tuning]\rgate = closed\r"})
@example({FILES[2]: "gate = closed\n", FILES[3]: "gate = open\n"})
# A blank that was copied from a web page.
@example({FILES[1]: "[tuning]\ngate\u00a0=\u00a0closed\n"})
@example({FILES[1]: "[tuning]\n\fgate = closed\n"})
@example({FILES[1]: "[tuning]\n# why\u2028gate = closed\n"})
@example({FILES[1]: "[tuning]\naccept = '''no-such-setting:a\ngate = closed'''\n"})
def test_the_gate_is_read_as_the_program_reads_it(files: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, name).write_bytes(text.encode(errors="surrogateescape"))
        compared(Path(folder))


@pytest.mark.parametrize("kind", ["folder", "fifo", "nowhere", "link", "masked"])
def test_what_is_no_file_is_passed_over_and_links_are_followed(tmp_path: Path, kind: str) -> None:
    drop_in = tmp_path / ETC / "boot.conf.d/x.conf"
    drop_in.parent.mkdir(parents=True)
    (tmp_path / ETC / "boot.conf").write_text("[tuning]\ngate = closed\n")
    (tmp_path / "open").write_text("[tuning]\ngate = open\n")
    if kind == "folder":
        drop_in.mkdir()
    elif kind == "fifo":
        subprocess.run(["mkfifo", drop_in], check=True)
    else:
        targets = {"nowhere": "nowhere", "link": "open", "masked": "/dev/null"}
        drop_in.symlink_to(tmp_path / targets[kind])
    assert compared(tmp_path) == ("open" if kind == "link" else "closed")


def test_a_name_of_a_drop_in_counts_by_its_bytes(tmp_path: Path) -> None:
    for name, word in (("a", "open"), ("B", "closed"), ("10", "closed"), ("9", "closed")):
        path = tmp_path / f"{ETC}/boot.conf.d/{name}.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"[tuning]\ngate = {word}\n")
    assert compared(tmp_path) == "open"


def test_what_is_beyond_the_limit_of_a_file_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / ETC / "boot.conf"
    path.parent.mkdir(parents=True)
    line = "gate = closed\n"
    for filler, word in ((LIMIT - len(line), "closed"), (LIMIT - 5, "open")):
        path.write_text("#" * (filler - 1) + f"\n{line}")
        assert compared(tmp_path) == word
    # A file that the program refuses for its size has closed the gate all the same.
    path.write_text(f"[tuning]\n{line}" + "#" * LIMIT + "\ngate = open\n")
    with pytest.raises(HostError, match="larger than"):
        config.load(Paths(tmp_path))
    assert compared(tmp_path) == "closed"


def test_the_file_of_an_option_is_read_instead_of_all_others(tmp_path: Path) -> None:
    path = tmp_path / ETC / "boot.conf"
    path.parent.mkdir(parents=True)
    path.write_text("[tuning]\ngate = open\n")
    given = tmp_path / "given.conf"
    for text in ("[tuning]\ngate = closed\n", "gate = closed", "[tuning]\n", None):
        given.unlink(missing_ok=True)
        if text is not None:
            given.write_text(text)
        said = subprocess.run(
            [SCRIPT, "word", tmp_path, given], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        assert said == config.gate(Paths(tmp_path), given) + "\n"
        assert ("closed" in said) == (text is not None and "closed" in text)


SHOWN = "{{ path=/usr/bin/x ; argv[]=/usr/bin/x {} ; ignore_errors=no ; start_time=[n/a] ; pid=0 }}"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("apply", "open"),
        ("apply --config {}/a b.conf", "closed"),
        ("apply --config={}/a b.conf", "closed"),
        ("apply --config /nowhere --config {}/a b.conf", "closed"),
        ("apply --config /nowhere", "open"),
    ],
)
def test_the_option_is_the_one_of_the_unit(tmp_path: Path, arguments: str, word: str) -> None:
    """The output of systemctl is that of systemd 252 and 257; tests/lab/test_gate_holds.py asks a
    real one."""
    (tmp_path / "a b.conf").write_text("[tuning]\ngate = closed\n")
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\necho '{SHOWN.format(arguments.format(tmp_path))}'\n")
    systemctl.chmod(0o755)
    script = SCRIPT.read_text().replace("    pause) pause ;;", "    told) told ;;")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    said = subprocess.run(
        ["sh", "-c", script, "gate", "told"], env=environment, check=True, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert said.stdout == f"{word}\n"
