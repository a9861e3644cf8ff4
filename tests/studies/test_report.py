"""The report of a study: the page and its tables say what the store holds, in one file that needs nothing else."""

import re
import shutil

import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup

from dmws_lite.studies import report as report_module
from dmws_lite.studies.report import write_report
from dmws_lite.studies.statistics import differences
from dmws_lite.studies.store import Store
from dmws_lite.studies.study import make_study


@pytest.fixture(scope="module")
def report(tiny, tiny_store, tmp_path_factory, forked_kernels):
    """A store of which one run is missing, its report's page, and the same as Markdown."""
    folder = tmp_path_factory.mktemp("report")
    store = Store(shutil.copytree(tiny_store.folder, folder / "store"))
    lost = store.table("tiny").query("method == 'dual_skd' and seed == 1")["key"].item()
    (store.folder / "runs" / f"{lost}.json").unlink()
    study = store.folder / "studies" / "tiny.json"
    study.write_text(study.read_text().replace('"name": "tiny"', '"name": "tiny", "question": "does it work?"', 1))
    page, text = write_report(store, folder / "out")
    assert {path.name for path in (folder / "out").glob("[!.]*")} == {"report.html", "report.md", "report.ipynb"}
    return store, BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser"), text.read_text(encoding="utf-8")


def tables(text):
    """The Markdown tables by caption, with the first column as index."""
    by_caption = {}
    for caption, rows in re.findall(r"\*\*(.+?)\*\*\n\n((?:\|.*\n)+)", text):
        head, _, *cells = [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in rows.splitlines()]
        by_caption[caption] = pd.DataFrame(cells, columns=head).set_index(head[0])
    return by_caption


def numbers(text):
    return [float(number) for number in re.findall(r"[-+]?\d+\.?\d*", text)]


def test_the_page_is_one_file_without_scripts_and_says_what_is_missing_and_how_to_make_it_again(report):
    _, page, text = report
    assert page.h1.text == page.title.text == "tiny: does it work?"
    assert not page.find_all(["script", "link", "iframe"]) and "import pandas" not in page.main.text
    images = page.find_all("img")
    assert len(images) >= 6 and all(image["src"].startswith("data:") and len(image["alt"]) > 40 for image in images)
    assert len(page.find_all("table")) == len(tables(text)) >= 8
    assert "![" not in text and "data:image" not in text
    assert "5 of 6 runs are finished, 0 failed, 1 are missing." in text
    assert tables(text)["Missing runs"]["seeds"].to_list() == ["1"]
    assert (
        "With 2 seeds no p on one group is below 0.5 (1 after Holm's correction), so that nothing can be shown" in text
    )
    assert make_study(**yaml.safe_load(re.search(r"```\n(name: .*?)\n```", text, re.DOTALL)[1])).name == "tiny"
    assert "dmws study run tiny.yaml\ndmws study report outputs/studies/tiny --study tiny" in text


def test_means_differences_and_counts_are_those_of_the_runs(report):
    store, _, text = report
    runs, by_caption = store.table("tiny"), tables(text)
    means = by_caption[next(name for name in by_caption if name.endswith("accuracy") and "→" in name)]
    for label, rows in runs.groupby("label"):
        mean, *_, n = numbers(means.loc[label].item())
        assert mean == pytest.approx(rows["accuracy"].mean(), abs=6e-4) and n == len(rows)
    gaps = differences(runs, "weight_selection").set_index("label")
    shown = next(table for name, table in by_caption.items() if name.endswith(": difference to single selection"))
    assert set(shown.index) == set(gaps.index) and len(gaps) == 2
    for label, row in shown.iterrows():
        assert numbers(row.iloc[0])[0] == pytest.approx(gaps["difference"][label], abs=6e-4)
        assert float(row["Holm"]) == pytest.approx(gaps["p_holm"][label], abs=6e-3)
    confusion = next(table for name, table in by_caption.items() if ": single selection, the reference" in name)
    assert confusion.astype(int).to_numpy().sum() == 2 * 24  # seeds, test images


def test_a_report_is_made_again_only_when_something_changed(report, monkeypatch):
    """Last of those that read this report, since it is changed; a rerun of a finished study must not take long."""
    store, _, _ = report
    out, made = store.folder.parent / "out", []
    monkeypatch.setattr(report_module, "run_notebook", lambda *_, **options: made.append(1) or out / "report.ipynb")
    for metric, times in (("accuracy", 0), ("auroc", 1), ("auroc", 1)):
        write_report(store, out, metric=metric)
        assert len(made) == times
    next(store.folder.glob("runs/*.json")).unlink()
    write_report(store, out, metric="auroc")
    assert len(made) == 2


def test_what_cannot_be_reported_is_refused_before_anything_runs(tiny_store, tmp_path):
    for store, options, message in (
        (tiny_store, {"metric": "f1"}, "unknown metric 'f1': choose from accuracy, balanced_accuracy"),
        (tiny_store, {"study": "tinny"}, "no study 'tinny'"),
        (Store(tmp_path / "empty", create=True), {}, "no finished run of any study: make some with `dmws study run`"),
    ):
        with pytest.raises(ValueError, match=message):
            write_report(store, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
