"""The built site: no warning, no broken link, nothing fetched from elsewhere, every picture with its words."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
GITHUB = "https://github.com/dmws-lite/dmws-lite/"
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
LIMIT = 2_000_000  # bytes of a page with its pictures


@pytest.fixture(scope="session")
def pages(site):
    from bs4 import BeautifulSoup

    paths = site.folder.rglob("*.html")
    found = {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in paths}
    assert len(found) > 30
    return found


def local(page, address):
    """The file and the anchor that an address on a page means; None for one that leaves the site."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    return path, unquote(parts.fragment)


def test_sphinx_warns_of_nothing(site):
    assert site.code == 0, "see Sphinx's warnings above"


def test_every_chapter_and_every_result_has_a_page(site):
    for folder, pattern in (("notebooks", "[0-9]*.ipynb"), ("data_cards", "*.md"), ("benchmarks/studies", "*.md")):
        for path in (ROOT / folder).glob(pattern):
            assert (site.folder / folder / f"{path.stem}.html").is_file()


def test_links_anchors_and_pictures_lead_somewhere(pages):
    anchors = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in pages.items()}
    broken = []
    for path, page in pages.items():
        for tag in page.find_all(["a", *FETCHED]):
            address = tag.get("href") or tag.get("src")
            target = local(path, address) if address else None
            if target and not target[0].is_file():
                broken.append(f"{path.name}: {address}")
            elif target and target[1] and target[1] not in anchors[target[0]]:
                broken.append(f"{path.name}: {address} (no such anchor)")
    assert broken == []


def test_links_to_the_repository_name_what_is_there(pages):
    for path, page in pages.items():
        for tag in page.find_all("a", href=re.compile(re.escape(GITHUB) + "(blob|tree)/main/")):
            file = urlsplit(tag["href"]).path.split("/main/", 1)[1]
            assert (ROOT / unquote(file)).exists(), f"{path.name}: {tag['href']}"


def test_nothing_is_fetched_from_other_servers(site, pages):
    for path, page in pages.items():
        for name, attribute in FETCHED.items():
            for address in (tag[attribute] for tag in page.find_all(name) if tag.has_attr(attribute)):
                assert local(path, address) or address.startswith("data:"), f"{path.name}: {address}"
    for path in site.folder.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", path.read_text(encoding="utf-8")), path.name


def test_every_picture_has_words(pages):
    for path, page in pages.items():
        for tag in page.find_all("img"):
            assert len(tag.get("alt", "")) > 3 and "_images/" not in tag["alt"], f"{path.name}: {tag}"
        for tag in page.find_all("svg", role="img"):
            assert tag.get("aria-label") or tag.find("title"), f"{path.name}: a drawing without words"


def test_pictures_of_chapters_keep_their_figures_words(site, pages):
    for name, notebook in site.chapters.items():
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        figures = [o.metadata["image/png"]["alt"] for o in outputs if "image/png" in o.get("data", {})]
        shown = [tag["alt"] for tag in pages[site.folder / "notebooks" / f"{name}.html"].find_all("img")]
        assert figures and shown == figures


def test_widgets_are_replaced_by_a_note(site, pages):
    page = pages[site.folder / "notebooks" / "03_weight_selection.html"]
    assert "explorer in the browser" in page.text
    assert "widget-view" not in str(page) and "VBox(" not in page.text


def test_formulas_are_mathml(site, pages):
    page = pages[site.folder / "notebooks" / "07_study.html"]
    assert page.find("math", display="block").find("mfrac")
    assert not page.find("script", src=re.compile("mathjax", re.IGNORECASE))


def test_pages_are_small(site, pages):
    for path, page in pages.items():
        pictures = {local(path, tag["src"])[0] for tag in page.find_all("img") if not tag["src"].startswith("data:")}
        assert path.stat().st_size + sum(picture.stat().st_size for picture in pictures) < LIMIT, path.name


def test_licences_stand_on_every_page(pages):
    for page in pages.values():
        assert "CC BY 4.0" in page.text and "Apache-2.0" in page.text
