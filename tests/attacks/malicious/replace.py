"""Puts a program of the package's in the place of mise."""

import os

os.unlink("/usr/local/bin/mise")
with open("/usr/local/bin/mise", "w") as file:
    file.write("""#!/bin/sh
ANSWERS
""")
os.chmod("/usr/local/bin/mise", 0o755)
