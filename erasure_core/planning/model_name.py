"""The registered model that a parameters file names, read without the methods' code.

`request add` needs nothing else of the parameters, and importing torch for it would take seconds.
"""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from erasure_core.files import read_yaml

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
ModelName = Annotated[str, Field(pattern=NAME, max_length=200)]


class _Named(BaseModel):
    model_config = ConfigDict(extra="allow")
    registered_model: ModelName


def registered_model(params_file: Path) -> str:
    """The name. `BadInput` if the file is not readable or names none."""
    return read_yaml(params_file, _Named).registered_model
