#!/usr/bin/env python3
"""The package's program: says what was found while it was installed, and tries again."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
sys.dont_write_bytecode = True
import attempts

print("while it was installed:")
print(open(os.path.join(attempts.HERE, "found.txt")).read())
print("while it ran:")
print("\n".join(attempts.report("run")))
