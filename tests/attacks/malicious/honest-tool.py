#!/usr/bin/env python3
import os

print("honest-tool 1.0.0,", os.environ.get("PLANTED", "untouched"))
