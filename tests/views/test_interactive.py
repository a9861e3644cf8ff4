"""Figures to explore: values and hover texts against numbers made in another way; what a notebook gets of them."""

import base64
import io
import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import dmws_lite as dm
from dmws_lite.analysis.representations import in_plane
from dmws_lite.data.phantoms import write_volume
from dmws_lite.views import figures
from dmws_lite.views.interactive import PLOTLY

PAIR = ("embedded_vit_96", "embedded_vit_48")
TENSORS = ["blocks.1.attn.qkv.weight", "blocks.1.mlp.fc1.weight", "norm.bias"]
STRATEGIES = ("uniform", "consecutive", "random", "heads")

FITS = pd.DataFrame(
    [(2, 1e-3, 0.001, 3.0), (2, 1.0, 0.03, 0.3), (8, 1e-3, 0.01, 0.5), (8, 1.0, 0.07, 0.15)],
    columns=["images", "ridge", "fitted", "others"],
)


@pytest.fixture(scope="module")
def plans():
    return {name: dm.complementary_plans(*PAIR, elements=name) for name in STRATEGIES}


@pytest.fixture(scope="module")
def runs(table):
    runs = table(("default", "weight_selection", "dual_skd"), ("a<b",)).sort_values("seconds", kind="stable")
    runs["ece"] = runs["ece"].where(runs["seed"] != 1)
    return runs.assign(device="cpu", settings="learning_rate 0.001", steps=80, peak_memory_mb=np.nan)


@pytest.fixture(scope="module")
def plane():
    images = dm.phantoms("brain_mri", 3, 3, 30).test
    models = {name: dm.build("embedded_vit_48", 3, seed=seed) for seed, name in enumerate(("teacher", "main"))}
    last = models["main"].state_dict()
    snapshots = {0: {"main": dm.build("embedded_vit_48", 3, seed=9).state_dict()}, 10: {"main": last}}
    return in_plane(models, images, snapshots), models, images


@pytest.fixture(scope="module")
def explored(plans, runs, plane, tmp_path_factory):
    return {
        "elements": dm.explore_elements(plans, TENSORS),
        "coverage": dm.explore_coverage(plans["uniform"]),
        "flow": dm.explore_flow({rule: dm.plan(*PAIR, layers=rule) for rule in ("first", "last")}),
        "costs": dm.explore_costs(runs, reference="default"),
        "runs": dm.explore_runs(runs),
        "features": dm.explore_features(plane[0], plane[2]),
        "ridge": dm.explore_ridge(FITS, 0.9),
        "slices": dm.explore_slices(write_volume(tmp_path_factory.mktemp("scan") / "volume.tiff"), 64, most=6),
    }


def test_a_notebook_gets_a_small_figure_and_a_picture_and_colab_a_page(explored, check_picture, tmp_path, monkeypatch):
    for name, figure in explored.items():
        check_picture(figure.twin)
        data, facts = figure._repr_mimebundle_()
        assert set(data) == {PLOTLY, "image/png", "text/plain"} and facts["image/png"]["alt"] == figure.twin.alt_text
        text = json.dumps(data[PLOTLY], allow_nan=False)
        assert "bdata" not in text and len(text) < 250_000, name
        figures.save(figure, tmp_path, name)
        assert (tmp_path / f"{name}.png").is_file()
    monkeypatch.setitem(sys.modules, "google.colab", object())
    data, _ = explored["elements"]._repr_mimebundle_()
    assert "cdn.plot.ly" in data["text/html"] and PLOTLY not in data and data["image/png"]
    assert "Plotly.animate(" not in data["text/html"]  # it opens at the slider's first step


def test_elements_go_where_the_plan_sends_them(explored, plans):
    """A teacher whose elements are numbered: where a number turns up in a student is what the hover text must say."""
    shapes = plans["uniform"][0].teacher_shapes
    numbered = {name: torch.arange(int(np.prod(shape))).reshape(shape) for name, shape in shapes.items()}
    for frame in explored["elements"].frames:
        for trace, two in zip(frame.data, plans.values(), strict=True):
            receivers = {number: [] for number in range(numbered[frame.name].numel())}
            for role, plan in zip(("main", "auxiliary"), two, strict=True):
                copied = plan.apply(numbered)[next(a.student for a in plan.assignments if a.teacher == frame.name)]
                for where, number in np.ndenumerate(copied.numpy()):
                    receivers[int(number)].append(f"{role} {list(map(int, where))}")
            width = numbered[frame.name].shape[-1]
            for y, line in zip(trace.y, trace.hovertext, strict=True):
                for x, text in zip(trace.x, line, strict=True):
                    if "…" not in (x, y):
                        assert text == ("; ".join(receivers[int(y) * width + int(x)]) or "nobody")
    first = explored["elements"].data[0]
    assert first.x[-1] == "95" and "block 1" in first.hovertemplate and "embed" in first.hovertemplate
    assert [trace.visible for trace in explored["elements"].data[:4]] == [True, False, False, False]
    with pytest.raises(ValueError, match=r"'blocks\.5\..*feeds no student: choose one of"):
        dm.explore_elements(plans, ["blocks.5.mlp.fc1.weight"])


def test_the_treemap_adds_up_and_its_shares_are_counted(explored, plans):
    tree = explored["coverage"].data[0]
    values, percent = dict(zip(tree.ids, tree.values, strict=True)), dict(zip(tree.ids, tree.customdata, strict=True))
    for parent in set(tree.parents) - {""}:
        assert values[parent] == sum(v for v, p in zip(tree.values, tree.parents, strict=True) if p == parent)
    assert values[PAIR[0]] == sum(int(np.prod(shape)) for shape in plans["uniform"][0].teacher_shapes.values())
    assert percent["blocks.0.mlp.fc1.weight"] == [50, 25, 25, 0] and percent["blocks.5.mlp.fc1.weight"] == [0, 0, 0, 0]
    held = sum(2 * a.size for a in plans["uniform"][0].assignments)
    assert percent[PAIR[0]][0] == pytest.approx(100 * held / values[PAIR[0]], abs=0.2)  # a few go to both


def test_streams_follow_the_layers_and_count_what_is_copied(explored):
    for stream, plan in zip(explored["flow"].data, (dm.plan(*PAIR), dm.plan(*PAIR, layers="last")), strict=True):
        ends = stream.link.source, stream.link.target
        names = [(stream.node.label[s], stream.node.label[t]) for s, t in zip(*ends, strict=True)]
        assert {(f"block {source}", f"block {target}") for target, source in enumerate(plan.layers[0])} <= set(names)
        behind = {source for source, target in names if target == "stays behind"}
        assert behind == {f"block {i}" for i in range(6)} - {f"block {i}" for i in plan.layers[0]}
        assert sum(stream.link.customdata) == sum(a.size for a in plan.assignments)


def test_marks_of_runs_tell_all_settings_and_missing_costs_are_not_offered(explored, runs):
    figure = explored["costs"]
    marks = [(x, y) for trace in figure.data for x, y in zip(trace.x, trace.y, strict=True)]
    assert np.allclose(marks, runs[["seconds", "accuracy"]], rtol=1e-3)
    hover = figure.data[0].hovertext[1]
    for text in ("seed: 1", "data: a&lt;b", "settings: learning_rate 0.001", "fraction: 0.1"):
        assert text in hover and "ece" not in hover and "nan" not in hover  # missing in this run
    assert [button.label for button in figure.layout.updatemenus[0].buttons] == ["training seconds", "GFLOPs per step"]
    assert figure.layout.updatemenus[0].buttons[1].args[0]["x"] == [[4.0] * 3, [5.2] * 3, [4.0] * 3]
    assert (figure.data[0].marker.symbol, figure.data[0].marker.color) == ("star", "#000000")


def test_lines_of_runs_keep_their_order_and_mark_what_is_missing(explored, runs):
    axes = {axis.label: axis for axis in explored["runs"].data[0].dimensions}
    assert list(axes) == ["method", "run", "seed", "training seconds", "GFLOPs per step", "ece", "accuracy"]
    assert list(np.argsort(axes["accuracy"]["values"])) == list(np.argsort(runs["accuracy"]))
    values = np.array(axes["ece"]["values"])
    assert (values[runs["ece"].isna()] < 0).all() and (values[runs["ece"].notna()] >= 0).all()
    assert axes["ece"].ticktext[0] == "missing" and axes["accuracy"].ticktext[-1] == f"{runs['accuracy'].max():.3g}"
    assert axes["GFLOPs per step"].ticktext == ("4", "5.2")


def test_planes_are_principal_components_and_steps_are_frames(explored, plane):
    table, models, images = plane
    points, model = table[table["network"] == "teacher"], models["teacher"]
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in dm.input_statistics(model))
    inputs = ((torch.from_numpy(images.images).float() / 255).expand(-1, 3, -1, -1) - mean) / std
    with torch.inference_mode():
        read = model.forward_head(model.forward_features(inputs), pre_logits=True).numpy()
        assert list(points["answer"]) == [images.classes[i] for i in model(inputs).argmax(1)]
    spread = np.linalg.svd(read - read.mean(0), full_matrices=False)[1][:2]
    assert np.allclose(np.linalg.norm(points[["x", "y"]], axis=0), spread, rtol=1e-3)
    figure = explored["features"]
    assert [trace.marker.symbol for trace in figure.data[-3:]] == ["circle", "square", "triangle-up"]  # the legend
    assert [frame.name for frame in figure.frames] == ["0", "10"] and "main says" in figure.data[3].hovertemplate
    trace, moved = figure.data[3], figure.frames[1].data[1]  # second class, main
    rows = table.query("network == 'main' and step == 10 and `class` == 'meningioma'")
    assert np.allclose(trace.x, rows["x"], rtol=1e-3) and [n for _, n in trace.customdata] == [*rows["image"]]
    assert (moved.x, [*moved.text], figure.frames[1].traces) == (trace.x, [*rows["answer"]], (1, 3, 5))
    assert [("open" in mark) for mark in trace.marker.symbol] == list(rows["answer"] != rows["class"])


def test_a_cell_shows_the_figure_and_the_script_that_finds_each_points_image(explored, plane):
    images, ((figure, _), (script, _)) = plane[2], explored["features"].bundles()
    assert len(explored["ridge"].bundles()) == 1
    assert "layout?.meta?.thumbnails" in script["text/html"] and "innerHTML" not in script["text/html"]
    thumbnails = figure[PLOTLY]["layout"]["meta"]["thumbnails"]
    sheet = Image.open(io.BytesIO(base64.b64decode(thumbnails["sprite"].split(",")[1])))
    assert sheet.mode == "L" and sheet.format == "JPEG"
    for trace in figure[PLOTLY]["data"]:
        for file, number in trace.get("customdata", []):  # none in those of the legend
            assert file == images.names[number]
            row, column = divmod(number, thumbnails["columns"])
            tile = sheet.crop((64 * column, 64 * row, 64 * column + 64, 64 * row + 64))
            assert np.abs(np.asarray(tile, float) - images.images[number, 0]).mean() < 8  # 30 for another image
    with pytest.raises(ValueError, match="images are not those of the table: pass the image set that in_plane got"):
        dm.explore_features(plane[0], images.take(np.arange(5)))


def test_slices_are_the_files_pages(explored, tmp_path):
    figure, path = explored["slices"], write_volume(tmp_path / "volume.tiff")
    assert [frame.name for frame in figure.frames] == ["1", "4", "7", "9", "12", "15"]
    pages = Image.open(path)
    for frame in figure.frames:
        pages.seek(int(frame.name) - 1)
        shown = Image.open(io.BytesIO(base64.b64decode(frame.data[0].source.split(",")[1])))
        assert np.array_equal(shown, np.asarray(pages))
    assert "15 slices, 6 of them shown" in figure.layout.title.text


def test_fits_have_a_frame_for_each_number_of_images_and_all_errors_lie_in_the_picture(explored):
    figure = explored["ridge"]
    low, high = 10 ** np.array(figure.layout.yaxis.range)
    assert [frame.name for frame in figure.frames] == ["2 images", "8 images"]
    for frame, (_, rows) in zip(figure.frames, FITS.groupby("images"), strict=True):
        fitted, others, alone = frame.data
        assert list(fitted.x) == list(others.x) == list(alone.x) == list(rows["ridge"])
        assert list(fitted.y) == list(rows["fitted"]) and list(others.y) == list(rows["others"])
        assert set(alone.y) == {0.9} and low < min(fitted.y) and max(others.y) < high
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    assert "2 images, other images: 3.00 to 0.30" in figure.twin.alt_text
