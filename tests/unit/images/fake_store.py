"""A Podman with a store of images that answers like the real one, and what an image is made
available with."""

from __future__ import annotations

import io
import json
import tarfile
import time
from typing import Any
from urllib.parse import unquote

from ocp_tuned_boot.host.clock import Deadline, Progress
from ocp_tuned_boot.host.paths import Paths
from ocp_tuned_boot.host.systemd import Notifier
from ocp_tuned_boot.images.ensure import Available, ImageSession
from ocp_tuned_boot.podman.client import Podman
from ocp_tuned_boot.requested.config import Images
from tests.unit.fake_podman import reply

ASKED = "registry.lab/tuned:new"
DIGEST = "sha256:" + "a" * 64
EXACT = f"registry.lab/tuned@{DIGEST}"
REFUSED = {"error": "manifest unknown"}
TEMPORARY = {"error": "connection refused"}
DEFAULT = Images()
#: As long as a run may take (seconds).
ALL = 600.0


class Store:
    """The images in Podman's store, and its answer to a pull."""

    def __init__(self) -> None:
        #: name → ID; the digest of each is `DIGEST`. One without a name is called `<ID>`.
        self.images: dict[str, str] = {}
        self.pull: dict[str, str] = {}
        self.pulls_as = ""
        self.pulled = "id-pulled"
        #: That of each image (bytes).
        self.size = 0
        self.silent = False
        #: A pull begins, and is never complete.
        self.stuck = False
        #: The duration of a pull (seconds).
        self.pull_seconds = 0.0
        self.loads: list[str] = []
        self.load_fails = ""
        #: What is in the archive of any image.
        self.exports = ""
        self.broken: set[str] = set()
        self.in_use: set[str] = set()
        #: name → ID of its image.
        self.containers: dict[str, str] = {}
        self.forced: list[str] = []
        self.requests: list[str] = []

    def answer(self, request: str) -> bytes | None:
        method, path, _ = request.split(" ")
        path = path.partition("/libpod")[2]
        self.requests.append(f"{method} {path.partition('?')[0]}")
        if "/containers/json" in path:
            listed = [{"Names": [name], "ImageID": it} for name, it in self.containers.items()]
            return reply(200, json.dumps(listed))
        if "/containers/" in path:
            return reply(404, "{}")
        if "/images/pull" in path:
            return self._pull()
        if "/images/load" in path:
            return self._load()
        name = path.partition("/images/")[2].partition("?")[0].removesuffix("/json")
        name = unquote(name)
        if method == "DELETE":
            return self._delete(name, force="force=True" in path)
        return reply(200, self.exports) if name.endswith("/get") else self._inspect(name)

    def named(self, name: str, image_id: str) -> None:
        """A tag that moves leaves an image without a name."""
        old = self.images.get(name)
        self.images[name] = image_id
        if old and old not in self.images.values():
            self.images[f"<{old}>"] = old

    def _pull(self) -> bytes | None:
        time.sleep(self.pull_seconds)
        if self.silent:
            return None
        if self.stuck:
            return reply(200, json.dumps({"stream": "Copying blob"}) + "\n", chunked=True)
        if not self.pull and self.pulls_as:
            self.named(self.pulls_as, self.pulled)
        return reply(200, json.dumps(self.pull or {"id": self.pulled}))

    def _load(self) -> bytes:
        if self.load_fails:
            return reply(500, json.dumps({"message": self.load_fails}))
        self.images.update(dict.fromkeys(self.loads, "id-loaded"))
        return reply(200, json.dumps({"Names": self.loads}))

    def _delete(self, name: str, *, force: bool) -> bytes:
        if force:
            self.forced.append(name)
        elif name in self.in_use:
            return reply(409, "{}")
        self.broken.discard(name)
        gone = [each for each, image_id in self.images.items() if name in (each, image_id)]
        for each in gone:
            del self.images[each]
        return reply(200 if gone else 404, "{}")

    def _inspect(self, name: str) -> bytes:
        if name in self.broken:
            return reply(500, json.dumps({"message": "layer not known"}))
        if name not in self.images and name not in self.images.values():
            return reply(404, "{}")
        image_id = self.images.get(name, name)
        tags = [each for each, it in self.images.items() if it == image_id and each[0] != "<"]
        said = {"Id": image_id, "Digest": DIGEST, "RepoTags": tags, "Size": self.size}
        return reply(200, json.dumps(said))


def archive(paths: Paths, *names: str, digest: str = DIGEST, docker: bool = False) -> None:
    """Writes an archive to the administrator's folder."""
    folder = paths.archives[0]
    folder.mkdir(parents=True, exist_ok=True)
    key = "org.opencontainers.image.ref.name"
    manifests = [{"digest": digest, "annotations": {key: name}} for name in names]
    image = {"Config": "config.json", "RepoTags": list(names), "Layers": []}
    index: Any = [image] if docker else {"manifests": manifests}
    with tarfile.open(folder / f"{len(list(folder.iterdir()))}.tar", "w") as file:
        for name, content in (("manifest.json" if docker else "index.json", index),
                              ("config.json", {})):  # fmt: skip
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))


def available(
    paths: Paths, podman: Podman, asked: str = ASKED, rules: Images = DEFAULT
) -> Available:
    progress = Progress(Deadline(podman.deadline.seconds), Notifier())
    return ImageSession(paths, rules, asked, progress).ensure(podman)
