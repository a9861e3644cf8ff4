"""Building the site: only an earlier site is emptied; a chapter is run again when its results may differ."""

import importlib.util
import os
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

pytest.importorskip("myst_nb", reason='needs the site\'s packages: pip install -e ".[site]"')
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def builder(tmp_path, monkeypatch):
    """docs/build.py of a repository with one chapter, in a folder of its own."""
    spec = importlib.util.spec_from_file_location("docs_build_alone", DOCS / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "a.py").touch()
    monkeypatch.setattr(module, "ROOT", tmp_path / "repository")
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "package")
    monkeypatch.setattr(module, "EXECUTED", tmp_path / "executed")
    (tmp_path / "repository" / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repository")
    return module


def chapter(builder, text="Text", code="print(smoke)"):
    cells = [new_markdown_cell(text), new_code_cell("smoke = False"), new_markdown_cell("Then"), new_code_cell(code)]
    cells[1].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = builder.ROOT / "notebooks" / "00_small.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
    return path


def test_a_folder_of_something_else_is_not_emptied(builder, tmp_path, monkeypatch, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    monkeypatch.setattr(builder, "execute_chapters", lambda *_: pytest.fail("refused too late"))
    for out in (mine, mine / "thesis.tex", Path("."), Path(".."), Path("/")):
        with pytest.raises(SystemExit):
            builder.main(["--out", str(out)])
        assert "is no earlier site, and would be emptied: pass a new or an empty folder" in capsys.readouterr().err
        with pytest.raises(FileExistsError):
            builder.build(out, tmp_path)
    assert (mine / "thesis.tex").read_text() == "years of work"


def test_an_empty_folder_and_an_earlier_site_are_filled(builder, tmp_path, monkeypatch):
    monkeypatch.setattr(builder.pages, "gather", lambda *_: None)
    monkeypatch.setattr(builder, "build_main", lambda options: Path(options[-1], "index.html").touch())
    out = tmp_path / "site"
    out.mkdir()
    builder.build(out, tmp_path)
    (out / "old.html").touch()
    builder.build(out, tmp_path)
    assert {path.name for path in out.iterdir()} == {builder.MARKER, "index.html"}


def test_a_chapter_is_run_again_when_its_code_or_the_package_has_changed(builder, tmp_path, monkeypatch):
    ran, run = [], builder.execute
    monkeypatch.setattr(builder, "execute", lambda path, *rest: ran.append(path.stem) or run(path, *rest))
    folder = tmp_path / "executed" / "smoke"
    chapter(builder)
    for _ in range(2):
        assert builder.execute_chapters(folder, smoke=True) == folder
    assert len(ran) == 1
    chapter(builder, text="**Time:** 3 seconds")
    builder.execute_chapters(folder, smoke=True)
    sources = [cell.source for cell in nbformat.read(folder / "00_small.ipynb", as_version=4).cells]
    assert len(ran) == 1 and sources[0] == "**Time:** 3 seconds" and "smoke = True" in sources[2]
    assert "True" in str(nbformat.read(folder / "00_small.ipynb", as_version=4).cells[-1].outputs)
    later = (folder / "00_small.ipynb").stat().st_mtime + 1000
    os.utime(tmp_path / "package" / "a.py", (later, later))
    builder.execute_chapters(folder, smoke=True)
    assert len(ran) == 2
    os.utime(tmp_path / "package" / "a.py", (0, 0))
    chapter(builder, code="print('changed')")
    builder.execute_chapters(folder, smoke=True)
    assert len(ran) == 3


def test_a_chapter_that_failed_is_not_done_and_writes_nothing_elsewhere(builder, tmp_path):
    chapter(builder, code="import pathlib\npathlib.Path('results').mkdir()\nraise ValueError('no')")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="ValueError: no"):
            builder.execute_chapters(tmp_path / "executed" / "full", smoke=False)
    assert [path.name for path in (tmp_path / "executed" / "full").iterdir()] == ["unfinished"]
    assert [path.name for path in Path.cwd().iterdir()] == ["notebooks"]
