"""What the README says about installing is done here word for word, on a Debian machine on which
nothing is installed yet."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import bare, debian, product, rootfs, tunedimage
from tests.lab.cache import directory
from tests.lab.knobs import KernelKnobs
from tests.lab.node import Node
from tests.lab.test_boot import SUITES, found_by
from tests.lab.workload import RESET, WANTED, furnish, has_ended, record
from tests.lab.workplace import Workplace

pytestmark = pytest.mark.lab

README = (product.TREE / "README.md").read_text()
SECTION = README.partition("\n### Debian\n")[2].partition("\n### ")[0]

# A node has systemd. The certificates are for pip. The lab's container storage was made by a Podman
# that had netavark, and with it Podman insists on that.
PACKAGES = ("ca-certificates", "dbus", "netavark", "systemd", "systemd-sysv")


def commands(after: str) -> str:
    """The commands that follow these words, which end a paragraph of the README."""
    found = re.search(rf"{re.escape(after)}:\n\n((?:    .*\n)+)", SECTION)
    assert found is not None, after
    return re.sub(r"(?m)^    ", "", found[1])


FIVE = README.partition("in five commands\n")[2].partition("\n### ")[0]

REQUIRED = {"trixie": commands("On Debian 13"), "bookworm": commands("are not changed")}
DEB = commands("what it requires")
INSTALL = commands("without a package manager")
REMOVE = commands("To remove it again")
RPM = commands("therefore `--nodeps`")


def test_no_command_of_the_section_is_left_out() -> None:
    blocks = re.findall(r"(?m)(?:^    .*\n)+", SECTION)
    tested = [DEB, *REQUIRED.values(), INSTALL, REMOVE, RPM]
    assert [re.sub(r"(?m)^    ", "", each) for each in blocks] == tested


@pytest.fixture
def root(suite: str) -> Iterator[Path]:
    """The root filesystem of a new machine, which says yes to apt and takes only what it must."""
    place = Workplace()
    try:
        bare.furnish(place.path, suite, PACKAGES)
        (place.path / "etc/apt/apt.conf.d/90answers").write_text(
            'APT::Get::Assume-Yes "true";\nAPT::Install-Recommends "false";\n'
        )
        yield place.path
    finally:
        place.close()


def follow(root: Path, *blocks: str, setting: str = "") -> str:
    """Somebody types the commands, and stops at the first that fails. `setting`: of the shell."""
    script = "\n".join(["set -e", setting, "apt-get update", *blocks])
    done = subprocess.run(
        bare.command(root, "bash", "-c", script), check=False, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def files_of_ours(root: Path) -> set[str]:
    """All that is called after us, but for the tree, what it was built of, and what is in /run."""
    listed = subprocess.run(
        ["find", ".", "-path", f".{bare.CLONE}", "-prune", "-o", "-path", "./tmp", "-prune", "-o",
         "-path", f".{directory()}", "-prune", "-o", "-path", "./run", "-prune", "-o",
         "-path", "./var/tmp", "-prune", "-o", "-name", "*ocp[-_]tuned*", "-printf", "%P\n"],
        cwd=root, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    return set(listed.split())


@pytest.mark.parametrize("suite", SUITES)
def test_a_node_installed_from_the_tree_boots_tuned_and_nothing_is_left_of_it(
    suite: str, root: Path
) -> None:
    follow(root, REQUIRED[suite])
    before = files_of_ours(root)
    follow(root, INSTALL)
    rootfs.as_node(root)
    with KernelKnobs(RESET), Node(suite, image=suite, system=root) as node:
        furnish(node)
        node.write("/etc/ocp-tuned-boot/boot.conf", "# the administrator's\n")
        node.boot()
        assert found_by(node, "kubelet") == WANTED
        has_ended(node)
        assert record(node)["result"] == "applied"
        node.run("bash", "-ec", f"cd {bare.CLONE}\n{REMOVE}")
        for path, value in WANTED.items():
            assert node.read(path).strip() == value
        assert files_of_ours(node.root) - before == {
            "etc/ocp-tuned-boot", "var/lib/ocp-tuned", "var/lib/ocp-tuned-boot",
        }  # fmt: skip
        assert node.read("/etc/ocp-tuned-boot/boot.conf") == "# the administrator's\n"


# What the lab leaves out of every root, lintian is in.
LINTIAN = """\
rm /etc/dpkg/dpkg.cfg.d/*
apt-get install lintian
lintian --fail-on=error,warning,info --allow-root dist/*.deb
"""


def package_of_ours(node: Node, field: str) -> str:
    """What dpkg knows of the package."""
    return node.run("dpkg-query", "--show", f"--showformat=${{{field}}}", "ocp-tuned-boot").stdout


def newer(node: Node) -> str:
    """The package as one of version 99, on the node."""
    node.run(
        "sh", "-ec",
        f"""dpkg-deb --raw-extract {bare.CLONE}/dist/*.deb /tmp/newer
        sed -i 's/^Version: .*/Version: 99/' /tmp/newer/DEBIAN/control
        dpkg-deb --build /tmp/newer /tmp/newer.deb""",
    )  # fmt: skip
    return "/tmp/newer.deb"


@pytest.mark.parametrize("suite", ["trixie"])
def test_the_package_for_debian_from_its_build_to_its_purge(suite: str, root: Path) -> None:
    before = files_of_ours(root)
    follow(root, DEB)
    rootfs.as_node(root)
    with KernelKnobs(RESET), Node(suite, image=suite, system=root) as node:
        furnish(node)
        node.write("/etc/ocp-tuned-boot/boot.conf", "# the administrator's\n")
        node.boot()
        assert found_by(node, "kubelet") == WANTED
        has_ended(node)
        applied = record(node)
        assert applied["result"] == "applied"

        # An upgrade, and a downgrade. None of its files is the administrator's to change.
        assert package_of_ours(node, "Conffiles") == ""
        # Debian 12 does not have it, as the README says.
        assert "python3-podman" in package_of_ours(node, "Depends")
        own = package_of_ours(node, "Version")
        for package, version in ((newer(node), "99"), (f"{bare.CLONE}/dist/*.deb", own)):
            node.run("sh", "-c", f"dpkg --install {package}")
            assert package_of_ours(node, "Version") == version
            active = node.run("systemctl", "is-active", "ocp-tuned.service")
            assert active.stdout.strip() == "active"
            assert record(node) == applied
            assert node.read("/etc/ocp-tuned-boot/boot.conf") == "# the administrator's\n"

        node.run("dpkg", "--remove", "ocp-tuned-boot")
        for path, value in WANTED.items():
            assert node.read(path).strip() == value
        assert node.read("/etc/ocp-tuned-boot/boot.conf") == "# the administrator's\n"
        assert node.run("systemctl", "is-active", "ocp-tuned.service").stdout.strip() == "active"
        left = node.run(
            "systemctl", "list-units", "--plain", "--no-legend", "ocp-tuned*"
        ).stdout.splitlines()
        assert [line.split()[0] for line in left] == ["ocp-tuned.service"]

        # It comes back in the same boot, and continues where it was.
        node.run("sh", "-c", f"dpkg --install {bare.CLONE}/dist/*.deb")
        shown = node.run("systemctl", "show", "--value", "-p", "NeedDaemonReload", "ocp-tuned")
        assert shown.stdout.strip() == "no"
        node.run("systemctl", "reload", "ocp-tuned")
        assert record(node)["in_force"] == applied["in_force"]
        node.run("dpkg", "--remove", "ocp-tuned-boot")

        node.run("umount", "--lazy", "/var/lib/ocp-tuned-boot/storage")  # the lab's
        node.run("dpkg", "--purge", "ocp-tuned-boot")
        assert files_of_ours(node.root) - before == {"var/lib/ocp-tuned"}


@pytest.mark.parametrize("suite", ["trixie"])
def test_lintian_has_nothing_to_say(root: Path) -> None:
    follow(root, DEB.partition("apt-get install ./dist")[0], LINTIAN)


def with_base(root: Path) -> str:
    """A command that stores the base image under its own name, as if it had been pulled. Its apt
    knows an archive, as that of Debian's own image does."""
    archive = root / "base.tar"
    shutil.copyfile(tunedimage.base("trixie"), archive)
    with tempfile.TemporaryDirectory() as folder:
        files = debian.apt_files("trixie")
        for name, text in files.items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_text(text)
        subprocess.run(["tar", "--append", f"--file={archive}", *files], cwd=folder, check=True)
    (reference,) = re.findall(r"(?m)^ARG BASE=(\S+)$", tunedimage.CONTAINERFILE.read_text())
    return f"podman import /base.tar {reference}"


@pytest.mark.parametrize("suite", ["trixie"])
def test_five_commands_make_a_tuned_laptop(root: Path) -> None:
    (block,) = re.findall(r"(?m)(?:^    .*\n)+", FIVE)
    typed = re.split(r"(?<!\\)\n", re.sub(r"(?m)^    ", "", block).rstrip("\n"))
    assert len(typed) == 5
    install, *others, reboot = typed
    assert reboot == "reboot"
    # It is not booted: Podman gets no namespaces for a build, and not the limits that it asks for.
    limits = root / "etc/containers/containers.conf.d/limits.conf"
    limits.parent.mkdir(parents=True)
    limits.write_text('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n')
    follow(root, install, with_base(root), *others, setting="export BUILDAH_ISOLATION=chroot")
    limits.unlink()
    rootfs.as_node(root)
    knobs = {"/proc/sys/vm/laptop_mode": "0", "/proc/sys/vm/dirty_writeback_centisecs": "500"}
    with KernelKnobs(knobs), Node(image=None, system=root) as node:
        subprocess.run(["cp", "-a", f"{root}/var/lib/containers/.", node.storage], check=True)
        node.boot()
        has_ended(node)
        assert record(node)["result"] == "applied"
        assert [node.read(path).strip() for path in knobs] == ["5", "1500"]
        said = node.run("ocp-tuned-boot", "status").stdout
        assert "laptop-battery-powersave" in said
        assert "localhost/tuned" in said
        _removed(node)


def _removed(node: Node) -> None:
    """The image, as by `podman image prune --all`: first there is an archive (docs/image.md)."""
    archive = "/var/lib/ocp-tuned-boot/images/tuned.tar"
    node.run("ocp-tuned-boot", "image", "export", archive)
    node.run("podman", "image", "prune", "--all", "--force")
    assert node.run("podman", "images", "--quiet").stdout == ""
    node.run("ocp-tuned-boot", "image", "fetch")
    assert "localhost/tuned" in node.run("podman", "images").stdout
    node.run("podman", "image", "prune", "--all", "--force")
    node.run("rm", archive)
    fetched = node.run("ocp-tuned-boot", "image", "fetch", check=False)
    assert fetched.returncode == os.EX_NOINPUT
    assert "the image localhost/tuned is not on the node, and no registry has" in fetched.stderr
    assert "Build it (podman build" in fetched.stderr


#: The whole %check on trixie is run when a release is built.
FEW = "export PYTEST_ADDOPTS='-k test_plan'"


@pytest.mark.parametrize(
    ("suite", "setting"),
    [
        ("trixie", FEW),
        ("bookworm", FEW),
        pytest.param("bookworm", "", id="bookworm-all-of-check", marks=pytest.mark.slow),
    ],
)
def test_the_rpm_is_built_and_installed_and_enabled(suite: str, setting: str, root: Path) -> None:
    follow(root, REQUIRED[suite], RPM, setting=setting)
    for name in ("etc/systemd/system/multi-user.target.wants/ocp-tuned.service",
                 "etc/systemd/system/multi-user.target.wants/ocp-tuned.path"):  # fmt: skip
        assert (root / name).is_symlink()
    assert (root / "var/lib/ocp-tuned-boot/images").is_dir()
    follow(root, "ocp-tuned-boot --version")


def test_uninstall_leaves_nothing_in_a_staging_directory(tmp_path: Path) -> None:
    source = tmp_path / "source"
    product.commit(source)
    builder, where = product.build_root("trixie"), "DESTDIR=/source/build/root"
    product.make("install", builder, source, "install", where)
    staged = source / "build/root"
    theirs = {staged / "etc/ocp-tuned-boot/boot.conf", staged / "usr/bin/another"}
    for each in theirs:
        each.write_text("somebody else's\n")
    assert files_of_ours(staged) > {"usr/bin/ocp-tuned-boot", "etc/ocp-tuned-boot"}
    product.make("uninstall", builder, source, "uninstall", where)
    assert {path for path in staged.rglob("*") if not path.is_dir()} == theirs
    assert files_of_ours(staged) == {"etc/ocp-tuned-boot"}


def test_an_install_over_another_release_leaves_none_of_its_modules(tmp_path: Path) -> None:
    source = tmp_path / "source"
    product.commit(source)
    builder, where = product.build_root("trixie"), "DESTDIR=/source/build/root"
    packages = source / "build/root/usr/lib/python3/dist-packages"
    earlier = {"ocp_tuned_boot/outcome.py", "ocp_tuned_boot/cli.py", "ocp_tuned_boot/podman.py",
               "ocp_tuned_boot-0.0.9.dist-info/METADATA"}  # fmt: skip
    theirs = {"ocp_tuned_boots/outcome.py", "another/outcome.py"}
    for name in earlier | theirs:
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text("# of another release\n")
    for _ in range(2):
        product.make("install", builder, source, "install", where)
    found = {str(path.relative_to(packages)) for path in packages.rglob("*") if path.is_file()}
    assert found & (earlier | theirs) == theirs | {"ocp_tuned_boot/cli.py"}
    assert "ocp_tuned_boot/podman/client.py" in found
    assert "another release" not in (packages / "ocp_tuned_boot/cli.py").read_text()
    assert sum(name.endswith(".dist-info/METADATA") for name in found) == 1
    assert -1 not in product.byte_code(source / "build/root").values()


def test_links_in_the_documents_lead_somewhere_in_the_package() -> None:
    # rpm on Debian adds the version to its name.
    (documents,) = product.product_layer("trixie").glob("usr/share/doc/ocp-tuned-boot*")
    links = {
        (path, link)
        for path in documents.rglob("*.md")
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text())
        if "://" not in link
    }
    assert (documents / "README.md", "docs/situations.md") in links
    assert [link for path, link in links if not (path.parent / link).exists()] == []
