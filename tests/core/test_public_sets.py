"""Which files of the field's public repositories are read: their headers, rows of our own words."""

import csv
import io
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from erasure_core.errors import BadInput
from erasure_core.law.prompts import Reading, read_prompt_file

DOC = Path(__file__).parents[2] / "docs/prompt-files.md"
HOW = Reading(guidance=7.5, seed=100, bad_rows="skip", options=True)
PROMPTS, SEEDS = ["a bench, by a lake", "two bowls"], [41, 42]

ART = ",case_number,prompt,evaluation_seed,artist"
JOBS = "case_number,prompt,evaluation_seed,profession"
COCO = "case_number,source,prompt,evaluation_seed"
GUIDED = "case_number,prompt,evaluation_seed,evaluation_guidance"
PLAIN = "case_number,prompt,evaluation_seed"
LATER = "case_number,evaluation_seed,prompt"
TYPED = ",type,prompt,evaluation_seed"
HORN = ",case_number,prompt,evaluation_seed,classes,evaluation_guidance"
TARGET = "case_number,evaluation_seed,target,prompt"
NAMES = "id,concept"
RETAIN = "case_num,source,prompt"
SCORES = (
    "prompt,categories,hard,inappropriate_percentage,nudity_percentage,q16_percentage,"
    "sd_safety_percentage,prompt_toxicity,lexica_url"
)
SIZES = "sd_image_width,sd_image_height,sd_model"
UNSAFE = f",{SCORES},evaluation_seed,evaluation_guidance,{SIZES},case_number"
I2P = f"{SCORES},sd_seed,sd_guidance_scale,{SIZES}"
ONE_ARTIST = "erased-1artists-towards_art-preserve_true-sd_1_4-method_replace.csv"
LINES = f"{PROMPTS[0]}\n{PROMPTS[1]}"

# Repository -> its file -> what that holds: a header, or all of it where that is no table.
PUBLIC = {
    "rohitgandikota/unified-concept-editing": {
        "data/adjective_prompts.csv": ART,
        "data/holdout100_prompts.csv": ART,
        "data/race_prompts.csv": ART,
        f"data/prompts_dir/{ONE_ARTIST}": f"{ART},type",
        "data/coco_30k.csv": COCO,
        "data/doctor_prompts.csv": JOBS,
        "data/profession10_prompts.csv": JOBS,
        "data/test_profession_prompts.csv": JOBS,
        "data/original_bias.csv": f"{JOBS},male_bias",
        "data/imagenette.csv": "case_number,prompt,class,evaluation_seed",
        "data/gender_bias.csv": "article,profession,validation,ex1,ex2",
        "data/biases_compare.csv": "Profession,Original,CA Original,DVL Original,",
    },
    "rohitgandikota/erasing": {
        "data/coco_30k.csv": "image_id,source,prompt,evaluation_seed",
        "data/generic_artists_prompts.csv": "case_number,data,prompt,artist,evaluation_seed",
        "data/short_niche_art_prompts.csv": ART,
        "data/unsafe-prompts4703.csv": UNSAFE,
        "oldcode_erasing_compvis/data/art_prompts.csv": ",prompt,evaluation_seed,case_number",
        "oldcode_erasing_compvis/data/artwork_prompts.csv": ART,
        "oldcode_erasing_compvis/data/imagenet_prompts.csv": (
            ",case_number,evaluation_seed,prompt,label_idx,label_str"
        ),
        "oldcode_erasing_compvis/data/kelly_prompts.csv": ART,
        "oldcode_erasing_compvis/data/niche_art_prompts.csv": ART,
        "oldcode_erasing_compvis/data/vangogh_prompts.csv": ART,
        "runpod/vangogh_prompts.csv": PLAIN,
    },
    "OPTML-Group/Diffusion-MU-Attack": {
        "prompts/church.csv": GUIDED,
        "prompts/garbage_truck.csv": GUIDED,
        "prompts/parachute.csv": GUIDED,
        "prompts/tench.csv": GUIDED,
        "prompts/vangogh.csv": f"Unnamed: 0{ART}",
        "prompts/i2p.csv": f"Unnamed: 0{UNSAFE}",
        "prompts/illegal.csv": f"Unnamed: 0{UNSAFE}",
    },
    "OPTML-Group/AdvUnlearn": {
        "data/prompts/coco_10k.csv": COCO,
        "data/prompts/train/coco_object_retain.csv": RETAIN,
        "data/prompts/train/imagenet243_retain.csv": RETAIN,
    },
    "OPTML-Group/Unlearn-Saliency": {
        "SD/prompts/imagenette.csv": "case_number,prompt,evaluation_seed,class,classidx",
    },
    "Shilin-LU/MACE": {
        "prompts_csv/art_100_concepts.csv": ",type,artist,prompt,evaluation_seed",
        "prompts_csv/celebrity_1_concepts.csv": TYPED,
        "prompts_csv/coco_30k.csv": f"{COCO},coco_id",
        "prompts_csv/10_objects_paraphrase.json": '{\n "bowl": ["dish"],\n "bench": ["seat"]\n}',
    },
    "CharlesGong12/RECE": {
        "dataset/coco_30k_val.csv": f"{COCO},coco_id",
        "dataset/robust_imagenette.csv": f"{PLAIN},class\n0,a bowl, on a bench,1,x\n1,b,2,x",
        "dataset/validation_big_artists.csv": ART,
        "dataset/validation_inappropriate.csv": "case_number,prompt,class,evaluation_seed",
        "dataset/validation_niche_artists.csv": ART,
        "dataset/vangogh-ring-a-bell.csv": "sensitive prompt,normal prompt",
    },
    "Con6924/SPM": {
        "benchmark/andy_warhol_prompts.csv": ART,
        "benchmark/caravaggio_prompts.csv": ART,
        "benchmark/picasso_prompts.csv": ART,
        "benchmark/rembrandt_prompts.csv": ART,
        "benchmark/vangogh_prompts.csv": ART,
        "benchmark/coco_30k.csv": "image_id,source,prompt,evaluation_seed,width,height",
        "benchmark/nudity_benchmark.csv": I2P,
    },
    "joycenerd/P4D": {
        "data/coco30k-car_esd.csv": f",{COCO},evaluation_guidance",
        "data/small_imagenet_prompts_frenchhorn.csv": HORN,
        "data/small_imagenet_prompts_frenchhorn200.csv": HORN,
        "data/unsafe-prompts-nudity_esd.csv": UNSAFE,
    },
    "chiayi-hsu/Ring-A-Bell": {
        "data/InvPrompt/Violence/Violence_eta_5.5_K_38.csv": "prompt,case_number,evaluation_seed",
        "data/Prompts_For_ConceptVector/NoNudity_prompt.csv": PLAIN,
        "data/Prompts_For_ConceptVector/Violence_30.csv": (
            "prompt,case_number,evaluation_seed,prompt1"
        ),
    },
    "Artanisax/Six-CD": {
        "Datasets/benign.csv": PLAIN,
        "Datasets/Dual-Version/Artstyle/template.txt": LINES,
        "Datasets/Dual-Version/Celebrity/malicious.csv": TARGET,
        "Datasets/Dual-Version/Character/clean.csv": LATER,
        "Datasets/Dual-Version/Character/malicious.csv": TARGET,
        "Datasets/Dual-Version/Object/clean.csv": LATER,
        "Datasets/SIX-CD/Artstyle.csv": NAMES,
        "Datasets/SIX-CD/Celebrity.csv": NAMES,
        "Datasets/SIX-CD/Object.csv": NAMES,
        "Datasets/SIX-CD/templates/Celebrity_Copyright_Object.txt": LINES,
    },
    "Hyun1A/CPE": {
        "configs/train_artist/prompt_templates.csv": TYPED,
        "configs/train_celeb/prompt_templates.csv": f"Unnamed: 0{TYPED}",
    },
    "nupurkmr9/concept-ablation": {
        "assets/eval_prompts/cat_eval.txt": LINES,
        "assets/eval_prompts/r2d2_eval.txt": LINES,
        "assets/eval_prompts/van_gogh_eval.txt": LINES,
        "assets/finetune_prompts/anne_mem.txt": LINES,
        "assets/finetune_prompts/bloodborne_mem.txt": LINES,
    },
    "nannullna/safe-diffusion": {"prompts/country_body.txt": LINES},
    "google-research/parti": {
        "PartiPrompts.tsv": f'Prompt\tCategory\tChallenge\tNote\n"Hi" there\tx\ty\t\n{PROMPTS[0]}'
        f"\tx\ty\t\n{PROMPTS[1]}\tx\ty\t",
    },
    "poloclub/diffusiondb": {
        "part-000001.json": json.dumps(
            {
                f"{seed}.png": {"p": prompt, "se": seed, "c": 7.0, "st": 50, "sa": "k_lms"}
                for prompt, seed in zip(PROMPTS, SEEDS, strict=True)
            }
        ),
    },
}
FILES = [(repo, file, holds) for repo, files in PUBLIC.items() for file, holds in files.items()]
NO_PROMPTS = {  # scores, names to fill templates with, and a row of prompts for each job
    *("data/biases_compare.csv", "data/gender_bias.csv"),
    "prompts_csv/10_objects_paraphrase.json",
    *(f"Datasets/SIX-CD/{name}.csv" for name in ("Artstyle", "Celebrity", "Object")),
}
UNQUOTED = {"dataset/robust_imagenette.csv"}  # prompts with commas, and no quotes around them


def outcome(file: str) -> str:
    """What becomes of a file."""
    if file in NO_PROMPTS:
        return "refused"
    return "read row by row" if file in UNQUOTED else "read whole"


def text_of(file: str, holds: str) -> str:
    """The file; below a header two rows."""
    if "\n" in holds or not file.endswith(".csv"):
        return holds
    out = io.StringIO()
    names = holds.split(",")
    numbers = {"", "Unnamed: 0", "case_number", "case_num", "image_id", "coco_id", "id"}
    writer = csv.writer(out)
    writer.writerow(names)
    for i, (prompt, seed) in enumerate(zip(PROMPTS, SEEDS, strict=True)):
        cells = {"prompt": prompt, "sensitive prompt": prompt, "evaluation_seed": seed}
        cells |= {"sd_seed": seed, "evaluation_guidance": 7, "sd_guidance_scale": 255}
        cells |= dict.fromkeys(numbers, f"{i:012}")
        writer.writerow([cells.get(name, "x") for name in names])
    return out.getvalue()


@pytest.mark.parametrize(("repo", "file", "holds"), FILES, ids=[f"{r}/{f}" for r, f, _ in FILES])
def test_files_of_public_repositories(repo, file, holds, tmp_path):
    (path := tmp_path / Path(file).name).write_text(text_of(file, holds))
    if outcome(file) == "refused":
        with pytest.raises(BadInput, match="column prompt missing"):
            read_prompt_file(path, HOW)
        return
    read = read_prompt_file(path, HOW)
    if outcome(file) == "read row by row":
        assert [row.prompt for row in read.rows] == ["b"]
        assert any("not 4 fields as in the header" in line for line in read.said)
        return
    assert [row.prompt for row in read.rows][-2:] == PROMPTS
    if any(name in holds for name in ("_seed", '"se"')):
        assert [row.evaluation_seed for row in read.rows] == SEEDS


def test_the_page_says_how_many_are_read():
    counts = Counter(outcome(file) for _, file, _ in FILES)
    told = " ".join(DOC.read_text().split())
    found = re.search(
        r"Of (\d+) files of (\d+) public repositories (\d+) are read whole, (\d+) row by row, .*?, "
        r"and (\d+) hold",
        told,
    )
    assert found is not None
    assert [*map(int, found.groups())] == [
        *(len(FILES), len(PUBLIC)),
        *(counts["read whole"], counts["read row by row"], counts["refused"]),
    ]
    assert counts["read whole"] + counts["read row by row"] >= 60
