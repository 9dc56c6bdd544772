"""What a method makes once from the base and every lambda, resume and later run uses again: tensors
kept by content.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from erasure_core.law.lineage import sha256_json
from erasure_core.network.weights import is_readable, read_tensors, write_tensors


def by_content(
    cache: Path | None,
    name: str,
    content: Callable[[], object],
    make: Callable[[], Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """The tensors that `make` makes; from the folder `cache` where they were made of the same
    content before.

    Args:
        cache: The folder, which is made if it is not there; None: nothing is looked up or kept.
        name: What they are, the first part of the file's name.
        content: Everything they depend on, as a value of JSON; asked for only where there is a
            folder.
        make: Makes them.

    Returns:
        Tensors by name; on the CPU and mapped into memory, not read, where there is a folder.
    """
    if cache is None:
        return dict(make())
    file = cache / f"{name}-{sha256_json(content())}.safetensors"
    if not is_readable(file):
        cache.mkdir(parents=True, exist_ok=True)
        write_tensors(file, make(), {})
    return read_tensors(file)[0]
