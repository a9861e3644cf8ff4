"""Gathering the pages: links to what is no page lead to GitHub, front matter goes to a card's end."""

from pathlib import Path

import pytest

pytest.importorskip("myst_nb", reason='needs the site\'s packages: pip install -e ".[site]"')
GITHUB = "https://github.com/dmws-lite/dmws-lite"
PUBLISHED = [Path("README.md"), Path("notebooks/README.md")]


@pytest.mark.parametrize(
    ("folder", "link", "expected"),
    [
        (".", "notebooks/README.md", "notebooks/README.md"),
        ("notebooks", "../README.md", "../README.md"),
        (".", "LICENSE", f"{GITHUB}/blob/main/LICENSE"),
        (".", "notebooks", f"{GITHUB}/tree/main/notebooks"),
        ("notebooks", "../dmws_lite/method/plan.py", f"{GITHUB}/blob/main/dmws_lite/method/plan.py"),
        (".", "https://example.org/x", "https://example.org/x"),
        (".", "#a-heading", "#a-heading"),
        (".", "no/such/file.md", "no/such/file.md"),
        (".", "../../etc", "../../etc"),
    ],
)
def test_links(folder, link, expected):
    from pages import site_links

    assert site_links(f"see [x]({link}) here", Path(folder), PUBLISHED) == f"see [x]({expected}) here"


def test_a_link_keeps_its_anchor():
    from pages import site_links

    assert site_links("[x](LICENSE#a)", Path("."), PUBLISHED) == f"[x]({GITHUB}/blob/main/LICENSE#a)"


def test_front_matter_is_shown_after_the_text():
    from pages import front_matter_last

    text = front_matter_last("---\nname: x\n---\n\n# Card\n\nWords.\n")
    assert text.startswith("# Card\n\nWords.")
    assert text.index("```yaml\nname: x\n```") > text.index("Words.")
    assert front_matter_last("# No front matter\n\n---\n") == "# No front matter\n\n---\n"


def test_the_map_has_a_line_for_each_chapter_that_there_is():
    from pages import ROOT, course_map

    names = [path.stem for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))]
    lines, entries = (text.splitlines() for text in course_map())
    assert len(lines) == len(entries) == len(names)
    for name, line, entry in zip(names, lines, entries, strict=True):
        assert f"(notebooks/{name}.ipynb)" in line and "?" in line
        assert entry.endswith(f"<notebooks/{name}>") and entry.startswith(name[:2])
