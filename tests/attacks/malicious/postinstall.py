"""Runs when the package is installed, and writes down what it found for the package's program."""

import os

import attempts

with open(os.path.join(attempts.HERE, "found.txt"), "w") as file:
    file.write("\n".join(attempts.report("install")))
