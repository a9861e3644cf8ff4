"""The page that classifies a dropped image, in Chromium: its probabilities are torch's, and it says what is wrong."""

import base64
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

import dmws_lite as dm
from dmws_lite.data.images import decode
from dmws_lite.data.phantoms import CLASSES, draw
from dmws_lite.data.sets import ImageSet
from dmws_lite.method.networks import set_input_statistics
from dmws_lite.training.fit import Run
from dmws_lite.views.drop_page import drop_page

HALF = (0.5, 0.5, 0.5)


def save(folder, model, classes, std):
    set_input_statistics(model, HALF, std)
    Run(model, None, name="embedded_vit_48", classes=tuple(classes), image_size=64).save(folder)


DROP = """async ([name, type, text]) => {
    const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type }));
    window.answer = undefined;
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""
PASTE = DROP.replace("new DragEvent('drop', { dataTransfer", "new ClipboardEvent('paste', { clipboardData")


def shaken(seed=0, image_size=64):
    """A student whose answers differ from image to image, although it has learnt nothing."""
    model = dm.build("embedded_vit_48", 3, image_size, seed=seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)) * 0.15)
    return model


def examples(size=64, channels=1):
    images = [draw("chest_xray", label, np.random.default_rng(label), size)[0] for label in range(3)]
    stacked = np.stack(images)[:, None].repeat(channels, 1)
    return ImageSet(stacked, np.arange(3), CLASSES["chest_xray"], ("a", "b", "c"))


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A saved student, and its folder with a page."""
    folder, model = tmp_path_factory.mktemp("student"), shaken()
    save(folder, model, CLASSES["chest_xray"], (0.3, 0.25, 0.2))
    drop_page(folder, examples())
    return model, folder


@pytest.fixture
def opened(page, student):
    """The page, opened as a file, after its self-check."""
    page.goto(f"file://{student[1]}/page.html")
    page.wait_for_function("() => window.selfCheck !== undefined")
    return page


def answer(page, data, name="image.png", how=DROP):
    page.evaluate(how, [name, "image/png", base64.b64encode(data).decode()])
    page.wait_for_function("() => window.answer")
    return page.evaluate("window.answer")


def encoded(image, kind="PNG", **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def expected(model, data, suffix=".png", **options):
    pixels = decode(data, suffix, 64, **options).image.copy()
    return dm.predict(model, pixels[None])[0]


def picture(width, height, mode="L", seed=1):
    """A phantom of any size and shape, and for RGB with another one in each channel."""
    side, rng = max(width, height), np.random.default_rng(seed)
    planes = [draw("brain_mri", 1, rng, side)[0][:height, :width] for _ in range(3 if mode == "RGB" else 1)]
    return Image.fromarray(np.stack(planes, 2).squeeze())


def test_the_self_check_agrees_with_torch(opened):
    assert opened.evaluate("window.selfCheck") < 1e-5
    assert "differ from PyTorch's by" in opened.locator("#check").text_content()


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (picture(64, 64), {}),
        (picture(200, 200), {}),
        (picture(173, 91), {}),
        (picture(90, 301, "RGB"), {}),
        (picture(30, 41), {}),
        (picture(1100, 900), {}),
        (picture(65, 64).convert("P"), {}),
        (picture(64, 64).point(lambda v: 255 * (v > 99)).convert("1"), {}),
    ],
    ids=["native", "larger", "wide", "tall, RGB", "small", "large", "palette", "one bit"],
)
def test_a_png_gets_the_probabilities_of_torch(opened, student, image, options):
    data = encoded(image, **options)
    found, wanted = answer(opened, data)["probabilities"], expected(student[0], data)
    tall = image.height > image.width  # Pillow 13 takes some of them down first, older ones and the page across first
    assert np.abs(np.array(found) - wanted).max() < (1e-3 if tall else 1e-5)
    assert wanted.max() < 0.999  # a saturated student would agree with anything


def test_answers_differ_between_images(opened):
    one, other = (answer(opened, encoded(picture(120, 80, seed=seed)))["probabilities"] for seed in (1, 2))
    assert np.abs(np.subtract(one, other)).max() > 0.01


def test_what_the_student_sees_is_what_pillow_makes(opened, student):
    data = encoded(picture(211, 157, "RGB"))
    answer(opened, data)
    shown = opened.evaluate("[...$('seen').getContext('2d').getImageData(0, 0, 64, 64).data]")
    pixels = np.array(shown, np.uint8).reshape(64, 64, 4)[..., :3].transpose(2, 0, 1)
    assert np.array_equal(pixels, decode(data, ".png", 64).image)


def test_transparency_and_orientation(opened, student):
    rgba = picture(100, 80).convert("RGBA")
    rgba.putalpha(Image.fromarray(np.tile(np.arange(100, dtype=np.uint8) * 2, (80, 1))))
    data = encoded(rgba)
    assert np.abs(np.array(answer(opened, data)["probabilities"]) - expected(student[0], data)).max() < 5e-3
    turned = Image.Exif()
    turned[0x0112] = 6
    data = encoded(picture(100, 64), exif=turned)
    assert np.abs(np.array(answer(opened, data)["probabilities"]) - expected(student[0], data)).max() < 1e-5


def test_a_jpeg_is_close(opened, student):
    small = encoded(picture(100, 80), "JPEG", quality=95)  # too small for the decoder to shrink it
    found = answer(opened, small, "small.jpg")["probabilities"]
    assert np.abs(np.array(found) - expected(student[0], small, ".jpg")).max() < 0.01


def test_letterbox(page, student, tmp_path):
    model, _ = student
    save(tmp_path, model, ("a", "b", "c"), (0.3, 0.25, 0.2))
    drop_page(tmp_path, examples(channels=3), fit="letterbox")
    page.goto(f"file://{tmp_path}/page.html")
    for size in ((173, 91), (90, 301), (128, 5)):
        data = encoded(picture(*size))
        apart = np.abs(np.array(answer(page, data)["probabilities"]) - expected(model, data, fit="letterbox")).max()
        assert apart < (1e-3 if size == (90, 301) else 1e-5)


def test_a_file_that_is_no_image_is_said(opened):
    found = answer(opened, b"not an image", "notes.txt")
    assert "no image that this browser can read" in found["error"]
    assert "notes.txt is no image" in opened.locator("#said").text_content()
    assert not opened.locator("#result").is_visible()
    deep = encoded(Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)))
    assert "16-bit gray PNG" in answer(opened, deep, "deep.png")["error"]
    assert "probabilities" in answer(opened, encoded(picture(64, 64)))  # and it goes on


def test_the_ways_in_and_what_is_shown(opened, student, tmp_path):
    data = encoded(picture(120, 90))
    wanted = expected(student[0], data)
    assert np.allclose(answer(opened, data, how=PASTE)["probabilities"], wanted, atol=1e-5)
    (tmp_path / "chosen.png").write_bytes(data)
    opened.locator("#file").set_input_files(tmp_path / "chosen.png")
    opened.wait_for_function("() => window.answer.name === 'chosen.png'")
    best = CLASSES["chest_xray"][wanted.argmax()]
    said = opened.locator("#said").text_content()
    assert said.startswith(f"chosen.png: {best}, {100 * wanted.max():.1f} %")
    assert opened.locator("#bars li").all_text_contents()[wanted.argmax()].startswith(f"▸ {best}")
    opened.locator("#file").focus()
    opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")
    opened.wait_for_function("() => window.answer.name.startsWith('Example 1')")


def test_colour_is_remarked(opened):
    answer(opened, encoded(picture(100, 100, "RGB")))
    assert "has colours" in opened.locator("#said").text_content()
    answer(opened, encoded(picture(100, 100).convert("RGB")))
    assert "has colours" not in opened.locator("#said").text_content()


def test_nothing_is_fetched(browser, student):
    context = browser.new_context()
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"file://{student[1]}/page.html")
    page.wait_for_function("() => window.selfCheck !== undefined")
    answer(page, encoded(picture(100, 80)))
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [f"file://{student[1]}/page.html"]
    refused = page.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'refused')")
    assert refused == "refused"
    context.close()


def test_a_class_name_cannot_become_code(page, tmp_path):
    names = ("</script><script>window.hacked = 1</script>", "<img src=x onerror=window.hacked=1>", "{{ 7 * 7 }}")
    save(tmp_path, shaken(), names, HALF)
    shown = examples()
    drop_page(tmp_path, ImageSet(shown.images, shown.labels, names, shown.names))
    page.goto(f"file://{tmp_path}/page.html")
    answer(page, encoded(picture(64, 64)))
    assert page.evaluate("window.hacked === undefined")
    assert [text.lstrip("▸ ") for text in page.locator("#bars .name").all_text_contents()] == list(names)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "light"), (375, "dark")])
def test_it_fits_a_desk_and_a_phone(opened, screenshot, width, scheme):
    opened.set_viewport_size({"width": width, "height": 900})
    opened.emulate_media(color_scheme=scheme)
    answer(opened, encoded(picture(300, 200)), "scan of the head.png")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    screenshot(f"drop_page_{width}_{scheme}", full_page=True)


def test_it_works_inside_a_notebook_cell(page, student, tmp_path, serve):
    from dmws_lite.views.drop_page import DropPage

    shown = DropPage(student[1] / "page.html")._repr_html_()
    (tmp_path / "cell.html").write_text(f"<!DOCTYPE html><meta charset=utf-8>{shown}", encoding="utf-8")
    page.goto(f"{serve(tmp_path)}/cell.html")
    frame = page.frame_locator("iframe")
    frame.locator("#examples button").nth(1).click()
    frame.locator("#bars li").first.wait_for()
    assert "Example 2" in frame.locator("#said").text_content()
    data = encoded(picture(120, 90))
    (tmp_path / "chosen.png").write_bytes(data)
    frame.locator("#file").set_input_files(tmp_path / "chosen.png")
    frame.locator("#said", has_text="chosen.png:").wait_for()
    inside = page.frames[1]
    dropped = answer(inside, data, "dropped.png")
    assert np.allclose(dropped["probabilities"], expected(student[0], data), atol=1e-5)
    assert inside.evaluate("() => { try { return parent.document.title } catch { return 'no access' } }") == "no access"


def test_it_works_in_jupyterlab(page, open_notebook, student):
    made = f"DropPage(Path({str(student[1])!r}, 'page.html'))"
    code = f"from pathlib import Path\nfrom dmws_lite.views.drop_page import DropPage\n{made}"
    open_notebook([code], "drop.ipynb")
    frame = page.frame_locator("iframe[title='Classify an image']")
    frame.locator("#examples button").nth(1).click()
    frame.locator("#bars li").first.wait_for()
    assert "Example 2" in frame.locator("#said").text_content()
