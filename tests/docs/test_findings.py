"""The pages of findings: verdicts, waves and convergence of made-up runs with known differences."""

import itertools

import claim_page
import evidence
import findings
import numpy as np
import pandas as pd
import pytest

from dmws_lite.studies.run import METRICS, Outcome
from dmws_lite.studies.store import Store

SETS, SEEDS, WAVES = ("brain_mri", "chest_xray", "lung_ct"), 14, ((0, 300), (0.012, 600))  # a wave: gain and steps
LABELS = {"weight_selection": "single selection", "single_skd": "single + SKD", "dual_skd": "dual + SKD"}


def runs(gains, sets=SETS, seeds=SEEDS, spread=0.005, rise=0.0, steps=300, **names):
    """Runs that differ from 0.7 by their method's gain, and by ± spread in how much: as `findings.collect` gives."""
    every = {"pair": "t → s", "fraction": 0.1, "study_steps": steps, "steps": steps, "size": 64, "budget": "b"}
    every |= {"settings": "s", "weights": "w", "seconds": 12.0, "hours": 0.01, "ensemble_accuracy": None, "error": None}
    every |= {"curve_seconds": np.arange(11.0), "bin_images": np.full(15, 99.0), "bin_confidence": np.full(15, 80.0)}
    every |= {"curve_accuracy": np.linspace(0.6, 0.6 + 10 * rise, 11)}  # each three are 3 * rise above those before
    every |= {"bin_right": np.full(15, 70.0), **names}
    rows = []
    for i, (method, gain) in enumerate(gains.items()):
        for data, seed in itertools.product(sets, range(seeds)):
            accuracy = 0.7 + gain + spread * i * np.linspace(-1, 1, seeds)[seed]
            row = {"method": method, "label": LABELS.get(method, method), "data": data, "data_id": data, "seed": seed}
            key = f"{method}{data}{seed}{every['fraction']}{steps}"
            rows.append(every | dict.fromkeys((*METRICS, "val_accuracy"), accuracy) | row | {"key": key})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("gain", "spread", "verdict"),
    [(0.03, 0.005, "shown"), (-0.03, 0.005, "shown"), (0.002, 0.02, "equivalent"), (0.012, 0.08, "not shown")],
)
def test_known_differences_get_their_verdict_and_number(gain, spread, verdict):
    table = runs({"weight_selection": 0, "single_skd": gain}, spread=spread)
    (row,) = evidence.compare(table, [("single_skd", "weight_selection")], claim_page.WAVE).to_dict("records")
    assert (row["verdict"], row["seeds"]) == (verdict, 42) and row["difference"] == pytest.approx(gain)
    assert row["low"] < gain < row["high"]


def test_comparisons_of_one_question_are_corrected_together_on_the_page_and_in_the_readme():
    table = runs({"weight_selection": 0, "single_skd": 0.004, "dual_skd": 0.009}, spread=0.02)
    rows = evidence.compare(table, claim_page.PRIMARY, claim_page.WAVE)
    assert list(rows["reference_method"]) == ["single_skd", "weight_selection"]
    assert rows["p_holm"].min() == pytest.approx(min(1, 2 * rows["p"].min()))
    assert evidence.compare(table, claim_page.PRIMARY[1:], claim_page.WAVE)["p_holm"].iloc[0] == rows["p"].iloc[1]
    table = runs({**dict.fromkeys(LABELS, 0), "longer": 0.022, "smoother": 0}, spread=0.1)
    (alone,) = evidence.compare(table, [("dual_skd", "longer")], claim_page.WAVE).to_dict("records")
    by_name = {line.name: line.sentence for line in claim_page.headlines(table)}
    assert alone["verdict"] == "shown" and "**not shown**" in by_name["SKD against longer training, 300 steps"]
    assert by_name["SKD against label smoothing, 300 steps"] == ""
    waves = [runs({"weight_selection": 0, "single_skd": g, "dual_skd": g}, spread=0.05, steps=n) for g, n in WAVES]
    assert "higher** in its wave; corrected over the 4" in claim_page.headlines(pd.concat(waves))[-1].sentence


def test_a_wave_counts_when_three_sets_have_all_their_seeds():
    table = runs({"weight_selection": 0, "single_skd": 0.03})
    pair = "single_skd", "weight_selection"
    short = table.drop(table[table["seed"].eq(13) & table["data"].eq("lung_ct")].index)
    assert evidence.compare(short, [pair], claim_page.WAVE).empty
    more = pd.concat([table, runs({"weight_selection": 0, "single_skd": 0.9}, sets=("fourth",), seeds=5)])
    assert evidence.compare(more, [pair], claim_page.WAVE)["seeds"].tolist() == [42]
    other = pd.concat([table, runs({"weight_selection": 0, "single_skd": 0.05}, fraction=0.01)])
    row = evidence.compare(other, [pair], claim_page.WAVE).iloc[0]
    assert (row["seeds"], row["blocks"]) == (42, 2) and row["difference"] == pytest.approx(0.04)


def test_a_group_has_converged_when_six_evaluations_move_less_than_half_a_point():
    tables = {rise: evidence.converged(runs({"a": 0}, rise=rise)) for rise in (0.001, 0.002)}
    assert tables[0.001]["converged"].all() and not tables[0.002]["converged"].any()
    assert tables[0.002]["change"].to_numpy() == pytest.approx(0.006) and set(tables[0.001]["runs"]) == {SEEDS}
    assert not evidence.converged(runs({"a": 0}).assign(curve_accuracy=[np.ones(5)] * 42))["converged"].any()


def test_the_pages_and_the_readme_say_what_the_runs_show(tmp_path):
    claim = runs({"weight_selection": 0, "single_skd": 0.03, "dual_skd": 0.03})
    failed = claim.tail(1).assign(key="failed", method="xavier", error="out of memory")
    short = runs({"weight_selection": 0, "single_skd": 0.5}, seeds=3, steps=600)
    few = [runs({"weight_selection": 0.01 * n}, fraction=0.01, rise=0.002, steps=300 + n) for n in (0, 2)]
    gains = {"weight_selection": 0, "equal_time": 0.01, "selection_ls": 0.05}
    two = runs({"dual_skd": 0.02, "dual_skd_ls": 0.055}, seeds=3, steps=100)
    beyond = [runs(gains, seeds=3, steps=100), two.assign(ensemble_accuracy=two["accuracy"] + 0.01)]
    beyond.append(runs({"weight_selection": 0, "selection_ls": 0.0}, seeds=3, steps=300))
    pd.concat([claim, failed, short, *few, runs({"ema_of_main": 0.5}, seeds=3)]).to_parquet(tmp_path / "claim.parquet")
    pd.concat(beyond).to_parquet(tmp_path / "beyond.parquet")
    (tmp_path / "README.md").write_text("before\n<!-- findings -->\nold\n<!-- end of findings -->\nafter\n")
    assert findings.main(["--records", str(tmp_path), "--out", str(tmp_path)]) == 0
    page = (tmp_path / "docs" / "claim.md").read_text()
    assert "**Shown.** single + SKD is above single selection: accuracy +0.030" in page
    assert "**Equivalent.** dual + SKD is" in page and "single + SKD: accuracy +0.000" in page
    assert "1 failed (out of memory)" in page and "0.500" not in page and "600 steps\n" not in page
    assert page.count("- Not run with this number of steps.") == 1 and "9 of 15 groups have" in page
    assert f"Not answered yet: `dual_skd` {evidence.MINUS} `ema_of_main` has 9 of 42 pairs" in page
    assert "| SKD, given selection | +0.030 [" in page.partition("## Real images")[0]
    assert "add to test accuracy (1 % of the images): single selection +0.020 [" in page and "600 steps in" not in page
    assert "real | 1 % | 302 | 3 | 0 | +0.006 [+0.006, +0.006]" in page and "9 | 9: brain_mri: single sel" in page
    page = (tmp_path / "docs" / "beyond.md").read_text()
    assert "+0.050 [" in page and "+0.040 [" in page and "Its interval holds 0 at 300 steps" in page
    assert "### With longer training" in page and "### With more images" not in page
    assert "SKD, second subset | both at inference | +0.030 [" in page
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("before\n") and readme.endswith("after\n") and "old" not in readme
    assert "**shown to be higher**" in readme and "](docs/findings/overview.png)" in readme
    pictures = list((tmp_path / "docs" / "findings").glob("*.png"))
    assert len(pictures) >= 6 and all(path.stat().st_size < 60_000 for path in pictures)


def test_a_store_becomes_a_small_table_of_all_its_runs(tmp_path, outcome):
    store, made = Store(tmp_path / "claim", create=True), outcome("a").record
    training = made["config"]["training"]  # of 4 steps
    config = made["config"] | {"training": training | {"steps": 6}, "evaluated": "auxiliary"}
    record = made | {"config": config, "study_training": training, "batch_size": 8}
    record |= {"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T01:00:00+00:00"}
    history = pd.DataFrame({"seconds": [0.0, 2.0], "val_accuracy": [0.1, 0.2], "auxiliary_accuracy": [0.3, 0.4]})
    answers = {"student": "main", "label": [0, 1], "predicted": 0, "probabilities": [[0.7, 0.3], [0.95, 0.05]]}
    store.add(Outcome(record, history, pd.DataFrame(answers)))
    failure = {"key": "b", "status": "failed", "error": {"type": "E", "message": "no"}}
    store.add(Outcome(record | failure, history, history))
    done, failed = findings.collect(tmp_path / "claim").to_dict("records")
    assert (done["study_steps"], done["steps"], done["hours"], failed["error"]) == (4, 6, 1.0, "no")
    assert done["curve_accuracy"] == pytest.approx([0.3, 0.4]) and done["curve_seconds"] == pytest.approx([0, 2])
    assert done["bin_images"].sum() == 2 and done["bin_right"].sum() == 1
    assert done["bin_confidence"].max() == pytest.approx(0.95) and len(done["bin_images"]) == 15
    folders = ["--records", str(tmp_path), "--out", str(tmp_path)]
    findings.collect(tmp_path / "claim").assign(key=["c", "d"], seed=1).to_parquet(tmp_path / "claim.parquet")
    assert findings.main([str(store.folder), *folders]) == 0
    assert set(pd.read_parquet(tmp_path / "claim.parquet")["key"]) == {"a", "b", "c"}  # a recorded failure goes
    with pytest.raises(SystemExit):
        findings.main([str(tmp_path / "none"), *folders])
