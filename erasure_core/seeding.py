"""One seed, many named generators: no global random state, and no step's draws depend on another
step's.
"""

import hashlib

import torch


def generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator that depends on `seed` and `name` only, so that adding a consumer never
    shifts the others.
    """
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)
