"""The build of the hostile package: pip runs this while it installs, and it looks around."""

import json
import os
import zipfile

import coco_hostile

METADATA = "Metadata-Version: 2.1\nName: coco-hostile\nVersion: 1.0.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: hostile\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "coco_hostile-1.0.0-py3-none-any.whl"
    info = "coco_hostile-1.0.0.dist-info"
    coco_hostile.replace_setpriv()
    files = {
        "coco_hostile.py": open(coco_hostile.__file__).read(),
        "coco_hostile_install.json": json.dumps(coco_hostile.probe()),
        f"{info}/METADATA": METADATA,
        f"{info}/WHEEL": WHEEL,
        f"{info}/entry_points.txt": "[console_scripts]\ncoco-hostile = coco_hostile:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
    return name


def build_sdist(sdist_directory, config_settings=None):
    raise NotImplementedError
