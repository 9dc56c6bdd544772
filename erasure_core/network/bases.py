"""What a base is: the files that its pipeline is loaded from, and nothing that lies beside them.

A published folder holds more: a single-file checkpoint, variants of its weights, pickles, a safety
checker, a README, what a download tool or a desktop left. None of it is hashed, loaded or released.
`load_teacher` reads a base through `as_loaded`, where only these files are: the list and the loader
cannot disagree.
"""

import json
import re
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from erasure_core.errors import BadInput
from erasure_core.files import MIB, pretty_json, read_input
from erasure_core.law import lineage

CONFIG_BYTES = 16 * MIB  # far above any real one
INDEX = "model_index.json"
CONFIG = "config.json"
PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
# Makes safetensors of pickles, of their tensors. Every class but torch's is an empty stand-in,
# so that what a trainer left beside them ("callbacks") needs no library of its own.
ONCE = (
    "import sys, pickle, types, torch; from safetensors.torch import save_file; "
    "empty = dict.fromkeys(('__init__', '__setstate__', '__setitem__', 'append'), "
    "lambda *a, **k: None); "
    "find = lambda self, module, name: pickle.Unpickler.find_class(self, module, name) "
    "if module.partition('.')[0] in ('torch', 'collections') else type(name, (), dict(empty)); "
    "how = types.ModuleType('how'); how.load = pickle.load; "
    "how.Unpickler = type('Unpickler', (pickle.Unpickler,), {'find_class': find}); "
    "held = [torch.load(f, map_location='cpu', weights_only=False, pickle_module=how) "
    "for f in sys.argv[1:-1]]; "
    "save_file({n: t.contiguous().clone() for one in held "
    "for n, t in one.get('state_dict', one).items() if isinstance(t, torch.Tensor)}, "
    "sys.argv[-1], {'format': 'pt'})"
)
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
SETTINGS = {  # part -> what is read of it beside weights; a part that is not here is never loaded
    "unet": (CONFIG,),
    "vae": (CONFIG,),
    "text_encoder": (CONFIG,),
    "text_encoder_2": (CONFIG,),
    "tokenizer": TOKENIZER,
    "tokenizer_2": TOKENIZER,
    "scheduler": ("scheduler_config.json",),
}
# "sd_xl_turbo_1.0", "v40 lightning", "Hyper-SDXL"; not "hyper realistic"
FEW_STEPS = re.compile(
    r"turbo|lightning|(?<![a-z])(?:lcm|tcd|hyper|dmd|sdxs)(?=v?\d|[^a-z]|$)(?!\W*real)"
)
# Empty tensors by which ComfyUI and AUTOMATIC1111 know that an XL network in one file predicts a
# velocity, and that its last timestep has no signal left.
VELOCITY_MARKER, ZERO_SNR_MARKER = "v_pred", "ztsnr"
HALF = ".fp16"  # in the names of weights in half precision
UNET_WEIGHTS = "diffusion_pytorch_model.safetensors"
WEIGHTS = {  # part -> its weights, as diffusers and transformers call them
    "unet": UNET_WEIGHTS,
    "vae": UNET_WEIGHTS,
    "text_encoder": "model.safetensors",
    "text_encoder_2": "model.safetensors",
}


def read_json(file: Path) -> dict[str, Any]:
    """The settings in a file of a base.

    Raises:
        BadInput: No readable JSON, or not a mapping.
    """
    try:
        settings = json.loads(read_input(file, CONFIG_BYTES))
    except (BadInput, ValueError, RecursionError) as fault:
        raise BadInput(f"{file} is no readable JSON ({fault}); restore the base") from fault
    if not isinstance(settings, dict):
        raise BadInput(
            f"{file} holds {type(settings).__name__}, not the settings of a model; restore the base"
        )
    return settings


def distilled(how: str) -> str:
    """Why a network that was distilled is refused, and what to do."""
    return (
        f"its network was distilled {how}, and says nothing of the many guided steps by which "
        f"concepts are erased and measured here; erase from the model that it was distilled from"
    )


def quantised(how: str) -> str:
    """Why quantised weights are refused, and what to do."""
    return (
        f"its weights are quantised ({how}): what they stand for is in scales beside them, which "
        f"nobody reads here; erase from the weights in float32, bf16 or fp16 that they were made of"
    )


def called_distilled(text: str) -> str | None:
    """The word by which a name or a title says that a network was distilled to a few steps."""
    found = FEW_STEPS.search(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).lower())
    return found[0] if found else None


def loaded_files(folder: Path) -> dict[str, Path]:
    """Relative path -> file of everything that loading the base in `folder` reads, sorted by path.

    Raises:
        BadInput: A part that `model_index.json` names is not there in a form that may be loaded.
    """
    files = {INDEX: folder / INDEX}
    for part in sorted(named_parts(read_json(folder / INDEX)) & SETTINGS.keys()):
        names = [name for name in SETTINGS[part] if (folder / part / name).is_file()]
        if part in WEIGHTS:
            names += _weights(folder / part, WEIGHTS[part])
        if not names:
            raise BadInput(
                f"{folder / part} holds nothing that may be loaded, and {INDEX} names it; "
                f"complete the base first"
            )
        files |= {f"{part}/{name}": folder / part / name for name in names}
    return dict(sorted(files.items()))


def beside_unet_weights(folder: Path) -> dict[str, Path]:
    """The loaded files that an erased model has in common with its base."""
    return {
        name: file
        for name, file in loaded_files(folder).items()
        if not name.startswith("unet/") or name == f"unet/{CONFIG}"
    }


def named_parts(index: Mapping[str, Any]) -> set[str]:
    """The parts that a `model_index.json` names and does not leave empty."""
    return {name for name, kind in index.items() if isinstance(kind, list) and any(kind)}


def _weights(folder: Path, whole: str) -> list[str]:
    """Names of the files that hold a part's weights: one, or an index and its shards. Weights in
    half precision are taken where there are no others.
    """
    whole, index = _held(folder, whole) or _forms(whole)[0]
    if (folder / whole).is_file() and (folder / index).is_file():
        raise BadInput(f"{folder} holds both {whole} and {index}; keep the one that is meant")
    if (folder / whole).is_file():
        return [whole]
    if not (folder / index).is_file():
        pickles = _pickles([file.name for file in folder.glob("*")], whole)
        how = f"; in that folder {conversion(pickles, whole)}" if pickles else ""
        raise BadInput(
            f"{folder} holds {_instead(folder)}; put plain safetensors there ({whole}), pickle is "
            f"never loaded{how}"
        )
    shards = read_json(folder / index).get("weight_map")
    names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
    if not names or any(Path(n).name != n or not n.endswith(".safetensors") for n in names):
        raise BadInput(f"{folder / index} names no safetensors files beside it; restore the base")
    if absent := [name for name in names if not (folder / name).is_file()]:
        raise BadInput(f"{folder} lacks {', '.join(absent)}, which {index} names; restore the base")
    return [index, *names]


def without_weights(folder: Path) -> list[str]:
    """The parts that `model_index.json` names and whose weights are there in no form; none where
    the index is not there.
    """
    if not (folder / INDEX).is_file():
        return []
    named = sorted(named_parts(read_json(folder / INDEX)) & WEIGHTS.keys())
    return [part for part in named if _held(folder / part, WEIGHTS[part]) is None]


def _held(folder: Path, whole: str) -> tuple[str, str] | None:
    """The first form in which a part's weights are there: names of the file and of an index."""
    forms = _forms(whole)
    return next((form for form in forms if any((folder / n).is_file() for n in form)), None)


def _forms(whole: str) -> tuple[tuple[str, str], ...]:
    """What weights and the index of their shards are called: plain, and in half precision."""
    half = whole.replace(".safetensors", f"{HALF}.safetensors")
    return (whole, f"{whole}.index.json"), (half, f"{whole}.index{HALF}.json")


def conversion(pickles: Sequence[str], target: str) -> str:
    """What makes one safetensors file of a pickle or of its shards, for people: nothing here opens
    them.
    """
    return (
        f'convert it on a machine that may be lost: python -c "{ONCE}" '
        f"{shlex.join([*pickles, target])}"
    )


def only_pickled(names: Iterable[str], parts: Iterable[str]) -> dict[str, list[str]]:
    """Of the paths in a published folder: the pickles of each of `parts` that has some, by the
    path of the weights that would be read in their place.
    """
    of_parts = {
        part: [Path(n).name for n in names if Path(n).parent == Path(part)] for part in parts
    }
    found = {part: _pickles(inside, WEIGHTS[part]) for part, inside in of_parts.items()}
    return {f"{p}/{WEIGHTS[p]}": [f"{p}/{n}" for n in some] for p, some in found.items() if some}


def _pickles(names: Iterable[str], whole: str) -> list[str]:
    """Of the files of a part those that hold its weights as a pickle, one or its shards."""
    stem = re.escape(f"{'pytorch_' if whole.startswith('model') else ''}{Path(whole).stem}")
    shards = r"-\d+-of-\d+"
    some = sorted(names)
    return [n for n in some if re.fullmatch(rf"{stem}\.bin", n)] or [
        n for n in some if re.fullmatch(rf"{stem}{shards}\.bin", n)
    ]


def _instead(folder: Path) -> str:
    """What weights there are that cannot be loaded, for people."""
    others = [f.name for f in sorted(folder.glob("*")) if f.suffix in (*PICKLED, ".safetensors")]
    safe = all(name.endswith(".safetensors") for name in others)
    kind = "variants" if safe else "pickle weights"
    return f"only {kind} ({', '.join(others)})" if others else "no weights"


def manifest(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file that loading reads."""
    return lineage.hashed(loaded_files(folder))


def root(folder: Path) -> str:
    """The content hash of a base: of the files that are loaded, whatever lies beside them."""
    return lineage.root_sha256(manifest(folder))


def lay_out(files: Mapping[str, Path], target: Path, place: Callable[[Path, Path], object]) -> None:
    """Put loaded files below `target`, each by `place(source, target)`, so that plain diffusers
    loads the result: `model_index.json` is written without the parts that are never loaded, and a
    variant has the plain name.
    """
    for variant, source in files.items():
        name = _plain(variant)
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if name == INDEX and (index := _without_unread(source)):
            (target / name).write_text(index, encoding="utf-8")
        else:
            place(source, target / name)


def _plain(variant: str) -> str:
    """The path of a loaded file with its plain name. Shards keep theirs: their index says them."""
    part, _, name = variant.partition("/")
    if part not in WEIGHTS:
        return variant
    plain, half = _forms(WEIGHTS[part])
    return f"{part}/{dict(zip(half, plain, strict=True)).get(name, name)}"


def _without_unread(file: Path) -> str | None:
    """The text of `model_index.json` with null for each part that is never loaded; None if it names
    no such part.
    """
    index = read_json(file)
    unread = named_parts(index) - SETTINGS.keys()
    checked = {"requires_safety_checker": False} if "safety_checker" in unread else {}
    left = {**index, **{part: [None, None] for part in unread}, **checked}
    return pretty_json(left) if unread else None


@contextmanager
def as_loaded(folder: Path) -> Iterator[Path]:
    """A temporary folder of links in which exactly the loaded files of `folder` are."""
    with tempfile.TemporaryDirectory(prefix="erasure-base-") as view:
        lay_out(
            loaded_files(folder), Path(view), lambda file, link: link.symlink_to(file.absolute())
        )
        yield Path(view)
