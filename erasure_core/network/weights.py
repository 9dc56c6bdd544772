"""What an erasure leaves behind: the change of named weights, tied to the base it was made from by
a hash.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from erasure_core.errors import BadInput, ContentChanged, ErasureError
from erasure_core.files import check_regular, remedy, temporary_name


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash of names, shapes and float32 contents; independent of order, storage dtype and file
    layout.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class WeightDelta:
    """Named differences `edited - base` in float32 and the hash of the base network
    they belong to.
    """

    base_sha256: str
    tensors: Mapping[str, Tensor]

    @classmethod
    def between(cls, base: nn.Module, edited: nn.Module, names: frozenset[str]) -> "WeightDelta":
        """The difference of the parameters called `names`."""
        old, new = base.state_dict(), edited.state_dict()
        return cls(
            tensors_sha256(old),
            {n: (new[n].cpu().float() - old[n].cpu().float()).detach() for n in sorted(names)},
        )

    @property
    def names(self) -> frozenset[str]:
        """Names of the weights it changes."""
        return frozenset(self.tensors)

    @cached_property
    def sha256(self) -> str:
        """Hash of the base's hash and of the differences."""
        return hashlib.sha256(
            (self.base_sha256 + tensors_sha256(self.tensors)).encode()
        ).hexdigest()

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[nn.Module]:
        """Apply to `module` for the length of a `with`; afterwards the original weights are back,
        bit for bit.
        """
        originals = {
            name: parameter.detach().clone()
            for name, parameter in module.named_parameters()
            if name in self.tensors
        }
        try:
            self.apply(module)
            yield module
        finally:
            with torch.no_grad():
                for name, parameter in module.named_parameters():
                    if name in originals:
                        parameter.copy_(originals[name])

    @torch.no_grad()
    def apply(self, module: nn.Module) -> None:
        """Add the differences to `module` in place. Raises what `check` raises, before any."""
        self.check(module)
        for name, parameter in module.named_parameters():
            if name in self.tensors:
                parameter.copy_(parameter.float() + self.tensors[name].to(parameter.device))

    def check(self, module: nn.Module) -> None:
        """Refuse a network that this delta does not fit.

        Raises:
            ContentChanged: If `module` is not the base this delta was made from.
            BadInput: If a name or a shape is none of its parameters'.
        """
        found = tensors_sha256(module.state_dict())
        if found != self.base_sha256:
            raise ContentChanged("the network a delta is applied to", self.base_sha256, found)
        shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
        for name, tensor in self.tensors.items():
            if shapes.get(name) != tuple(tensor.shape):
                raise BadInput(
                    f"the delta changes {name!r} of shape {tuple(tensor.shape)}, where the base "
                    f"has {shapes.get(name, 'nothing')}; give a delta made from this base"
                )

    def save(self, path: Path, **metadata: str) -> None:
        """Write safetensors whole or not at all; `metadata` joins the base hash in the file's
        header.

        Raises:
            ErasureError: If a difference is NaN or infinite, or it cannot be written.
        """
        if bad := not_finite(self.tensors.items()):
            raise ErasureError(
                f"the erasure made {bad!r} NaN or infinite; erase with milder settings"
            )
        write_tensors(path, self.tensors, {**metadata, "base_sha256": self.base_sha256})

    @classmethod
    def load(cls, path: Path) -> "WeightDelta":
        """Read a delta written by `save`.

        Raises:
            BadInput: If the file is absent, truncated, carries no base hash, or holds no
                difference or one that is not finite.
        """
        tensors, metadata = read_tensors(path)
        if "base_sha256" not in metadata:
            raise BadInput(
                f"{path} names no base (metadata keys: {json.dumps(sorted(metadata))}); "
                f"it was not written as a weight delta"
            )
        if not tensors:
            raise BadInput(f"{path} changes no weight; it was not written as a weight delta")
        if bad := not_finite(tensors.items()):
            raise BadInput(f"{path}: {bad!r} is NaN or infinite; restore it or erase again")
        return cls(metadata["base_sha256"], tensors)


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor that holds a NaN or an infinity, if one does."""
    return next((name for name, tensor in tensors if not _finite(tensor)), None)


def _finite(tensor: Tensor) -> bool:
    narrow = tensor.itemsize == 1  # torch asks this of no float in eight bits
    return bool(torch.isfinite(tensor.float() if narrow else tensor).all())


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    finish: Callable[[Path], None] | None = None,
) -> None:
    """Write safetensors whole or not at all; the same content gives the same bytes. `finish` is
    given the file before it has its name. Of two that write one file at once, neither touches what
    the other has not finished.

    Raises:
        ErasureError: If it cannot be written, for instance because the disk is full.
    """
    partial = temporary_name(path.parent, f".{path.name}.")
    try:
        partial.touch()
        mode = partial.stat().st_mode  # as the umask says; the library makes a file of mode 0600
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            partial,
            metadata=dict(metadata),
        )
        _sort_metadata(partial)
        if finish:
            finish(partial)
        partial.chmod(mode)
        os.replace(partial, path)
    except (OSError, SafetensorError) as fault:  # the latter is what a full disk becomes
        raise ErasureError(
            f"{path} could not be written ({fault}); {remedy(fault)} and run again"
        ) from fault
    finally:
        partial.unlink(missing_ok=True)


def _sort_metadata(file: Path) -> None:
    """Put the header's metadata into alphabetical order, in place: the library writes it in one
    that changes from call to call.
    """
    with file.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        if metadata := header.get("__metadata__"):
            header["__metadata__"] = dict(sorted(metadata.items()))
            stream.seek(8)
            stream.write(
                json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
            )


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A safetensors file, to be read tensor by tensor.

    Raises:
        BadInput: If the file is absent, truncated, or no regular file.
    """
    check_regular(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as fault:
        raise BadInput(
            f"{path} is not a readable safetensors file ({fault}); restore it or erase again"
        ) from fault


def is_readable(path: Path) -> bool:
    """Whether a safetensors file is there, and whole: a machine that loses its power may leave half
    of what it was writing.
    """
    try:
        with opened(path):
            return True
    except BadInput:
        return False


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file.

    Raises:
        BadInput: If the file is absent or truncated.
    """
    with opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 - safe_open is no mapping
