"""The manuals and the completions, read by the programs that users read them with: man, mandoc, zsh
and fish. bash completes in tests/unit/test_packaging.py."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ocp_tuned_boot.commands import table
from tests.lab import debian, product
from tests.lab.test_boot import SUITES

pytestmark = pytest.mark.lab

PACKAGES = ("fish", "make", "man-db", "mandoc", "python3-docutils", "zsh")

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: With a terminal, which zsh edits its line on.
ENTER = (
    'mount --bind "$0" "$1/mnt" && mount -t proc proc "$1/proc" && '
    'mount -t devpts devpts "$1/dev/pts" && '
    'exec chroot "$1" sh -c \'cd /mnt && exec "$@"\' sh "${@:2}"'
)

# Completes each line of $LINES, and says what zsh was given to choose from.
ZSHRC = """\
fpath=(/mnt $fpath)
autoload -Uz compinit
compinit -D -u
compadd() {
    local -a found
    # Otherwise it only fills arrays.
    if (( ! ${argv[(I)-[OAD]]} )); then
        builtin compadd -O found "$@"
        print -lr -- $found >> found
    fi
    builtin compadd "$@"
}
complete_all() {
    local line
    for line in "${(@f)$(<lines)}"; do
        print -r -- "== $line" >> found
        BUFFER=$line CURSOR=$#line
        zle one
    done
    exit 0
}
zle -C one complete-word _main_complete
zle -N zle-line-init complete_all
"""

FISH = """\
source /mnt/ocp-tuned-boot.fish
for line in (cat lines)
    echo "== $line" >> found
    complete -C $line | string split -f1 \\t >> found
end
"""


@pytest.fixture(scope="module", params=SUITES)
def root(request: pytest.FixtureRequest) -> Path:
    """A root filesystem that has these programs. Never write to it."""
    recipe = debian.Recipe(request.param, "minbase", PACKAGES)
    return debian.cached(f"readers-{request.param}", recipe)


def run(root: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """In a folder of this machine, which is /mnt there."""
    return subprocess.run(
        [*debian.ALONE, "bash", "-c", ENTER, folder, root,
         # Not MAKEFLAGS of `make test`: another release of make cannot join its job server.
         "env", "--ignore-environment", f"PATH={PATH}", "HOME=/root",
         "LANG=C.UTF-8", "MANWIDTH=80", "TERM=dumb", *words],
        check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture
def manuals(root: Path, tmp_path: Path) -> Path:
    """As they are installed."""
    product.copy_tree(tmp_path, "man", "Makefile", "pyproject.toml", "ocp_tuned_boot/__init__.py")
    done = run(root, tmp_path, "make", "man")
    assert done.returncode == 0, done.stderr
    return tmp_path / "build/man"


def test_man_shows_each_manual_on_a_serial_console(root: Path, manuals: Path) -> None:
    pages = sorted(manuals.iterdir())
    assert len(pages) == 4
    for page in pages:
        done = run(root, manuals, "man", "--local-file", page.name)
        assert done.returncode == 0, done.stderr
        assert "\N{HYPHEN}" not in done.stdout
        source = (product.TREE / f"man/{page.name}.rst").read_text()
        # What is to be typed or is in a file is not wrapped.
        literal = {line.strip() for line in re.findall(r"(?m)^ {4,}(.+)$", source)}
        for line in done.stdout.splitlines():
            assert len(line) <= 80 or line.strip() in literal, line
        titles = re.findall(r"(?m)^(\S.+)\n(?:=+|-+)$", source)
        assert len(titles) > 5
        shown = {line.strip() for line in done.stdout.splitlines()}
        # The first two are its name and what it is for.
        assert [title for title in titles[2:] if title not in shown] == []


def test_mandoc_finds_no_error(root: Path, manuals: Path) -> None:
    for page in manuals.iterdir():
        done = run(root, manuals, "mandoc", "-T", "lint", "-W", "error", page.name)
        assert (done.returncode, done.stdout) == (0, "")


def expected() -> dict[str, set[str]]:
    """What may stand at the end of a line. The folder has the file boot.conf and the folder sub."""
    lines = {
        "": {row.name.split()[0] for row in table.COMMANDS},
        "--": {option.name for option in table.OPTIONS} | {"--help"},
        "--root s": {"sub"},
        "--root sub st": {"status"},
        "status --config b": {"boot.conf"},
        "render butane --boot-conf b": {"boot.conf"},
        "render butane --variant ": {"fcos", "openshift"},
        "render butane --role ": set(),
        "image stage ": set(),
        "image export b": {"boot.conf"},
        "image export boot.conf --c": {"--config"},
    }
    for group in table.GROUPS:
        rows = (row for row in table.COMMANDS if row.name.startswith(f"{group} "))
        lines[f"{group} "] = {row.name.split()[1] for row in rows}
    for row in table.COMMANDS:
        options = {option.name for option in row.options if not option.is_argument}
        lines[f"{row.name} --"] = options | {"--help"}
    return lines


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_shell_completes_every_command_and_its_options(
    root: Path, tmp_path: Path, shell: str
) -> None:
    wanted = expected()
    for path in (product.TREE / "packaging/completions").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "boot.conf").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "lines").write_text("".join(f"ocp-tuned-boot {line}\n" for line in wanted))
    if shell == "zsh":
        (tmp_path / ".zshrc").write_text(ZSHRC)
        command = ["ZDOTDIR=/mnt", "script", "-qec", "zsh -d -i", "/dev/null"]
    else:
        command = ["fish", "--no-config", "--command", FISH]
    done = run(root, tmp_path, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = re.split(r"(?m)^== ocp-tuned-boot (.*)\n", (tmp_path / "found").read_text())
    found = {
        line: {word.rstrip("/") for word in words.split()}
        for line, words in zip(parts[1::2], parts[2::2])
    }
    assert found == wanted
