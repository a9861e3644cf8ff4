import shutil

import duckdb
import numpy as np
import pandas as pd
import pytest

from dmws_lite.studies.run import Outcome, plan_jobs
from dmws_lite.studies.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", create=True)


def test_what_goes_in_comes_out_and_pandas_and_duckdb_open_the_folders_directly(store, outcome):
    for key, accuracy in (("b", float("nan")), ("a", 0.25)):  # JSON does not know nan
        store.add(outcome(key, accuracy))
        assert store.table()["accuracy"].dtype == float
    table = store.table()
    assert table["accuracy"].to_list()[0] == 0.25 and table["accuracy"].isna()[1] and "a" in store and "c" not in store
    assert table["budget"].unique().tolist() == ["steps 4, batch_size 8, evaluations 10, 16 px"]
    assert len(store.predictions()) == 4 and np.allclose(store.predictions()["probabilities"][3], [0.6, 0.4])
    assert len(pd.read_parquet(store.folder / "predictions")) == len(pd.read_parquet(store.folder / "history")) == 4
    with duckdb.connect() as base:
        query = f"SELECT key, avg((label = predicted)::int) AS accuracy FROM '{store.folder}/predictions/*.parquet'"
        assert base.execute(f"{query} GROUP BY key ORDER BY key").fetchall() == [("a", 0.5), ("b", 0.5)]
        query = f"SELECT key, metrics.main.accuracy FROM read_json('{store.folder}/runs/*.json') ORDER BY key"
        assert base.execute(query).fetchall() == [("a", 0.25), ("b", None)]


def test_a_run_without_its_record_is_no_run(store, monkeypatch, outcome):
    """A writer that is killed after the tables and before the record."""
    monkeypatch.setattr("dmws_lite.studies.store._write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.add(outcome("a"))
    assert "a" not in store and store.table().empty and store.predictions().empty and store.history().empty


def test_a_failure_gives_way_to_a_success(store, outcome):
    error = {"type": "ValueError", "message": "no", "traceback": "..."}
    store.add(Outcome(outcome("a").record | {"status": "failed", "error": error}, pd.DataFrame(), pd.DataFrame()))
    failures = store.failures()[["key", "error", "message"]].values.tolist()
    assert "a" not in store and failures == [["a", "ValueError", "no"]]
    store.add(outcome("a"))
    assert store.failures().empty and "a" in store


def test_folders_that_are_no_store_and_stores_of_other_versions(store, tmp_path):
    with pytest.raises(FileNotFoundError, match="is no run store: pass the folder that `dmws study run` wrote to"):
        Store(tmp_path / "none")
    (tmp_path / "full" / "photo.jpg").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds other files"):
        Store(tmp_path / "full", create=True)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["photo.jpg"]
    (store.folder / "store.json").write_text('{"format": 0}')
    with pytest.raises(ValueError, match="has format 0, this version reads 1: run its studies again into a new folder"):
        Store(store.folder, create=True)


HALF = '{"format": 1, "key": "a", "names": {}, "fraction": 1, "seed": 0, "config": {}, "status": "done"}'


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1, "key": "a"}', HALF, '{"format": 7}'])
def test_a_damaged_file_is_named_with_the_way_out(store, content, outcome):
    store.add(outcome("a"))
    (store.folder / "predictions" / "a.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(ValueError, match=r"predictions.a\.parquet is damaged"):
        store.predictions()
    (store.folder / "runs" / "a.json").write_text(content)
    with pytest.raises(ValueError, match=r"runs.a\.json (is damaged|has format 7).*delete it"):
        store.table()


def test_studies_keep_their_own_names_and_may_change_while_their_runs_stay(images, tiny, tiny_store, tmp_path):
    store = Store(shutil.copytree(tiny_store.folder, tmp_path / "copy"))
    before = store.study("tiny")
    for other in (tiny(methods=["weight_selection", "dual"]), tiny(training={"steps": 5})):
        store.begin(other, plan_jobs(other))
    assert store.table().empty and len(store.missing()) == 6
    store.begin(tiny(), plan_jobs(tiny()))
    assert store.study("tiny") == before and store.missing().empty and len(store.table()) == 6
    renamed = tiny(name="renamed", data=[{"source": str(images), "name": "CT"}])
    store.begin(renamed, plan_jobs(renamed))
    assert set(store.table("renamed")["data"]) == {"CT"} and set(store.table("tiny")["data"]) == {"images"}
    assert store.studies() == ["renamed", "tiny"]
    with pytest.raises(ValueError, match="has no study 'mine': it has renamed, tiny"):
        store.table("mine")
