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
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
FILES = SETTINGS["tool"]["erasure"]["workspace"]


class WithWorkspace(build_py):
    """Also copies the working folder's files; an editable installation reads the checkout's."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for name in FILES:
            target = Path(self.build_lib) / INTO / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)

    def get_source_files(self) -> list[str]:
        """With them, so that a source archive holds what a wheel is made of."""
        return [*super().get_source_files(), *FILES]


setup(cmdclass={"build_py": WithWorkspace})
