"""How long an explorer takes to redraw at a move: prints a table and writes it to benchmarks/explorers.md.

Run it on an idle machine: python benchmarks/explorers.py
"""

import os
import platform
import time
from pathlib import Path

import ipywidgets
import numpy as np
import pandas as pd

import dmws_lite as dm
from dmws_lite.views.widgets import explorers as room

MOVES = 6  # values that each control is moved to


def study() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"data": data, "fraction": share, "method": f"m{k}", "label": f"method {k}", "seed": seed}
        | {"accuracy": 0.5 + 0.03 * k + 0.05 * rng.random(), "ece": 0.2 * rng.random()}
        for data in ("chest_xray", "lung_ct", "brain_mri")
        for share in (0.1, 1.0)
        for k in range(7)
        for seed in range(5)
    )


def explorers() -> dict[str, ipywidgets.VBox]:
    images = dm.phantoms("chest_xray", train=3, val=3, test=30).test
    rng, names = np.random.default_rng(0), ("teacher", "main", "auxiliary")
    probabilities = {name: rng.dirichlet(np.ones(3), len(images)) for name in names}
    maps, masks = {name: rng.random((30, 8, 8)) for name in names}, rng.random((30, 64, 64)) > 1
    masks[:, 20:30, 40:50] = True
    return {
        "selection_explorer": dm.widgets.selection_explorer(),
        "soft_target_explorer": dm.widgets.soft_target_explorer(),
        "ema_explorer": dm.widgets.ema_explorer(),
        "results_explorer": dm.widgets.results_explorer(study()),
        "image_inspector": dm.widgets.image_inspector(images, probabilities, maps, masks),
    }


def values(control: ipywidgets.DOMWidget) -> list:
    if isinstance(control, ipywidgets.SelectMultiple):
        return [control.value[:2], control.value]
    if isinstance(control, ipywidgets.Dropdown):
        return [value if control._options_full else None for _, value in control._options_full][1 : MOVES + 1]
    return np.linspace(control.min, control.max, MOVES).astype(type(control.value)).tolist()


def moves(box: ipywidgets.VBox) -> np.ndarray:
    """Milliseconds (move, clock and CPU) of each move that drew a picture; each control goes back to where it was."""
    taken, view = [], box.children[1]
    for control in box.children[0].children:
        before = control.value
        for value in [*values(control), before]:
            old, clock, cpu = view.value, time.perf_counter(), time.process_time()
            control.value = value
            if view.value != old and "<img" in view.value:
                taken.append((time.perf_counter() - clock, time.process_time() - cpu))
    return 1000 * np.array(taken)


def main() -> None:
    boxes = explorers()
    for pair in room.PAIRS:  # the first visit of a pair also makes its plans
        room.tensors_of(pair)
    rows = {}
    for name, box in boxes.items():
        room.selection_page.cache_clear()
        taken = moves(box)
        (median, median_cpu), (worst, worst_cpu) = np.median(taken, axis=0), taken.max(0)
        rows[name] = {"moves": len(taken), "median (ms)": median, "worst (ms)": worst}
        rows[name] |= {"median CPU (ms)": median_cpu, "worst CPU (ms)": worst_cpu}
    table = pd.DataFrame(rows).T.rename_axis("explorer").round(0).astype(int).reset_index()
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in [table.columns, ["---"] * 6, *table.to_numpy()]]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    text = f"""# Explorers: from a move to its picture, in the kernel

{chr(10).join(lines)}

Every control of each explorer was moved through up to {MOVES} values ({machine}; load {os.getloadavg()[0]:.1f}). CPU is
the time that the move itself takes, whatever else the machine does. Made by `python benchmarks/explorers.py`.
"""
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
