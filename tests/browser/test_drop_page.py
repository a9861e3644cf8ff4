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
from dmws_lite.method.measuring import recalibrate_batchnorm
from dmws_lite.method.networks import set_input_statistics
from dmws_lite.training.fit import Run
from dmws_lite.views.drop_page import drop_page

NAMES = CLASSES["chest_xray"]
DROP = """async ([name, type, text]) => {
    const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type }));
    window.answer = undefined;
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""
PASTE = DROP.replace("new DragEvent('drop', { dataTransfer", "new ClipboardEvent('paste', { clipboardData")
PICTURES = [(64, 64, "L"), (200, 200, "L"), (173, 91, "L"), (90, 301, "RGB"), (30, 41, "L"), (1100, 900, "L")]
PICTURES += [(65, 64, "P"), (64, 64, "1")]  # a palette, and one bit


def save_student(folder, names=NAMES, channels=1, fit="crop"):
    """A saved student whose answers differ from image to image, although it has learnt nothing, with its page."""
    model = dm.build("embedded_vit_48", 3, 64, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * 0.15)
    set_input_statistics(model, (0.5, 0.5, 0.5), (0.3, 0.25, 0.2))
    Run(model, None, name="embedded_vit_48", classes=names, image_size=64, fit=fit).save(folder)
    images = np.stack([draw("chest_xray", label, np.random.default_rng(label), 64)[0] for label in range(3)])
    drop_page(folder, ImageSet(images[:, None].repeat(channels, 1), np.arange(3), names, ("a", "b", "c")))
    return model


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    return save_student(folder), folder


@pytest.fixture
def opened(page, student):
    """The page, opened as a file, after its self-check."""
    page.goto(f"file://{student[1]}/page.html")
    page.wait_for_function("() => window.selfCheck !== undefined")
    return page


def picture(width, height, mode="L", seed=1):
    """A phantom of any size and kind; for RGB with another one in each channel."""
    rng, planes = np.random.default_rng(seed), 3 if mode == "RGB" else 1
    drawn = [draw("brain_mri", 1, rng, max(width, height))[0][:height, :width] for _ in range(planes)]
    return Image.fromarray(np.stack(drawn, 2).squeeze()).convert(mode)


def encoded(image, kind="PNG", **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def answer(page, data, name="image.png", how=DROP):
    page.evaluate(how, [name, "image/png", base64.b64encode(data).decode()])
    page.wait_for_function("() => window.answer")
    return page.evaluate("window.answer")


def apart(page, model, data, suffix=".png", **options):
    """The largest difference between the page's probabilities and torch's, which must not be saturated."""
    expected = dm.predict(model, decode(data, suffix, 64, **options).image[None])[0]
    assert expected.max() < 0.999
    return np.abs(np.array(answer(page, data, f"image{suffix}")["probabilities"]) - expected).max()


def test_every_kind_of_image_gets_the_probabilities_of_torch(opened, student):
    assert opened.evaluate("window.selfCheck") < 1e-5
    assert "differ from PyTorch's by" in opened.locator("#check").text_content()
    model = student[0]
    for width, height, mode in PICTURES:  # Pillow 13 resizes some tall ones in another order
        limit = 1e-3 if height > width else 1e-5
        assert apart(opened, model, encoded(picture(width, height, mode))) < limit, (width, height, mode)
    answer(opened, encoded(picture(90, 301, "RGB")))
    assert "has colours" in opened.locator("#said").text_content()  # and the student was trained on gray images
    turned = Image.Exif()
    turned[0x0112] = 6
    assert apart(opened, model, encoded(picture(100, 64), exif=turned)) < 1e-5
    clear = picture(100, 80).convert("RGBA")
    clear.putalpha(Image.fromarray(np.tile(np.arange(100, dtype=np.uint8) * 2, (80, 1))))
    assert apart(opened, model, encoded(clear)) < 5e-3
    assert apart(opened, model, encoded(picture(100, 80), "JPEG", quality=95), ".jpg") < 0.01
    one, other = (answer(opened, encoded(picture(120, 80, seed=seed)))["probabilities"] for seed in (1, 2))
    assert np.abs(np.subtract(one, other)).max() > 0.01


def test_letterbox_and_names_that_cannot_become_code(page, tmp_path):
    names = ("</script><script>window.hacked = 1</script>", "<img src=x onerror=window.hacked=1>", "{{ 7 * 7 }}")
    model = save_student(tmp_path, names, channels=3, fit="letterbox")
    page.goto(f"file://{tmp_path}/page.html")
    for width, height in ((173, 91), (90, 301), (128, 5)):
        limit = 1e-3 if height > width else 1e-5
        assert apart(page, model, encoded(picture(width, height)), fit="letterbox") < limit
    assert page.evaluate("window.hacked === undefined")
    assert [text.lstrip("▸ ") for text in page.locator("#bars .name").all_text_contents()] == list(names)


@pytest.mark.parametrize("name", ["efficientnet_lite0_050", "mobilenetv1_050"])
def test_networks_of_convolutions_are_computed(page, tmp_path, name):
    model, images = dm.build(name, 2, 64), dm.phantoms("chest_xray", 3, 3, 6).test
    recalibrate_batchnorm(model, [torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))])
    model.get_classifier().weight.data *= 0.1  # so that neither class is certain
    Run(model, None, name=name, classes=("a", "b"), image_size=64).save(tmp_path)
    drop_page(tmp_path, images)
    page.goto(f"file://{tmp_path}/page.html")
    page.wait_for_function("() => window.selfCheck !== undefined")
    assert page.evaluate("window.selfCheck") < 1e-5


def test_a_file_that_is_no_image_is_said_and_the_ways_in_and_what_is_shown(opened, student, tmp_path):
    assert "no image that this browser can read" in answer(opened, b"not an image", "notes.txt")["error"]
    assert "notes.txt is no image" in opened.locator("#said").text_content()
    assert not opened.locator("#result").is_visible()
    deep = encoded(Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)))
    assert "16-bit gray PNG" in answer(opened, deep, "deep.png")["error"]
    assert "probabilities" in answer(opened, encoded(picture(64, 64)))  # and it goes on
    data = encoded(picture(120, 90))
    expected = dm.predict(student[0], decode(data, ".png", 64).image[None])[0]
    assert np.allclose(answer(opened, data, how=PASTE)["probabilities"], expected, atol=1e-5)
    (tmp_path / "chosen.png").write_bytes(data)
    opened.locator("#file").set_input_files(tmp_path / "chosen.png")
    opened.wait_for_function("() => window.answer.name === 'chosen.png'")
    best = NAMES[expected.argmax()]
    text = opened.locator("#said").text_content()
    assert text.startswith(f"chosen.png: {best}, {100 * expected.max():.1f} %") and "has colours" not in text
    assert opened.locator("#bars li").all_text_contents()[expected.argmax()].startswith(f"▸ {best}")
    opened.locator("#file").focus()
    opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")
    opened.wait_for_function("() => window.answer.name.startsWith('Example 1')")


def test_nothing_is_fetched(page, student):
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"file://{student[1]}/page.html")
    answer(page, encoded(picture(100, 80)))
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [f"file://{student[1]}/page.html"]
    assert page.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'refused')") == "refused"
    page.problems.clear()  # the browser notes that it refused


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_it_fits_a_desk_and_a_phone(opened, screenshot, width, scheme):
    opened.set_viewport_size({"width": width, "height": 900})
    opened.emulate_media(color_scheme=scheme)
    answer(opened, encoded(picture(300, 200)), "scan of the head.png")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    screenshot(f"drop_page_{width}", full_page=True)
