"""What the malicious package tries, as its list of targets says, and what comes of it."""

import json
import os
import socket

HERE = os.path.dirname(os.path.realpath(__file__))


def read(path):
    with open(path, "rb") as file:
        file.read(1)
    return "read"


def lists(path):
    os.listdir(path)
    return "listed"


def write(path):
    with open(path, "a") as file:
        file.write("\n[env]\nPLANTED = 'pwned'\n" if path.endswith("toml") else "\necho pwned\n")
    return "written"


def variable(name):
    return "seen" if os.environ.get(name) else "not set"


def connect(target):
    if target.startswith("/"):
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(10)
            try:
                stream.connect(target)
            except OSError:
                # Init's sockets are of the other kind.
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as packets:
                    packets.connect(target)
    else:
        host, port = target.rsplit(":", 1)
        socket.create_connection((host, int(port)), 10).close()
    return "connected"


ACTIONS = {"read": read, "list": lists, "write": write, "look for": variable, "connect to": connect}


def attempt(action, target):
    try:
        return ACTIONS[action](target)
    except socket.gaierror:
        return "unknown name"
    except OSError as error:
        return (error.strerror or str(error)).lower()


def report(phase):
    with open(os.path.join(HERE, "targets.json")) as file:
        rows = json.load(file)[phase]
    return [f"  {action} {name}: {attempt(action, target)}" for action, name, target in rows]
