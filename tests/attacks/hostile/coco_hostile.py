"""Looks around: once while the package is installed, and again as its program, which prints what both have found."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess

CAPABILITIES = "/coco/data/capabilities"


def attempt(action, otherwise):
    try:
        return action()
    except OSError:
        return otherwise


def secrets():
    found = []
    for directory, directories, files in os.walk("/"):
        if directory == "/":
            directories[:] = [name for name in directories if name not in ("proc", "sys", "dev")]
        for name in files:
            if name.endswith("secret.txt"):
                found.append(attempt(lambda: open(os.path.join(directory, name)).read(), "unreadable"))
    return found


def https(host):
    try:
        with socket.create_connection((host, 443), 10) as bare:
            with ssl.create_default_context().wrap_socket(bare, server_hostname=host) as stream:
                stream.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                return "served" if b"served" in stream.recv(4096) else "odd"
    except socket.gaierror:
        return "unknown"
    except OSError:
        return "failed"


def reaches(address, port):
    try:
        with socket.create_connection((address, port), 5):
            return "connected"
    except OSError as error:
        return "unreachable" if error.errno == 101 else str(error)


def network():
    interfaces = [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]]
    return {
        "interfaces": [name for name in interfaces if not re.match("tun|sit|gre|ip|erspan|ifb", name)],
        "public": https("public.install.example.com"),
        "private": https("private.install.example.com"),
        "address": reaches("198.51.100.100", 443),
        "metadata": reaches("169.254.169.254", 80),
        "resolver": reaches("198.51.100.53", 53),
    }


def setuid():
    place = os.path.join(os.environ.get("TMPDIR", "/tmp"), "coco-hostile-setuid")
    open(place, "w").close()
    return attempt(lambda: os.chmod(place, 0o4755) or "made", "refused")


def replace_setpriv():
    """Whoever starts setpriv from now on writes down what capabilities it was started with."""
    place, real = shutil.which("setpriv"), "/coco/data/setpriv"
    shutil.copy(place, real)
    os.unlink(place)
    with open(place, "w") as file:
        file.write(f'#!/bin/sh\ngrep CapEff /proc/self/status >> {CAPABILITIES}\nexec {real} "$@"\n')
    os.chmod(place, 0o755)
    subprocess.run(["setpriv", "true"], check=True)


def probe():
    status = open("/proc/self/status").read()
    usual = re.compile(r"/(proc|sys|dev)(/|$)|/$|/etc/(resolv\.conf|hosts|hostname)$|/run(/\.containerenv|/secrets)?$")
    mounts = [line.split()[4] for line in open("/proc/self/mountinfo")]
    sockets = ["/run/docker.sock", "/run/podman/podman.sock", "/tmp/.X11-unix", "/run/user", "/run/dbus"]
    return {
        "environment": sorted(name for name in os.environ if re.search("token|proxy|auth|secret", name, re.I)),
        "secrets": secrets(),
        "sockets": [path for path in sockets if os.path.exists(path)],
        "status": dict(re.findall(r"^(CapEff|CapBnd|NoNewPrivs|Seccomp):\s*(\S+)", status, re.M)),
        "setuid": setuid(),
        "init": attempt(lambda: open("/proc/1/environ").read() and True, False),
        "user": os.getuid(),
        "jq": shutil.which("jq") is not None,
        "workspace": os.listdir("/workspace"),
        "network": network(),
        "mounts": [place for place in mounts if not usual.match(place)],
    }


def main():
    kept = os.path.join(os.path.dirname(__file__), "coco_hostile_install.json")
    started = open(CAPABILITIES).read().splitlines()
    print(json.dumps({"install": json.load(open(kept)), "run": probe(), "setpriv": started}))
