"""The house: an import runs downwards only, and none in a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "ocp_tuned_boot"

#: From the top floor to the bottom. What stands together does not see each other's modules.
FLOORS: tuple[set[str], ...] = (
    {"__main__"},
    {"cli"},
    {"commands"},
    {"boot", "preview"},
    {"tuning", "gate", "early", "cleanup", "kept", "textfile"},
    {"situation", "daemon"},
    {"attempt", "plan", "lock", "watching", "word"},
    {"advice", "applying"},
    {"agent"},
    {"settings", "images"},
    {"record"},
    {"requested"},
    {"tuned"},
    {"podman"},
    {"host"},
    {"errors"},
    {"inside"},
    {"__init__"},
)


def modules() -> dict[str, ast.Module]:
    """Each module by its path below the package, dots for slashes."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imports(tree: ast.Module, known: set[str]) -> Iterator[str]:
    """The modules of ours that one imports, wherever and for whatever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name:
            inner = (node.module or "").partition(".")[2]
            for each in node.names:
                names = (f"{inner}.{each.name}".strip("."), inner, f"{inner}.__init__".strip("."))
                yield next(name for name in names if name in known)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "an import relative to a module's own place"
        elif isinstance(node, ast.Import):
            assert not [each for each in node.names if each.name.startswith(PACKAGE.name)]


def room(module: str) -> str:
    return module.partition(".")[0]


def floor(module: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


def test_every_room_has_a_floor_and_every_floor_its_rooms() -> None:
    rooms = [each for floor_ in FLOORS for each in floor_]
    assert sorted(rooms) == sorted({room(module) for module in modules()})


def test_the_list_of_folders_in_the_docs_is_this_one() -> None:
    text = (PACKAGE.parent / "docs/hacking.md").read_text()
    (block,) = re.findall(r"(?m)^    cli ─► (?:.+\n)+", text)
    listed = [set(each.replace("/", " ").replace(",", " ").split()) for each in block.split("─►")]
    assert listed == [each for each in FLOORS if not {"__main__", "__init__"} & each]


def test_an_import_runs_downwards_only() -> None:
    found = modules()
    upwards = [
        f"{module} imports {other}"
        for module, tree in found.items()
        for other in imports(tree, set(found))
        if room(other) != room(module) and floor(other) <= floor(module)
    ]
    assert upwards == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    found = modules()
    known = {module: set(imports(tree, set(found))) for module, tree in found.items()}

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " → ".join((*way, module))
        if module not in done:
            for other in sorted(known[module]):
                visit(other, (*way, module))
            done.add(module)

    done: set[str] = set()
    for module in sorted(known):
        visit(module, ())


def test_the_story_fits_on_a_few_screens() -> None:
    assert len((PACKAGE / "boot.py").read_text().splitlines()) < 177


def test_the_tests_follow_the_same_folders() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    tests = Path(__file__).parent
    assert {path.name for path in tests.iterdir() if (path / "__init__.py").exists()} == folders
    for path in tests.glob("*/test_*.py"):
        module = path.name.removeprefix("test_")
        assert (PACKAGE / path.parent.name / module).exists(), f"{path}: a test of no module"
