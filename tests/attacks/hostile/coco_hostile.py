"""Looks around: once while the package is installed, and again as its program, which prints what both have found."""

import json
import os
import re
import shutil


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
        "helper": attempt(lambda: open("/proc/1/environ").read() and True, False),
        "user": os.getuid(),
        "jq": shutil.which("jq") is not None,
        "workspace": os.listdir("/workspace"),
        "mounts": [place for place in mounts if not usual.match(place)],
    }


def main():
    kept = os.path.join(os.path.dirname(__file__), "coco_hostile_install.json")
    print(json.dumps({"install": json.load(open(kept)), "run": probe()}))
