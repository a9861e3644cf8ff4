"""Building the site: only an earlier site is emptied; a chapter is run again when its results may differ."""

import importlib.util
import os
from pathlib import Path

import nbformat
import pytest
from course import METADATA
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

pytest.importorskip("myst_nb", reason='needs the site\'s packages: pip install -e ".[site]"')
pytestmark = pytest.mark.usefixtures("forked_kernels")


@pytest.fixture
def builder(tmp_path, monkeypatch):
    """docs/build.py of a repository with one chapter, in a folder of its own."""
    spec = importlib.util.spec_from_file_location("build_alone", Path(__file__).parents[2] / "docs" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("ROOT", "PACKAGE", "EXECUTED"):
        monkeypatch.setattr(module, name, tmp_path / name)
    (tmp_path / "PACKAGE").mkdir()
    (tmp_path / "PACKAGE" / "a.py").touch()
    (tmp_path / "ROOT" / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "ROOT")
    return module


def write_chapter(builder, text="Text", code="print(smoke)"):
    cells = [new_markdown_cell(text), new_code_cell("smoke = False"), new_markdown_cell("Then"), new_code_cell(code)]
    cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(new_notebook(cells=cells, metadata=METADATA), builder.ROOT / "notebooks" / "00_small.ipynb")


def test_a_folder_of_something_else_is_not_emptied(builder, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    monkeypatch.setattr(builder, "execute_chapters", lambda *_: pytest.fail("refused too late"))
    for out in (tmp_path / "mine", tmp_path / "mine" / "thesis.tex", Path("."), Path(".."), Path("/")):
        with pytest.raises(SystemExit):
            builder.main(["--out", str(out)])
        assert "is no earlier site, and would be emptied: pass a new or an empty folder" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_a_chapter_is_run_again_when_its_code_or_the_package_has_changed(builder, tmp_path, monkeypatch):
    runs, execute = [], builder.execute
    monkeypatch.setattr(builder, "execute", lambda path, *rest: runs.append(path.stem) or execute(path, *rest))
    executed = tmp_path / "executed" / "00_small.ipynb"
    write_chapter(builder)
    for text in ("Text", "**Time:** 3 seconds"):  # new text is taken over without a run
        write_chapter(builder, text=text)
        builder.execute_chapters(executed.parent, smoke=True)
    cells = nbformat.read(executed, as_version=4).cells
    assert len(runs) == 1 and cells[0].source == "**Time:** 3 seconds"
    assert "smoke = True" in cells[2].source and "True" in cells[-1].outputs[0].text
    later = executed.stat().st_mtime + 1000
    os.utime(tmp_path / "PACKAGE" / "a.py", (later, later))
    builder.execute_chapters(executed.parent, smoke=True)
    assert len(runs) == 2
    os.utime(tmp_path / "PACKAGE" / "a.py", (0, 0))
    write_chapter(builder, code="raise ValueError('no')")
    for _ in range(2):  # a chapter that failed is not done
        with pytest.raises(RuntimeError, match="ValueError: no"):
            builder.execute_chapters(executed.parent, smoke=True)
    assert len(runs) == 4
