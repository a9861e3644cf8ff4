"""The built site: no warning, no broken link, nothing fetched from elsewhere, every picture with its words."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.site
ROOT = Path(__file__).parents[2]
GITHUB = "https://github.com/dmws-lite/dmws-lite/"
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
LIMIT = 2_000_000  # bytes of a page with its pictures


@pytest.fixture(scope="session")
def pages(site):
    from bs4 import BeautifulSoup

    paths = site.folder.rglob("*.html")
    pages_by_path = {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in paths}
    assert len(pages_by_path) > 30
    return pages_by_path


def local(page, address):
    """The file and the anchor that an address on a page means; None for one that leaves the site."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    return (page.parent / unquote(parts.path)).resolve() if parts.path else page, unquote(parts.fragment)


def test_sphinx_warns_of_nothing_and_every_chapter_card_and_result_has_a_page(site):
    assert site.code == 0, "see Sphinx's warnings above"
    for folder, pattern in (("notebooks", "[0-9]*.ipynb"), ("data_cards", "*.md"), ("benchmarks/studies", "*.md")):
        for path in (ROOT / folder).glob(pattern):
            assert (site.folder / folder / f"{path.stem}.html").is_file()


def test_links_anchors_and_pictures_lead_somewhere(pages):
    anchors = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in pages.items()}
    broken = []
    for path, page in pages.items():
        for address in (tag.get("href") or tag.get("src") for tag in page.find_all(["a", *FETCHED])):
            target = local(path, address) if address else None
            if target and not (target[0].is_file() and (not target[1] or target[1] in anchors[target[0]])):
                broken.append(f"{path.name}: {address}")
            if address and address.startswith(tuple(f"{GITHUB}{kind}/main/" for kind in ("blob", "tree"))):
                file = unquote(urlsplit(address).path.split("/main/", 1)[1])
                broken += [] if (ROOT / file).exists() else [f"{path.name}: {address}"]
    assert broken == []


def test_nothing_is_fetched_from_other_servers_and_pages_are_small_and_name_the_licences(site, pages):
    for path, page in pages.items():
        for name, attribute in FETCHED.items():
            for address in (tag[attribute] for tag in page.find_all(name) if tag.has_attr(attribute)):
                assert local(path, address) or address.startswith("data:"), f"{path.name}: {address}"
        pictures = {local(path, tag["src"])[0] for tag in page.find_all("img") if not tag["src"].startswith("data:")}
        assert path.stat().st_size + sum(picture.stat().st_size for picture in pictures) < LIMIT, path.name
        assert "CC BY 4.0" in page.text and "Apache-2.0" in page.text
    for path in site.folder.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", path.read_text(encoding="utf-8")), path.name


def test_pictures_have_words_and_those_of_chapters_their_figures_words(site, pages):
    for path, page in pages.items():
        for tag in page.find_all("img"):
            assert len(tag.get("alt", "")) > 3 and "_images/" not in tag["alt"], f"{path.name}: {tag}"
        for tag in page.find_all("svg", role="img"):
            assert tag.get("aria-label") or tag.find("title"), f"{path.name}: a drawing without words"
    for name, notebook in site.chapters.items():
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        figures = [o.metadata["image/png"]["alt"] for o in outputs if "image/png" in o.get("data", {})]
        shown = [tag["alt"] for tag in pages[site.folder / "notebooks" / f"{name}.html"].find_all("img")]
        assert figures and shown == figures


def test_formulas_are_mathml_and_widgets_are_notes(site, pages):
    page = pages[site.folder / "notebooks" / "07_study.html"]
    assert page.find("math", display="block").find("mfrac")
    page = pages[site.folder / "notebooks" / "03_weight_selection.html"]
    assert "explorer in the browser" in page.text and "widget-view" not in str(page) and "VBox(" not in page.text
