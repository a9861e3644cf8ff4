"""Gathering the pages: links to what is no page lead to GitHub, front matter goes to a card's end."""

from pathlib import Path

import pytest

pytest.importorskip("myst_nb", reason='needs the site\'s packages: pip install -e ".[site]"')
GITHUB = "https://github.com/dmws-lite/dmws-lite"


@pytest.mark.parametrize(
    ("folder", "link", "expected"),
    [
        (".", "notebooks/README.md", "notebooks/README.md"),
        ("notebooks", "../README.md", "../README.md"),
        (".", "LICENSE#a", f"{GITHUB}/blob/main/LICENSE#a"),
        (".", "notebooks", f"{GITHUB}/tree/main/notebooks"),
        ("notebooks", "../dmws_lite/method/plan.py", f"{GITHUB}/blob/main/dmws_lite/method/plan.py"),
        (".", "https://example.org/x", "https://example.org/x"),
        (".", "no/such/file.md", "no/such/file.md"),
        (".", "../../etc", "../../etc"),
    ],
)
def test_links(folder, link, expected):
    from pages import site_links

    pages = [Path("README.md"), Path("notebooks/README.md")]
    assert site_links(f"see [x]({link}) here", Path(folder), pages) == f"see [x]({expected}) here"


def test_front_matter_is_shown_after_the_text():
    from pages import front_matter_last

    text = front_matter_last("---\nname: x\n---\n\n# Card\n\nWords.\n")
    assert text.startswith("# Card\n\nWords.") and text.endswith("```yaml\nname: x\n```\n")
    assert front_matter_last("# No front matter\n\n---\n") == "# No front matter\n\n---\n"
