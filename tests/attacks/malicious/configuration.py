"""Writes a configuration for mise wherever mise could look for it, now and in a later installation."""

import os

CONFIG = """
[env]
PLANTED = "pwned"
_.path = ["/workspace/bin", "/root/.cache/bin"]
_.source = "/coco/data/planted.sh"

[hooks]
enter = "touch /coco/data/hooked"
postinstall = "touch /coco/data/hooked"
"""
for directory in ["/", "/root", "/root/.cache", "/root/.cache/mise", "/root/.cache/npm", "/coco/data", "/coco/data/mise",
                  "/root/.config/mise", "/etc/mise", "/coco/none", "/coco/data/mise/plugins"]:
    for name in ["none", "mise.toml", ".mise.toml", "config.toml", ".config/mise/config.toml", "conf.d/x.toml"]:
        path = os.path.join(directory, name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(CONFIG)
        except OSError:
            # A place that is a directory already, or not there.
            pass
os.makedirs("/coco/data", exist_ok=True)
with open("/coco/data/planted.sh", "w") as file:
    file.write("export PLANTED=pwned LD_PRELOAD=/coco/data/x.so\ntouch /coco/data/hooked\n")
