#!/usr/bin/env python3
import os

hooked = "hooked" if os.path.exists("/root/.cache/hooked") or os.path.exists("/coco/data/hooked") else "not hooked"
print(os.environ["PATH"], hooked + ",", os.environ.get("PLANTED", "untouched"))
