"""packaging/gate.sh: it reads boot.conf without the program, and as the program does."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

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
BLANK = st.sampled_from(["", " ", "\t", " \t ", "\v", "\u00a0", "\0", "\\"])
QUOTE = st.sampled_from(["", "'", '"', "'''", "# "])
WORD = st.sampled_from(["open", "closed", "Closed", "ajar", ""])
AFTER = st.sampled_from(["", "'", '"', " ", "-", "_", "x", "é", "\udcff", " # why", "\0", "="])
GATE = st.builds(
    lambda a, q, b, c, r, word, z: f"{a}{q}gate{q}{b}={c}{r}{word}{z}",
    BLANK, QUOTE, BLANK, BLANK, QUOTE, WORD, AFTER,
)  # fmt: skip
LINE = st.tuples(WHOLE | GATE, st.sampled_from(["\n", "\r\n", "\r", ""])).map("".join)
TEXT = st.lists(LINE, max_size=5).map("".join)


def compared(root: Path) -> str:
    said = subprocess.run([SCRIPT, "word", root], check=True, stdout=subprocess.PIPE, text=True)
    assert config.gate(Paths(root)) == said.stdout.rstrip("\n")
    return said.stdout.rstrip("\n")


@given(st.dictionaries(st.sampled_from(FILES), TEXT, max_size=4))
@example({f"{ETC}/boot.conf": "[tuning]\ngate = closed"})
@example({f"{ETC}/boot.conf": "[tuning]\n'gate' = 'closed'\n"})
@example({f"{ETC}/boot.conf": "[tuning]\rgate = closed\r"})
@example({FILES[2]: "gate = closed\n", FILES[3]: "gate = open\n"})
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
