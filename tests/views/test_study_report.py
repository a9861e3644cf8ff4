import base64
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import yaml
from markdown_it import MarkdownIt
from PIL import Image
from scipy import stats

from dmws_lite.studies.jobs import Job
from dmws_lite.studies.run import Outcome
from dmws_lite.studies.statistics import FACTORIAL, differences, image_interval
from dmws_lite.studies.store import Store
from dmws_lite.studies.study import make_study
from dmws_lite.views.picture import Picture
from dmws_lite.views.study_report import write_report

CELLS = [name for names in FACTORIAL.values() for name in names]
CLASSES = ("healthy", "ill", "odd")
STEPS = (0, 10, 20)


class Page(HTMLParser):
    """Headings, images, addresses and tables (caption -> rows of cells) of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.links, self.tables, self.headings, self.where = [], [], [], {}, [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.links += [found[key] for key in ("src", "href") if key in found]
        if tag == "img":
            self.images.append(found)
        if tag in ("caption", "td", "th", "h2"):
            self.where, self.text = tag, ""
        if tag == "tr":
            self.row = []

    def handle_data(self, data):
        if self.where:
            self.text += data

    def handle_endtag(self, tag):
        if tag == "caption":
            self.rows = self.tables.setdefault(self.text, [])
        elif tag == "h2":
            self.headings.append(self.text)
        elif tag in ("td", "th"):
            self.row.append(self.text)
        elif tag == "tr":
            self.rows.append(self.row)
        self.where = ""


def made_study(**changes):
    said = {"name": "tiny", "question": "what helps?", "data": ["brain", "lung"], "methods": CELLS}
    return make_study(**{**said, "fractions": [0.1, 1.0], "seeds": 3, "training": {"steps": 20}, **changes})


def jobs_of(study):
    return [
        Job(
            data, f"id of {data.title}", pair, "weights", fraction, name, study.resolved[name], seed,
            study.training_of(seed), study.distillation_of(study.resolved[name]), study.size, 1, "cpu",
        )
        for data, pair, fraction, seed, name in study.grid()
    ]  # fmt: skip


def outcome(job, images=37, **changes):
    """A run that nobody made: numbers drawn from its key."""
    rng = np.random.default_rng(int(job.key, 16))
    labels = np.random.default_rng(len(job.data.title)).integers(0, 3, images)
    skill = 1.0 + (job.spec.initializer == "weight_selection")
    students = ["main", "auxiliary"] if job.spec.students.get("auxiliary", "complementary") else ["main"]
    probabilities = {}
    for name in students:
        scores = rng.normal(0, 1, (images, 3)) + skill * np.eye(3)[labels]
        probabilities[name] = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    if len(students) == 2:
        probabilities["ensemble"] = sum(probabilities.values()) / 2
    metrics = {
        name: {
            "accuracy": float((p.argmax(1) == labels).mean()),
            "ece": rng.uniform(0.05, 0.2),
            "balanced_accuracy": 0.5,
        }
        | {"macro_f1": 0.5, "auroc": 0.6}
        for name, p in probabilities.items()
    }
    predictions = [
        pd.DataFrame({"student": name, "image": [f"{i}.png" for i in range(images)], "label": labels})
        .assign(predicted=probabilities[name].argmax(1))
        .assign(probabilities=list(probabilities[name].astype(np.float32)))
        for name in students
    ]
    rows = [{"step": s, "alpha": s / 40, "momentum": 0.9, "val_accuracy": 0.3 + 0.01 * s} for s in STEPS]
    history = pd.DataFrame(rows).assign(auxiliary_accuracy=0.3 if len(students) == 2 else math.nan)
    record = {
        "format": 1, "key": job.key, "status": "done", "error": None, "config": job.config(), "names": job.names,
        "fraction": job.fraction, "seed": job.seed, "size": job.size, "classes": list(CLASSES),
        "images": {"train": 100, "val": 30, "test": images}, "metrics": metrics, "val_accuracy": rng.uniform(0.4, 0.9),
        "val_loss": 1.0, "best_step": 20, "batch_size": 32, "seconds": rng.uniform(2, 9), "teacher_seconds": 0.0,
        "images_per_second": 300.0, "peak_memory_mb": 700.0,
        "cost": {"flops_per_step": 3_000_000_000, "step_memory_mb": 31.5, "parameters": 161_000, "latency_ms": 2.25},
        "versions": {"dmws-lite": "0.1.0", "torch": "2.9"}, "git": "0123456789ab",
        "machine": {"device": "cpu", "gpu": None, "processor": "x86_64, 2 cores", "platform": "Linux", "threads": 1},
        "started": f"2026-01-0{1 + job.seed}T00:00:00+00:00", "finished": f"2026-01-0{1 + job.seed}T00:01:00+00:00",
        **changes,
    }  # fmt: skip
    return Outcome(record, history, pd.concat(predictions))


def failed(job, message):
    error = {"type": "RuntimeError", "message": message, "traceback": ""}
    return Outcome({**outcome(job).record, "status": "failed", "error": error}, pd.DataFrame(), pd.DataFrame())


def filled(folder, study, outcomes):
    store = Store(folder, create=True)
    store.begin(study, jobs_of(study))
    for made in outcomes:
        store.add(made)
    return store


def read(paths):
    page, text = (path.read_text(encoding="utf-8") for path in paths)
    return Page(page), page, text


def quick_png(figure):
    figure.set_layout_engine("none")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=10)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A full study and its report, its pictures drawn small: the store, the page, its text, the Markdown."""
    folder, study = tmp_path_factory.mktemp("whole"), made_study()
    store = filled(folder / "store", study, map(outcome, jobs_of(study)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Picture, "png", quick_png)
        return store, *read(write_report(store, folder / "report"))


@pytest.fixture
def small(tmp_path):
    """A small study and its report, its pictures as they are."""
    study = made_study(methods=["default", "weight_selection"], data=["brain"], fractions=[0.1], seeds=2)
    store = filled(tmp_path / "store", study, map(outcome, jobs_of(study)))
    return store, *read(write_report(store, tmp_path / "report"))


def test_every_section_is_there_in_order(whole):
    _, page, _, text = whole
    expected = [
        "What was run", "Results", "Paired differences", "What each part contributes",
        "Fractions of the training images", "Ranks", "Cost beside accuracy", "Calibration", "Confusion",
        "The auxiliary student over time", "The methods", "How to make it again",
    ]  # fmt: skip
    assert page.headings == expected
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        name for name in ["Summary", *expected] if name != "Fractions of the training images"
    ]


def test_the_page_needs_nothing_else(whole):
    _, page, raw, _ = whole
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert not {"script", "link", "iframe", "object"} & set(page.tags) and "url(" not in raw and "@import" not in raw
    assert len(page.images) > 10 and all(len(image["alt"]) > 40 for image in page.images)
    ids = re.findall(r'id="(\w+)"', raw)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(ids) and len(ids) == len(set(ids))


def test_the_pictures_carry_their_words_and_the_same_store_gives_the_same_bytes(small, tmp_path):
    store, page, raw, text = small
    for image in page.images:
        drawn = Image.open(io.BytesIO(base64.b64decode(image["src"].split(",")[1])))
        assert drawn.text["Description"] == image["alt"] and drawn.width == 880
    _, again, text_again = read(write_report(Store(store.folder), tmp_path / "again", "tiny"))
    assert again == raw and text_again == text
    assert {path.name for path in (tmp_path / "again").iterdir()} == {"report.html", "report.md"}


def test_means_and_intervals_are_students_t(whole):
    store, page, _, _ = whole
    table = store.table("tiny")
    (head, *rows) = page.tables["brain, embedded_vit_96 → embedded_vit_48: accuracy"]
    assert head == ["method", "10 % of the training images", "100 % of the training images"]
    labels = dict(zip(table["label"], table["method"], strict=True))
    assert {row[0] for row in rows} == set(labels)
    for label, *cells in rows:
        for fraction, cell in zip((0.1, 1.0), cells, strict=True):
            own = (table["data"] == "brain") & (table["method"] == labels[label]) & (table["fraction"] == fraction)
            values = table.loc[own, "accuracy"].to_numpy()
            half = stats.t.ppf(0.975, 2) * values.std(ddof=1) / math.sqrt(3)
            low, high = values.mean() - half, values.mean() + half
            assert numbers(cell) == pytest.approx([values.mean(), low, high, 3], abs=6e-4)


def test_differences_cost_and_confusion_equal_numpy(whole):
    store, page, _, _ = whole
    table = store.table("tiny").query("data == 'lung' and fraction == 0.1")
    wide = table.pivot(index="seed", columns="label", values="accuracy")
    _, *rows = page.tables["lung, 10 %: difference to single selection"]
    assert len(rows) == 5
    corrected = differences(store.table("tiny"), "weight_selection").query("data == 'lung' and fraction == 0.1")
    for label, gap, _images, ends, counts, p, holm, effect, _detectable, n in rows:
        gaps = (wide[label] - wide["single selection"]).to_numpy()
        half = stats.t.ppf(0.975, 2) * gaps.std(ddof=1) / math.sqrt(3)
        low, high = gaps.mean() - half, gaps.mean() + half
        assert numbers(gap) == pytest.approx([gaps.mean(), low, high], abs=6e-4)
        assert numbers(ends) == pytest.approx([gaps.min(), gaps.max()], abs=6e-4)
        signs = [(gaps > 1e-9).sum(), (abs(gaps) < 1e-9).sum(), (gaps < -1e-9).sum()]
        assert counts == " / ".join(map(str, signs)) and n == "3"
        flips = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T @ gaps
        assert float(p) == pytest.approx((abs(flips) >= abs(gaps.sum()) - 1e-9).mean(), rel=0.01)
        assert float(holm) == pytest.approx(corrected.set_index("label")["p_holm"][label], rel=0.01)
        d_z = gaps.mean() / gaps.std(ddof=1) * math.sqrt(2 / 2) * math.gamma(1) / math.gamma(0.5)
        assert float(effect) == pytest.approx(d_z, abs=0.006)
    _, *costs = page.tables["lung, 10 %: cost, mean over seeds"]
    for label, accuracy, seconds, flops, *others in costs:
        own = table[table["label"] == label]
        assert float(accuracy) == pytest.approx(own["accuracy"].mean(), abs=6e-4)
        assert float(seconds) == pytest.approx(own["seconds"].mean(), rel=6e-3)
        assert [flops, *others] == ["3", "31.5", "700", "161", "2.25"]
    caption = next(name for name in page.tables if name.startswith("lung, 10 %: single selection, the reference"))
    keys = set(table.loc[table["method"] == "weight_selection", "key"])
    predicted = store.predictions("tiny")
    predicted = predicted[predicted["key"].isin(keys) & (predicted["student"] == "main")]
    _, *rows = page.tables[caption]
    counts = pd.crosstab(predicted["label"], predicted["predicted"]).reindex(
        index=range(3), columns=range(3), fill_value=0
    )
    assert [[int(cell) for cell in row[1:]] for row in rows] == counts.to_numpy().tolist()
    assert sum(map(sum, counts.to_numpy())) == 3 * 37


def test_differences_have_an_interval_over_test_images(whole, tmp_path):
    store, page, raw, _ = whole
    head, *rows = page.tables["brain, 100 %: difference to single selection"]
    assert head[1:3] == ["difference [95 %, seeds]", "[95 %, images]"] and "on other test images of the kind" in raw
    table = store.table("tiny").query("data == 'brain' and fraction == 1.0").sort_values("seed")
    mains = store.predictions("tiny").query("student == 'main'").groupby("key")
    answers = {
        label: np.stack([np.stack(mains.get_group(key)["probabilities"]) for key in runs["key"]])
        for label, runs in table.groupby("label")
    }
    truth = mains.get_group(table["key"].iloc[0])["label"].to_numpy()
    for label, gap, ends, *_ in rows:
        difference, low, high = image_interval(answers[label], answers["single selection"], truth, 1000)
        assert numbers(gap)[0] == pytest.approx(difference, abs=6e-4)
        assert numbers(ends) == pytest.approx([low, high], abs=6e-4)


def test_another_metric_has_no_interval_over_images_and_an_unknown_one_is_refused(small, tmp_path):
    store, *_ = small
    page, raw, _ = read(write_report(store, tmp_path / "ece", metric="ece"))
    head, *_rows = page.tables["brain, 10 %: difference to single selection"]
    assert "[95 %, images]" not in head and "over images" not in raw
    for metric in ("device", "auxiliary_accuracy", "f1"):
        with pytest.raises(
            ValueError, match=f"'{metric}' is none of accuracy, balanced_accuracy, macro_f1, auroc, ece"
        ):
            write_report(store, tmp_path, metric=metric)


def test_a_group_without_the_reference_has_no_differences(tmp_path, quick):
    study = made_study(methods=["default", "weight_selection"], fractions=[0.1], seeds=2)
    jobs = [job for job in jobs_of(study) if job.data.title == "brain" or job.method == "default"]
    page, *_ = read(write_report(filled(tmp_path / "s", study, map(outcome, jobs)), tmp_path))
    assert page.tables["lung, 10 %: difference to single selection"][1][1:3] == ["–", "–"]
    assert "–" not in page.tables["brain, 10 %: difference to single selection"][1][1:3]


def test_the_auxiliary_is_said_to_be_of_the_last_step(whole):
    _, page, raw, _ = whole
    head = page.tables["lung, 10 %: accuracy on the test images, mean over seeds"][0]
    assert head == ["method", "main (best on validation)", "auxiliary (last step)", "both, averaged"]
    assert "best evaluation on validation, the auxiliary that of the last step" in raw


def test_what_is_said_of_several_groups_counts_a_data_set_and_seed_once(whole):
    _, _, _, text = whole
    assert "a pair is the two methods' runs of one data set and seed, their difference averaged over" in text
    sentences = [line for line in text.splitlines() if "groups of 2 data sets together" in line]
    assert sentences and all("of 6 pairs" in line for line in sentences)


@pytest.mark.parametrize("lost", [1, 99])
@pytest.mark.parametrize("folder", ["predictions", "history"])
def test_a_report_without_some_predictions_or_histories_says_so(tmp_path, quick, folder, lost):
    study = made_study(methods=["default", "weight_selection", "dual_skd"], data=["brain"], fractions=[0.1], seeds=2)
    store = filled(tmp_path / "s", study, map(outcome, jobs_of(study)))
    gone = store.table("tiny").query("method != 'weight_selection'")["key"].tolist()[:lost]
    if lost > len(gone):
        gone = store.table("tiny")["key"].tolist()
    for key in gone:
        (store.folder / folder / f"{key}.parquet").unlink()
    page, raw, _ = read(write_report(store, tmp_path, reference="default"))
    assert f"{len(gone)} finished runs have no {folder} in the store ({gone[0]}" in raw and "run the study again" in raw
    captions = [name for name in page.tables if "images summed over" in name and "the reference" in name]
    if folder == "history":
        assert len(captions) == 1 and "over 2 seeds" in captions[0]
    elif lost == 1:
        assert "images summed over 1 seeds" in captions[0]
        _, *rows = page.tables["brain, 10 %: difference to random initialisation"]
        assert [row[2] for row in rows] == ["–", "–"]
    else:
        assert not captions and len(page.tables["brain, embedded_vit_96 → embedded_vit_48: ece"]) == 4


def test_the_factorial_is_the_difference_of_cell_means(whole):
    store, page, _, _ = whole
    table = store.table("tiny").query("data == 'brain' and fraction == 1.0")
    means = table.groupby("method")["accuracy"].mean()
    rows = {row[0]: numbers(row[1])[0] for row in page.tables["brain, 100 %: contrasts in accuracy"][1:]}
    random, selected = (means[list(names)].to_numpy() for names in FACTORIAL.values())
    assert rows["weight selection"] == pytest.approx(selected.mean() - random.mean(), abs=6e-4)
    assert rows["complementary instead of same"] == pytest.approx(
        (selected[2] + random[2] - selected[1] - random[1]) / 2, abs=6e-4
    )


def test_markdown_tables_are_tables(whole):
    _, page, _, text = whole
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert sum(token.type == "table_open" for token in tokens) == len(page.tables)
    rows = sum(token.type == "tr_open" for token in tokens)
    assert rows == sum(len(found) for found in page.tables.values())


def test_how_to_make_it_again_holds_the_study(whole):
    _, _, _, text = whole
    definition = yaml.safe_load(re.search(r"```\n(name: .*?)\n```", text, re.DOTALL)[1])
    assert make_study(**definition) == made_study()
    assert "dmws study run tiny.yaml" in text and "--reference weight_selection" in text


def test_three_seeds_are_said_not_to_show_anything(whole):
    _, _, raw, text = whole
    assert "With 3 seed(s) no p on one group is below 0.25, so that nothing can be shown there." in text
    assert "nothing was tuned" in raw and "72 of 72 runs are finished" in raw and "Warning" not in text


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(Picture, "png", quick_png)


def test_text_from_the_store_stays_text(tmp_path, quick):
    evil = "<script>alert(1)</script>|x"
    study = made_study(
        data=[{"source": "brain", "name": evil}], methods=["default", "weight_selection"], fractions=[0.1], seeds=2
    )
    first, *others = jobs_of(study)
    message = "<script>no</script> | [here](http://evil.example/x) \u202e$x$\n# head"
    page, raw, text = read(
        write_report(filled(tmp_path / "s", study, [failed(first, message), *map(outcome, others)]), tmp_path)
    )
    assert "script" not in page.tags and "<script" not in raw and "\u202e" not in raw + text
    assert page.tables["Runs that failed"][1][-1].startswith("<script>no</script> | [here]")
    without_code = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert "<script" not in without_code and r"\|x" in without_code
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inline = [child for token in tokens for child in token.children or []]
    assert not {"html_inline", "link_open"} & {child.type for child in inline}
    assert "html_block" not in {token.type for token in tokens}
    widths = [len(line.replace(r"\|", "").split("|")) for line in text.split("Runs that failed")[1].splitlines()[2:5]]
    assert widths == [9, 9, 9]


def test_a_partly_made_study_says_what_is_missing_and_what_failed(tmp_path, quick):
    study = made_study(methods=["default", "weight_selection", "dual_skd"], data=["brain"], fractions=[0.1])
    jobs = jobs_of(study)
    made = [outcome(job) for job in jobs[:5]]
    store = filled(tmp_path / "s", study, [*made, failed(jobs[5], "out of memory")])
    page, raw, _ = read(write_report(store, tmp_path))
    assert "5 of 9 runs are finished, 1 failed, 3 are missing." in raw
    assert [row[-1] for row in page.tables["Missing runs"][1:]] == ["2", "2", "2"]
    assert page.tables["Runs that failed"][1][-2:] == ["RuntimeError", "out of memory"]
    assert "Failures" in page.headings and "Ranks" not in page.headings


def test_a_reference_without_runs_leaves_the_comparison_out(tmp_path, quick):
    study = made_study(methods=["default", "weight_selection"], data=["brain"], fractions=[0.1])
    jobs = [job for job in jobs_of(study) if job.method == "default"]
    _, raw, _ = read(write_report(filled(tmp_path / "s", study, map(outcome, jobs)), tmp_path))
    assert "the reference has no finished run, so nothing is compared" in raw
    with pytest.raises(ValueError, match="reference='dual' is not in the table: choose one of default"):
        write_report(Store(tmp_path / "s"), tmp_path, reference="dual")


def test_mixed_machines_versions_and_revisions_are_warned_of(tmp_path, quick):
    study = made_study(methods=["default", "weight_selection"], data=["brain"], fractions=[0.1], seeds=2)
    first, second, *others = jobs_of(study)
    gpu = {"device": "cuda", "gpu": "NVIDIA X", "processor": "x", "platform": "Linux", "threads": 1}
    made = [
        outcome(first, git=None, versions={"dmws-lite": "0.1.0", "torch": "2.8"}),
        outcome(second, machine=gpu),
        *map(outcome, others),
    ]
    _, raw, _ = read(write_report(filled(tmp_path / "s", study, made), tmp_path))
    for what in ("2 versions are mixed", "2 devices are mixed", "2 git revisions are mixed", "NVIDIA X", "torch 2.8"):
        assert what in raw


def test_nothing_to_report_and_what_may_not_be_compared(tmp_path, quick):
    study = made_study(methods=["default", "weight_selection"], data=["brain"], fractions=[0.1], seeds=2)
    store = filled(tmp_path / "s", study, [])
    with pytest.raises(ValueError, match="has no finished run of the study 'tiny': make some with `dmws study run`"):
        write_report(store, tmp_path)
    first, *others = jobs_of(study)
    store.add(failed(first, "no such file"))
    with pytest.raises(ValueError, match="1 failed, the first with RuntimeError \\(no such file\\)"):
        write_report(store, tmp_path)
    longer = replace(first, training=replace(first.training, steps=40))
    for job in (longer, *others):
        store.add(outcome(job))
    other = {"name": "longer", "methods": ["default"], "reference": "default", "data": ["brain"], "seeds": 1}
    store.begin(made_study(**other, fractions=[0.1]), [longer])
    with pytest.raises(ValueError, match="different budgets on brain"):
        write_report(store, tmp_path)  # two studies: all runs
    assert write_report(store, tmp_path, "tiny")[0].name == "report.html"
    with pytest.raises(ValueError, match="has no study 'tinny'"):
        write_report(store, tmp_path, "tinny")


def numbers(cell):
    return [float(found) for found in re.findall(r"[-+]?\d+\.?\d*", cell)]
