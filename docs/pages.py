"""The site's pages, gathered in one folder with the repository's layout: links between them stay as they are."""

import json
import re
import shutil
from pathlib import Path

import chapters
import nbformat
import reference
import selection_data
from plotly.offline import get_plotlyjs

from dmws_lite.course.chapters import duration, read_chapters
from dmws_lite.runtime.notebooks import PACKAGE

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PUBLISHED = ["README.md", "CHANGELOG.md", "docs/method.svg", "docs/findings/*.png", "notebooks/README.md"]
PUBLISHED += ["notebooks/instructor/README.md", "data_cards/*.md", "benchmarks/*.md", "benchmarks/studies/*.md"]
COLAB = "https://colab.research.google.com/github/dmws-lite/dmws-lite/blob/main/notebooks"
NOTEBOOKS = "notebooks/[0-9]*.ipynb"
LINK = re.compile(r"(?<=\]\()([^)\s:#]+)(?=[)#])")
FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


def gather(source: Path, executed: Path) -> None:
    """Fill the empty folder `source` with all that Sphinx reads.

    executed: a folder of executed chapters; a chapter that is not there is shown without its results.
    """
    published = sorted({path.relative_to(ROOT) for pattern in (*PUBLISHED, NOTEBOOKS) for path in ROOT.glob(pattern)})
    alts: dict[str, str] = {}
    for path in published:
        target = source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".ipynb":
            executed_copy = executed / path.name
            notebook = chapters.read(executed_copy if executed_copy.is_file() else ROOT / path)
            alts |= chapters.alt_texts(notebook)
            page = chapters.page(notebook, path.as_posix())
            for cell in page.cells:
                if cell.cell_type == "markdown":
                    cell.source = site_links(cell.source, path.parent, published)
            nbformat.write(page, target)
        elif path.suffix == ".png":
            shutil.copy(ROOT / path, target)
        else:
            text = chapters.plain_badges(front_matter_last((ROOT / path).read_text(encoding="utf-8")))
            target.write_text(site_links(text, path.parent, published), encoding="utf-8")
    (source / "alt_texts.json").write_text(json.dumps(alts), encoding="utf-8")
    chapter_list, entries = course_map()
    for path in DOCS.glob("*.md"):
        text = path.read_text(encoding="utf-8").replace("](../", "](")
        text = text.replace("<!-- list of chapters -->", chapter_list).replace("<!-- entries of chapters -->", entries)
        (source / path.name).write_text(text, encoding="utf-8")
    shutil.copytree(DOCS / "findings", source / "findings")
    static = shutil.copytree(DOCS / "static", source / "_static")
    explorer = DOCS / "selection_explorer"
    for file in (explorer / "explorer.js", explorer / "explorer.css", PACKAGE / "runtime" / "interactive.js"):
        shutil.copy(file, static)
    selection_data.write(static / "pairs.js")
    (static / "plotly.min.js").write_text(f"((define, module, exports) => {{{get_plotlyjs()}}})();", encoding="utf-8")
    reference.write(source / "reference")


def site_links(text: str, folder: Path, published: list[Path]) -> str:
    """Markdown of a file in `folder` whose links to files that are not pages lead to GitHub instead."""

    def rewrite(link: re.Match) -> str:
        target = (ROOT / folder / link[1]).resolve()
        path = target.relative_to(ROOT) if target.is_relative_to(ROOT) and target.exists() else None
        if path is None or path in published:
            return link[1]
        return f"{chapters.REPOSITORY}/{'tree' if target.is_dir() else 'blob'}/main/{path.as_posix()}"

    return LINK.sub(rewrite, text)


def front_matter_last(text: str) -> str:
    """A data card with its front matter as a listing at its end: it is what the loader reads, not what a page is about.

    >>> print(front_matter_last("---\\na: 1\\n---\\n# Card"))
    # Card
    <BLANKLINE>
    ## What the loader reads
    <BLANKLINE>
    ```yaml
    a: 1
    ```
    <BLANKLINE>
    """
    match = FRONT_MATTER.match(text)
    if not match:
        return text
    return f"{text[match.end() :].strip()}\n\n## What the loader reads\n\n```yaml\n{match[1]}\n```\n"


def course_map() -> tuple[str, str]:
    """The chapters: a list with question, time and Colab link, and the entries of a toctree."""
    lines, entries = [], []
    for name, chapter in read_chapters().items():
        path = ROOT / "notebooks" / f"{name}.ipynb"
        if path.is_file():
            heading = f"{name[:2]} {chapters.read(path).cells[0].source.removeprefix('# ').split(':')[0]}"
            time = f"{duration(chapter.seconds.cpu)} on one CPU core, " if chapter.seconds.cpu else ""
            link = f"[{heading}](notebooks/{name}.ipynb)"
            lines.append(f"- {link}: {chapter.question} {time}[Colab]({COLAB}/{name}.ipynb)")
            entries.append(f"{heading} <notebooks/{name}>")
    return "\n".join(lines), "\n".join(entries)
