"""The runs behind docs/claim.md and docs/beyond.md, wave by wave, into outputs/studies; a stored run is not made again.

    python benchmarks/waves.py claim --data brain_mri lung_ct chest_xray --weights FOLDER
    python benchmarks/waves.py beyond --data brain_mri lung_ct chest_xray --weights FOLDER
    python docs/findings.py outputs/studies/claim outputs/studies/beyond

One run takes 5 to 60 s on a core. Waves are ordered by what they answer: stop whenever the time is up.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dmws_lite as dm

MOBILENET = ("mobilenetv1_100", "mobilenetv1_050")
LITE = {"teacher": "tf_efficientnet_lite0", "student": "efficientnet_lite0_050"}  # weights: dmws-lite[imagenet]
PHANTOMS = ["phantom_chest_xray", "phantom_lung_ct", "phantom_brain_mri"]
MAIN = ["weight_selection", "single_skd", "dual_skd"]
STARTS = ["weight_selection", "selection_ls", "projection_ls", "default"]
EQUAL_TO_SKD, EQUAL_TO_LS = (f"single selection for as many seconds as {start}" for start in ("SKD", "+ least squares"))


def claim(pairs: list[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """Waves of docs/claim_design.md: 42 pairs each, 300 steps where no other number is named."""
    variants = [method for method in dm.read_study("claim").methods if not isinstance(method, str)]
    smoother, _, *readings = variants
    longer = selected("longer", EQUAL_TO_SKD, steps=400)
    for methods, fraction in (
        (MAIN, 0.1),
        (["weight_selection", "ema_of_main", smoother, longer], 0.1),
        (["weight_selection", "mimetic", "xavier"], 0.1),
        (MAIN, 0.01),
        (["weight_selection", "dual_skd", *readings], 0.1),
        (["weight_selection", "dual_skd", *readings], 0.01),
        (MAIN, 0.05),
        (MAIN, 1.0),
    ):
        yield {"methods": methods, "fractions": [fraction], "seeds": 14, "training": {"steps": 300}}
    for changes in ({"pairs": pairs}, {"data": PHANTOMS}, {"pairs": [LITE]}):
        yield {"methods": MAIN, "fractions": [0.1], "seeds": 14, "training": {"steps": 300}, **changes}
    yield {"methods": MAIN, "fractions": [0.1], "seeds": 14, "training": {"steps": 600}}
    norm: dict[str, Any] = {"name": "norm_per_batch", "label": "dual + SKD, BatchNorm measured on each batch"}
    norm |= {"of": "dual_skd", "skd": {"auxiliary_norm": "batch"}}
    for pair in (LITE, *pairs):
        methods = ["dual_skd", norm]
        yield {"methods": methods, "fractions": [0.1], "seeds": 14, "training": {"steps": 300}, "pairs": [pair]}
    for steps in (1200, 2400):
        yield {"methods": MAIN, "fractions": [0.01], "seeds": 14, "training": {"steps": steps}}


def beyond(pairs: list[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """Starts by steps and by fraction, those that select and train for as many seconds, and a second student."""
    short, vit, mobilenet = (selected("equal_time", EQUAL_TO_LS, steps=steps) for steps in (45, 120, 150))
    yield {"methods": [*STARTS, "projection", "mimetic", "xavier", vit, "full_teacher"], "seeds": 5}
    yield {"methods": [*STARTS, short], "training": {"steps": 25}}
    yield {"methods": STARTS, "training": {"steps": 300}}
    yield {"methods": STARTS[:3], "training": {"steps": 1000}}
    yield {"methods": STARTS[:3], "fractions": [0.01, 0.05, 1.0]}
    yield {"methods": ["weight_selection", "selection_ls", "default", "native", mobilenet], "pairs": pairs, "seeds": 5}
    yield {"methods": ["weight_selection", "selection_ls"], "pairs": pairs, "fractions": [0.01, 0.05, 1.0]}
    for steps in (25, 300):
        yield {"methods": ["weight_selection", "selection_ls"], "pairs": pairs, "training": {"steps": steps}}
    yield {"methods": STARTS, "data": PHANTOMS}
    yield {"name": "two_students"}


def selected(name: str, label: str, **training: float) -> dict[str, Any]:
    """Single selection that trains in another way; at equal time: benchmarks/compensation.py has how many steps."""
    return {"name": name, "label": label, "of": "weight_selection", "training": training}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=("claim", "beyond"))
    parser.add_argument("--data", nargs="+", default=["phantom_chest_xray"], help="names of cards, or folders")
    weights = "folder of mobilenetv1_*.safetensors: `beyond` needs it, `claim` can do with timm's hub"
    parser.add_argument("--weights", type=Path, help=weights)
    options = parser.parse_args()
    pair = dict(zip(("teacher", "student"), MOBILENET, strict=True))
    if options.weights:
        files = (str(options.weights / f"{name}.safetensors") for name in MOBILENET)
        pair |= dict(zip(("weights", "native_weights"), files, strict=True))
    for wave in {"claim": claim, "beyond": beyond}[options.study]([pair]):
        study = dm.read_study(wave.pop("name", options.study), **{"data": options.data} | wave)
        dm.run_study(study, Path("outputs/studies") / options.study)


if __name__ == "__main__":
    main()
