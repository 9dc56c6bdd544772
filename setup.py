"""Puts into a wheel what `erasure init` lays out: setuptools takes data from packages only, and
these files lie at the root of the checkout, where commands expect them.
"""

import shutil
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
INTO = "tasks/workspace/files"


class WithWorkspace(build_py):
    """Also copies the working folder's files; an editable installation reads the checkout's."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
        for name in settings["tool"]["erasure"]["workspace"]:
            target = Path(self.build_lib) / INTO / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)


setup(cmdclass={"build_py": WithWorkspace})
