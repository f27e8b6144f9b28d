"""The command in each format: what it writes, and what it says of a mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ocp_tuned_boot.commands import table
from ocp_tuned_boot.commands.render import forms
from tests.unit.commands.render.made import FORMS, IMAGE, content


@pytest.mark.parametrize("form", FORMS)
def test_the_same_content_gives_the_same_bytes(profiles: Path, tmp_path: Path, form: str) -> None:
    first = forms.text(content(profiles, provider="aws"), form)
    again = tmp_path / "again"
    # Made in another order, at another time, under another umask.
    for path in sorted(profiles.rglob("*"), reverse=True):
        copy = again / path.relative_to(profiles)
        if path.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            copy.chmod(0o700 if path.stat().st_mode & 0o100 else 0o600)
            os.utime(copy, (1, 1))
    assert forms.text(content(again, provider="aws"), form) == first
    assert first.endswith(b"\n")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ocp_tuned_boot", "render", *map(str, arguments)]
    # A program that is run by cron has no locale to speak of.
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}
    return subprocess.run(command, env=env, check=False, capture_output=True, encoding="utf-8")


@pytest.mark.parametrize(
    ("form", "options"),
    [("ignition", []), ("machineconfig", ["--role", "cnf"]), ("butane", []),
     ("butane", ["--variant", "openshift", "--name", "50-x"])],
)  # fmt: skip
def test_the_command(profiles: Path, tmp_path: Path, form: str, options: list[str]) -> None:
    (profiles / "site/tuned.conf").write_text("[main]\nsummary=größer\ninclude=balanced\n")
    asked = [form, "--profiles", profiles, "--profile", "site", "--image", IMAGE, *options]
    done = run(*asked)
    assert done.returncode == 0
    # What is printed is the document alone.
    assert json.loads(done.stdout)
    assert done.stderr == (
        "'balanced' is not one of the given profiles: the image must contain it\n"
    )
    file = tmp_path / "out.json"
    written = run(*asked, "--output", file)
    assert (written.returncode, written.stdout) == (0, "")
    assert file.read_text(encoding="utf-8") == done.stdout


def test_an_error_leaves_what_was_there(profiles: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    file.write_text("before")
    done = run("ignition", "--profiles", profiles, "--profile", "site", "--output", file)
    assert done.returncode == os.EX_CONFIG
    assert done.stderr.startswith("ocp-tuned-boot: no image was given\n")
    assert file.read_text() == "before"


#: Every command, with what selects a variant of one.
COMMANDS = (
    "ignition", "machineconfig", "butane", "butane --variant openshift", "cloud-init", "kickstart",
    "containerfile",
)  # fmt: skip
GOOD = {"--profiles": "profiles", "--profile": "site", "--image": IMAGE}
#: What is given besides or instead, the exit status, and the beginning of the message.
MISTAKES: list[tuple[dict[str, str | None], int, str]] = [
    ({"--profile": ""}, os.EX_USAGE, "argument --profile: found ''"),
    ({"--profile": "../site"}, os.EX_USAGE, "argument --profile: found '../site'"),
    ({"--image": "Not An Image"}, os.EX_USAGE, "argument --image: found 'Not An Image'"),
    ({"--provider": "a b"}, os.EX_USAGE, "argument --provider: found 'a b'"),
    ({"--typo": "x"}, os.EX_USAGE, "unrecognized arguments: --typo x"),
    ({"--image": None}, os.EX_CONFIG, "no image was given"),
    ({"--profile": None}, os.EX_CONFIG, "no profile was given"),
    ({"--profiles": "none"}, os.EX_CONFIG, "none: there is no such directory"),
    ({"--profiles": "good.conf"}, os.EX_CONFIG, "good.conf: there is no such directory"),
    ({"--profiles": "profiles/site"}, os.EX_CONFIG, "profiles/site: found a tuned.conf"),
    ({"--profiles": "bare"}, os.EX_CONFIG, "bare/site: no tuned.conf found"),
    ({"--profiles": "linked"}, 1, "cannot read linked/site/x: it is a symbolic link"),
    ({"--boot-conf": "none.conf"}, os.EX_CONFIG, "none.conf: there is no such file"),
    ({"--boot-conf": "wrong.conf"}, os.EX_CONFIG, "wrong.conf: line 2: [tuning]: found the key"),
    ({"--boot-conf": "profiles"}, 1, "profiles: Is a directory"),
    ({"--output": "none/file"}, 1, "cannot write none/file: "),
    ({"--output": "profiles"}, 1, "cannot write profiles: "),
]  # fmt: skip


# Many command lines in one process: what each gave, as exit status, output and errors.
_ALL = """
import contextlib, io, json, sys
from ocp_tuned_boot import cli
done = []
for line in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = cli.main(line)
        except SystemExit as error:
            status = error.code
    done.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(done))
"""


@pytest.fixture
def folder(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with what the mistakes are made of."""
    top = profiles.parent
    monkeypatch.chdir(top)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    (top / "good.conf").write_text("[tuning]\ngate = closed\n")
    (top / "wrong.conf").write_text("[tuning]\ngaet = closed\n")
    (top / "bare/site").mkdir(parents=True)
    (top / "linked/site").mkdir(parents=True)
    (top / "linked/site/tuned.conf").touch()
    (top / "linked/site/x").symlink_to("/etc/passwd")
    return top


def test_there_is_no_other_format() -> None:
    named = {row.name.split()[1] for row in table.COMMANDS if row.name.startswith("render ")}
    assert named == {command.split()[0] for command in COMMANDS}
    assert {"fcos", "openshift"} | named - {"butane"} == set(FORMS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistake_has_its_exit_status_and_one_sentence(folder: Path, command: str) -> None:
    before = sorted(folder.rglob("*"))
    given: list[dict[str, str | None]] = [{**GOOD, **mistake} for mistake, _, _ in MISTAKES]
    lines = [
        ["render", *command.split(), *(w for k, v in it.items() if v is not None for w in (k, v))]
        for it in given
    ]
    done = subprocess.run(
        [sys.executable, "-c", _ALL], input=json.dumps(lines), check=True, text=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    found = json.loads(done.stdout)
    for (mistake, status, message), (returned, output, errors) in zip(MISTAKES, found):
        assert (returned, output) == (status, ""), (mistake, errors)
        # In front of it, the usage; after it, what to do.
        (said,) = (line for line in errors.splitlines() if line.startswith("ocp-tuned-boot"))
        assert message in said, (mistake, said)
        assert "Traceback" not in errors
    assert sorted(folder.rglob("*")) == before


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_of_a_machineconfig_are_for_that_only(command: str) -> None:
    words = [word for pair in GOOD.items() for word in pair]
    done = run(*command.split(), *words, "--role", "not a role")
    assert (done.returncode, done.stdout) == (os.EX_USAGE, "")
    is_one = command.endswith(("machineconfig", "openshift"))
    assert ("--role: found 'not a role', expected" in done.stderr) is is_one
