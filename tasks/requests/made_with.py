"""What decides a run's result beside its inputs: code, instruments and libraries, by hash."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import erasure_core
from erasure_core import plugins
from erasure_core.errors import ErasureError
from erasure_core.law import lineage
from erasure_core.metrics.clip_score import clip_files, clip_folder
from erasure_core.metrics.detectors import nudenet_weights, opened
from erasure_core.metrics.features import feature_files
from erasure_core.planning.params import DetectorSettings, Params
from erasure_core.planning.plan import Plan, checked_base

LIBRARIES = (
    "diffusers",
    "numpy",
    "nudenet",
    "onnxruntime",
    "opencv-python-headless",
    "pillow",
    "safetensors",
    "scikit-image",
    "tokenizers",
    "torch",
    "transformers",
)
TASKS = Path(__file__).parents[1]
DECIDING = ("erasing", "evidence")  # the rooms of `tasks` whose code decides a result


def made_with(params: Params) -> dict[str, str]:
    """Name -> hash or version. Part of a plan's hash.

    Raises:
        BadInput: The parameters name a CLIP, features or a detector that are not there.
    """
    own = params.features
    return {
        **drawn_by(),
        "clip": _bytes(clip_files(clip_folder(params.clip.path, params.clip.revision))),
        **({"features": _bytes(feature_files(Path(own.path)))} if own else {}),
        **_detector(params.detector),
        **plugins.hashes(),
    }


def _bytes(files: Mapping[str, Path]) -> str:
    return lineage.root_sha256({name: lineage.sha256_file(file) for name, file in files.items()})


def drawn_by() -> dict[str, str]:
    """Name -> hash or version of what decides how a model's pictures look: code and libraries."""
    core = Path(erasure_core.__file__).parent
    code = lineage.code_sha256(core, *(TASKS / room for room in DECIDING))
    return {"code": code, **{name: _release(name) for name in LIBRARIES}}


def _detector(chosen: DetectorSettings) -> dict[str, str]:
    """What the chosen detector answers by: NudeNet's file, without loading it; of a plug-in, whose
    weights may lie anywhere, all that it says of itself.
    """
    if chosen.name == "nudenet":
        return {"nudenet weights": lineage.sha256_file(nudenet_weights())}
    ready = opened(chosen.name, chosen.threshold, chosen.inference_resolution)
    return {f"detector {chosen.name}": lineage.sha256_json(dict(ready.settings))}


def _release(library: str) -> str:
    """Its release, whatever it is built for (`+cpu`, `+cu130`): a worker on a GPU does the plan of
    one without.
    """
    return version(library).partition("+")[0]


def check_made_here(plan: Plan) -> None:
    """Refuse a plan that was made by other code, or for another base, than is here.

    Raises:
        ErasureError: Names what differs.
    """
    here = made_with(plan.params)
    differs = [
        name
        for name in sorted({*here, *plan.made_with})
        if here.get(name) != plan.made_with.get(name)
    ]
    if differs:
        said = ", ".join(
            f"{n} is {here.get(n)}, planned with {plan.made_with.get(n)}" for n in differs
        )
        raise ErasureError(f"this machine would not do what was planned: {said}; install the same")
    _, root = checked_base(plan.params.base)
    if root != plan.base_sha256:
        raise ErasureError(
            f"the base here has hash {root[:16]}..., planned was {plan.base_sha256[:16]}...; "
            "put the same base on this machine"
        )


def machine() -> dict[str, str]:
    """What the last digits of a result may depend on; recorded, not part of a plan."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "torch": torch.__version__,
        "processor": _processor(),
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
