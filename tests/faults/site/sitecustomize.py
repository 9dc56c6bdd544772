"""Python runs this first in every child of a process that is to die."""

import importlib.util
import os
from pathlib import Path

if "FAULTS_KILLER" in os.environ:  # the module alone: its package would import more
    spec = importlib.util.spec_from_file_location("killer", Path(__file__).parents[1] / "killer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install_from_environment()
