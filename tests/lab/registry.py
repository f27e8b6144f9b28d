"""A real registry (docker-registry) on a node, and TuneD's image in it and nowhere else."""

from __future__ import annotations

import base64
import json

from tests.lab.node import Node

#: By a name that is not the loopback's: for that no program asks a proxy.
HOST, ADDRESS = "registry.lab:5000", "192.0.2.10"
REPOSITORY = "openshift/tuned"
IMAGE = f"{HOST}/{REPOSITORY}:lab"
#: With a certificate that only the lab knows, and a password.
LOCKED = f"registry.lab:5443/{REPOSITORY}:lab"
USER, PASSWORD = "lab", "kept-secret"

# Debian's own configuration and unit are left alone.
_FOLDER = "/etc/lab/registry"
_STORAGE = "storage: {filesystem: {rootdirectory: /var/lib/docker-registry}}\n"
_OPEN = f'version: 0.1\n{_STORAGE}http: {{addr: ":5000", secret: lab}}\n'
_SHUT = f"""\
version: 0.1
{_STORAGE}http:
  addr: ":5443"
  secret: lab
  tls: {{certificate: {_FOLDER}/registry.crt, key: {_FOLDER}/registry.key}}
auth: {{htpasswd: {{realm: lab, path: {_FOLDER}/htpasswd}}}}
"""
# bcrypt of PASSWORD.
_HASH = "$2y$10$abcdefghijklmnopqrstuuPoSMJ8eJHEo5uD8RPn0pomEOY8gcXAu"
_UNIT = """\
[Service]
User=docker-registry
ExecStart=/usr/bin/docker-registry serve /etc/lab/registry/%i.yml
"""
_CERTIFY = f"""
cd {_FOLDER}
openssl req -x509 -newkey rsa:2048 -nodes -keyout registry.key -out registry.crt -days 30 \\
  -subj /CN=registry.lab -addext subjectAltName=DNS:registry.lab 2>&1
chown docker-registry registry.key
"""
_ANSWERS = """
import socket, sys, time
while True:
    try:
        socket.create_connection(("registry.lab", int(sys.argv[1]))).close()
        break
    except OSError:
        time.sleep(0.05)
"""


def fill(node: Node, image: str) -> None:
    """Moves an image from the node's storage into the registry, which is stopped then."""
    node.write(f"{_FOLDER}/open.yml", _OPEN)
    node.write(f"{_FOLDER}/shut.yml", _SHUT)
    node.write(f"{_FOLDER}/htpasswd", f"{USER}:{_HASH}\n")
    node.write("/etc/systemd/system/lab-registry@.service", _UNIT)
    node.run("systemctl", "daemon-reload")
    node.run("sh", "-ec", _CERTIFY)
    start(node)
    node.run("podman", "push", "-q", image, IMAGE)
    node.run("podman", "rmi", "-f", image)
    stop(node)


def small(node: Node) -> str:
    """An image with nothing in it, in the registry and nowhere else: its reference, for which a
    password is needed."""
    image = f"{HOST}/openshift/small:lab"
    node.run("sh", "-ec", f"""
        mkdir -p /etc/lab/nothing
        tar -C /etc/lab/nothing -c . | podman import -q - {image}
        podman push -q {image}
        podman rmi -f {image}
    """)  # fmt: skip
    return image.replace(":5000", ":5443")


def variants(node: Node, count: int) -> list[str]:
    """So many images that differ from `IMAGE` in a label, in the registry and nowhere else: their
    tags."""
    tags = [f"variant-{number}" for number in range(count)]
    for tag in tags:
        image = f"{HOST}/{REPOSITORY}:{tag}"
        node.write("/etc/lab/Variant", f"FROM {IMAGE}\nLABEL lab={tag}\n")
        node.run("podman", "build", "-q", "-t", image, "-f", "/etc/lab/Variant", "/etc/lab")
        node.run("podman", "push", "-q", image)
    node.run("podman", "rmi", "-af")
    return tags


_RETAG = f"""
import sys, urllib.request
where = "http://{HOST}/v2/{REPOSITORY}/manifests/"
kind = "application/vnd.oci.image.manifest.v1+json"
asked = urllib.request.Request(where + sys.argv[1], headers={{"Accept": kind}})
said = urllib.request.urlopen(asked)
headers = {{"Content-Type": said.headers["Content-Type"]}}
put = urllib.request.Request(where + sys.argv[2], said.read(), headers, method="PUT")
urllib.request.urlopen(put)
"""


def retag(node: Node, tag: str, moving: str) -> str:
    """In the registry the tag `moving` means that image from now on: its reference."""
    node.run("python3", "-c", _RETAG, tag, moving)
    return f"{HOST}/{REPOSITORY}:{moving}"


def start(node: Node, *, shut: bool = False) -> None:
    """Returns when it answers."""
    node.run("ip", "address", "replace", f"{ADDRESS}/32", "dev", "lo")
    node.run("systemctl", "start", f"lab-registry@{'shut' if shut else 'open'}")
    answers(node, 5443 if shut else 5000)


def answers(node: Node, port: int) -> None:
    """Returns when somebody listens there."""
    node.run("python3", "-c", _ANSWERS, str(port))


def stop(node: Node) -> None:
    node.run("systemctl", "stop", "lab-registry@open", "lab-registry@shut")


def trust(node: Node) -> None:
    """The node knows the certificate."""
    node.write("/etc/containers/certs.d/registry.lab:5443/ca.crt",
               node.read(f"{_FOLDER}/registry.crt"))  # fmt: skip


def credentials(path: str, password: str = PASSWORD) -> str:
    """The kubelet's config.json for this path of a registry (containers-auth.json(5))."""
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    return json.dumps({"auths": {path: {"auth": auth}}})


#: `python3 - MODE PORT`: in front of the registry, what a real one cannot be asked for.
_FRONT = r"""
import http.server, sys, time, urllib.error, urllib.request
mode, port, seen = sys.argv[1], int(sys.argv[2]), []

class Front(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        blob = "/blobs/" in self.path
        seen.append(self.path)
        if mode == "busy" or mode == "429" and len(seen) <= 2:
            return self.say(429, {"Retry-After": "1"}, b"slow down")
        if mode == "500":
            return self.say(500, {}, b"oops")
        url = "http://registry.lab:5000" + self.path
        request = urllib.request.Request(url, method=self.command)
        for name in ("Accept", "Range"):
            if self.headers[name]:
                request.add_header(name, ", ".join(self.headers.get_all(name)))
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error
        body = answer.read()
        headers = {n: answer.headers[n] for n in answer.headers if n != "Transfer-Encoding"}
        if blob and mode == "corrupt" and len(body) > 1000:
            body = body[:500] + b"????" + body[504:]
        if blob and mode == "cut" and len(body) > 1000:
            self.send_response(answer.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        if blob and mode == "slow" and len(body) > 1000:
            return self.slowly(answer.status, headers, body)
        self.say(answer.status, headers, body)

    do_HEAD = do_GET

    def slowly(self, status, headers, body):
        # Podman reports once a second, and a line is logged every three.
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        part = len(body) // 5 + 1
        for start in range(0, len(body), part):
            self.wfile.write(body[start : start + part])
            self.wfile.flush()
            time.sleep(1.5)

    def say(self, status, headers, body):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass

print("listening", flush=True)
http.server.ThreadingHTTPServer(("", port), Front).serve_forever()
"""
FAULTY = IMAGE.replace(":5000", ":5001")
_INSECURE = "".join(
    f'[[registry]]\nlocation = "registry.lab:{port}"\ninsecure = true\n'
    for port in (5001, 5002, 5003, 5004)
)


def front(node: Node, mode: str) -> None:
    """From now on `FAULTY` is served with this fault: 429, 500, cut, corrupt or slow."""
    node.write("/etc/containers/registries.conf.d/faulty.conf", _INSECURE)
    node.write("/etc/lab/front.py", _FRONT)
    node.run("systemctl", "stop", "lab-front.service", check=False)
    node.run("systemd-run", "-q", "--collect", "--unit=lab-front",
             "python3", "/etc/lab/front.py", mode, "5001")  # fmt: skip
    answers(node, 5001)
    # Podman reads its configuration when it starts.
    node.run("systemctl", "stop", "ocp-tuned-podman@shared.service")


OWN_STORE = "/var/lib/ocp-tuned-boot/storage"
#: While this is there, a node boots with no room in the store of our own.
SMALL = "/etc/lab/small"
#: What a registry may be like when a node boots, or a node for it: the image to ask for.
AT_BOOT = {
    "refuses": f"registry.lab:5999/{REPOSITORY}:lab",
    "silent": f"registry.lab:5998/{REPOSITORY}:lab",
    "500": FAULTY,
    "busy": FAULTY.replace(":5001", ":5002"),
    "cut": FAULTY.replace(":5001", ":5003"),
    "corrupt": FAULTY.replace(":5001", ":5004"),
    "full": IMAGE,
    "404": f"{IMAGE}-not",
    "401": LOCKED,
    "certificate": LOCKED,
}
_NETWORK = f"""\
[Unit]
Before=ocp-tuned.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip address replace {ADDRESS}/32 dev lo
ExecStart=nft add table inet silent
ExecStart=nft add chain inet silent in {{ type filter hook input priority 0; }}
ExecStart=nft add rule inet silent in tcp dport 5998 drop
ExecStart=sh -c 'test ! -e {SMALL} || mount -t tmpfs -o size=20m lab {OWN_STORE}'
"""
# The real one, and what is in front of it: each answers before anybody asks.
_READY = """\
[Unit]
After=lab-network.service
Before=ocp-tuned.service
[Service]
ExecStartPost=/usr/bin/python3 /etc/lab/answers.py {port}
"""
_FAULT = _READY + "ExecStart=/usr/bin/python3 /etc/lab/front.py {mode} {port}\n"


def at_boot(node: Node) -> None:
    """From the next boot on there are those of `AT_BOOT` before ocp-tuned.service starts; to be
    said after `fill`."""
    node.write("/etc/containers/registries.conf.d/faulty.conf", _INSECURE)
    node.write("/etc/lab/front.py", _FRONT)
    node.write("/etc/lab/answers.py", _ANSWERS)
    units = {
        "lab-network.service": _NETWORK,
        "lab-front-500.service": _FAULT.format(mode="500", port=5001),
        "lab-front-busy.service": _FAULT.format(mode="busy", port=5002),
        "lab-front-cut.service": _FAULT.format(mode="cut", port=5003),
        "lab-front-corrupt.service": _FAULT.format(mode="corrupt", port=5004),
        "lab-registry@open.service.d/ready.conf": _READY.format(port=5000),
        "lab-registry@shut.service.d/ready.conf": _READY.format(port=5443),
    }
    wants = "/etc/systemd/system/ocp-tuned.service.wants"
    node.run("mkdir", "-p", wants)
    for name, text in units.items():
        node.write(f"/etc/systemd/system/{name}", text)
        unit = name.partition(".d/")[0]
        source = unit.replace("@open", "@").replace("@shut", "@")
        node.run("ln", "-s", f"/etc/systemd/system/{source}", f"{wants}/{unit}")
