"""Gathering the pages: links to what is no page lead to GitHub, front matter goes to a card's end."""

from pathlib import Path

import pytest

pytest.importorskip("myst_nb", reason='needs the site\'s packages: pip install -e ".[site]"')
GITHUB = "https://github.com/dmws-lite/dmws-lite"


@pytest.mark.parametrize(
    ("folder", "link", "expected"),
    [
        ("notebooks", "../README.md", "../README.md"),
        (".", "LICENSE#a", f"{GITHUB}/blob/main/LICENSE#a"),
        (".", "notebooks", f"{GITHUB}/tree/main/notebooks"),
        ("notebooks", "../dmws_lite/method/plan.py", f"{GITHUB}/blob/main/dmws_lite/method/plan.py"),
        (".", "no/such/file.md", "no/such/file.md"),
        (".", "../../etc", "../../etc"),
    ],
)
def test_links(folder, link, expected):
    from pages import site_links

    pages = [Path("README.md"), Path("notebooks/README.md")]
    assert site_links(f"see [x]({link}) here", Path(folder), pages) == f"see [x]({expected}) here"
