"""Pictures of plans to explore: plotly figures that say more under the mouse, each with a static twin."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.utils import PlotlyJSONEncoder

from dmws_lite.method.plan import SelectionPlan
from dmws_lite.views import style
from dmws_lite.views.architecture import mapped_blocks, place_of, streams
from dmws_lite.views.plans import Plans, count_elements, coverage_bars, elements_of, tensor_maps

PLOTLY = "application/vnd.plotly.v1+json"
CONFIG = {"displayModeBar": False, "responsive": True}  # its buttons would cover titles in a narrow window
BEHIND = "stays behind"
AT_ONCE = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
LOOKS: dict[str, Any] = {  # of all figures: as wide as their page, and on white, so that dark pages show them as well
    "template": "none",
    "font": {"size": 12, "color": "#222222"},
    "paper_bgcolor": "#FFFFFF",
    "plot_bgcolor": "#FFFFFF",
    "margin": {"l": 60, "r": 20, "t": 80, "b": 50},
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    "hoverlabel": {"align": "left", "bgcolor": "#FFFFFF", "font": {"color": "#222222"}},
    "hovermode": "closest",
}


class Interactive(go.Figure):
    """A plotly figure with its static twin, which GitHub, print and screen readers get, with its alt text.

    A notebook's cell that ends with one shows it; `figures.save` writes the twin.
    """

    twin: Any = None  # a style.Picture
    _repr_html_ = None

    def _ipython_display_(self) -> None:
        from IPython.display import display

        for data, metadata in self.bundles():
            display(data, metadata=metadata, raw=True)

    def bundles(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """What a cell shows: the figure and, where it has thumbnails, the script that shows them."""
        if not self.layout.meta:
            return [self._repr_mimebundle_()]
        script = files("dmws_lite").joinpath("views", "beside.js").read_text(encoding="utf-8")
        return [self._repr_mimebundle_(), ({"text/html": f"<script>{script}</script>"}, {})]

    def _repr_mimebundle_(self, *_: Any, **__: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = self.twin._repr_mimebundle_()
        if "google.colab" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ:  # they fetch plotly.js for HTML
            page = self.to_html(CONFIG, auto_play=False, include_plotlyjs="cdn", full_html=False)
            return {**data, "text/html": page}, metadata
        return {**data, PLOTLY: {**json.loads(self.to_json()), "config": CONFIG}}, metadata

    def png(self, dpi: int = 110) -> bytes:
        """The static twin as PNG."""
        return self.twin.png(dpi)


def interactive(twin: style.Picture, drawn: go.Figure, title: str, height: int = 460, **layout: Any) -> Interactive:
    """A figure in the looks that all share; its arrays are lists, which any plotly.js reads, nan is None."""
    heading = {"text": title, "font": {"size": 14}, "x": 0.01, "y": 0.98, "yanchor": "top"}
    parts = [part.to_plotly_json() for part in (*drawn.data, *drawn.frames, drawn.layout)]
    *items, own_layout = json.loads(PlotlyJSONEncoder().encode(parts))
    for name in ("template", "sliders", "updatemenus"):  # those of plotly.express
        own_layout.pop(name, None)
    figure = Interactive(items[: len(drawn.data)], own_layout, items[len(drawn.data) :])
    figure.update_layout(LOOKS | {"title": heading, "height": height})
    figure.update_layout(layout)
    figure.twin = twin
    return figure


def slider(names: Sequence[str], prefix: str, active: int = 0) -> list[dict[str, Any]]:
    """A slider below a figure, with a step for each of its frames; none where there is one frame only."""
    if len(names) < 2:
        return []
    steps = [{"label": name, "method": "animate", "args": [[name], AT_ONCE]} for name in names]
    look = {"currentvalue": {"prefix": prefix, "font": {"size": 12}}, "pad": {"t": 55, "b": 5}, "font": {"size": 10}}
    return [{"steps": steps, "active": active, **look}]


def choices(method: str, options: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """A list to choose from, above a figure on the right; options: by name, the arguments of plotly's `method`."""
    if len(options) < 2:
        return []
    buttons = [{"label": name, "method": method, "args": list(args)} for name, args in options.items()]
    position = {"x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"}
    return [{"buttons": buttons, **position, "bgcolor": "#FFFFFF", "pad": {"b": 4}}]


def show_only(number: int, count: int) -> list[dict[str, Any]]:
    """The arguments of plotly's "restyle" that hide all of `count` traces but one."""
    return [{"visible": [i == number for i in range(count)]}]


def explore_elements(plans: Mapping[str, Plans], tensors: Sequence[str]) -> Interactive:
    """Who receives each element of teacher tensors: a slider over tensors, and a list of selection strategies.

    plans:   by the strategy's name, one plan or those of several students, main first; of one pair of networks.
    tensors: the teacher's tensors. Of each axis the first and the last 12 indices are shown, so that a strategy that
             deals out blocks shows both ends; kernel axes are left out, since a kernel goes as a whole.
    Hovering shows layer, axes and indices in the teacher, and which student has the element, at which of its indices.
    Raises ValueError for a tensor that feeds no student.

    >>> import dmws_lite as dm
    >>> plans = {"uniform": dm.complementary_plans("embedded_vit_96", "embedded_vit_48")}
    >>> figure = dm.explore_elements(plans, ["blocks.0.mlp.fc1.weight"])
    >>> figure.data[0].hovertext[1][3]
    'auxiliary [0, 1]'
    """
    by_strategy = {name: [plan] if isinstance(plan, SelectionPlan) else plan for name, plan in plans.items()}
    roles = {"several": style.SHARED, "nobody": style.UNUSED} | style.students(max(map(len, by_strategy.values())))
    frames, numbers = [], list(range(len(plans)))
    for tensor in tensors:
        maps, layouts = zip(*(_draw_map(students, tensor, roles) for students in by_strategy.values()), strict=True)
        frames.append(go.Frame(name=tensor, data=maps, layout=layouts[0], traces=numbers))
    traces: list[Any] = [go.Heatmap(heat, visible=i == 0) for i, heat in enumerate(frames[0].data)]
    drawn = {number for frame in frames for heat in frame.data for number in heat.z.flat}
    for number, (role, colour) in enumerate(roles.items(), -1):  # the legend: a heat map has no entries of its own
        if number in drawn:
            edge, name = {"color": style.PALETTE["random"], "width": 1}, f"{role} ({role[0].upper()})"
            mark = {"symbol": "square", "size": 12, "color": colour, "line": edge}
            traces.append(go.Scatter(x=[None], y=[None], mode="markers", marker=mark, name=name if number else role))
    strategies = {name: [*show_only(i, len(plans)), numbers] for i, name in enumerate(plans)}
    layout: dict[str, Any] = {"updatemenus": choices("restyle", strategies), "sliders": slider(tensors, "tensor: ")}
    layout |= {"margin": {"t": 95, "l": 75}, "legend_itemclick": False, "legend_itemdoubleclick": False}
    twin, first = tensor_maps(next(iter(plans.values())), tensors), frames[0].layout
    return interactive(twin, go.Figure(traces, first, frames), first.title.text, 600, **layout)


def _draw_map(
    plans: Sequence[SelectionPlan], tensor: str, roles: Mapping[str, str]
) -> tuple[go.Heatmap, dict[str, Any]]:
    """The heat map of one tensor, and its layout; roles: colour by the name of each number of `elements_of`, from -1.

    Raises ValueError for a tensor that feeds no student.
    """
    student = next((a.student for plan in plans for a in plan.assignments if a.teacher == tensor), None)
    if student is None:
        examples = ", ".join([a.teacher for a in plans[0].assignments][:6])
        raise ValueError(f"{tensor!r} of {plans[0].teacher} feeds no student: choose one of {examples}, ...")
    numbers, words = elements_of(plans, tensor)
    rows, columns = numbers.axes
    letters = {number: role[0].upper() if number else "" for number, role in enumerate(roles, -1)}
    indices = ", ".join(f"{axis.name} %{{{letter}}}" for letter, axis in (("y", rows), ("x", columns)) if axis.name)
    heat = go.Heatmap(
        y=list(map(str, rows)),
        x=list(map(str, columns)),
        z=numbers.to_numpy(),
        text=numbers.map(lambda number: letters.get(number, "")).to_numpy(),
        texttemplate="%{text}",
        hovertext=words.to_numpy(),
        hovertemplate=f"teacher, {place_of(tensor)}: {indices}<br>goes to: %{{hovertext}}<extra></extra>",
        colorscale=[[(i + edge) / len(roles), colour] for i, colour in enumerate(roles.values()) for edge in (0, 1)],
        zmin=-1.5,
        zmax=len(roles) - 1.5,
        xgap=1,
        ygap=1,
        showscale=False,
    )
    look = {"type": "category", "showgrid": False, "tickfont": {"size": 9}, "ticks": "", "tickangle": 0}
    layout = {"xaxis": {**look, "title": {"text": columns.name, "standoff": 5}}}
    layout["yaxis"] = {**look, "title": {"text": rows.name}, "autorange": "reversed"}
    return heat, layout | {"title": f"{tensor}: teacher's {place_of(tensor)} → student's {place_of(student)}"}


def explore_coverage(plans: Plans) -> Interactive:
    """The teacher as a treemap of blocks and their tensors: area is the number of elements, colour the share taken.

    plans: one plan, or two of complementary students. A list chooses whose share is shown: that of either student, of
           main, of the auxiliary, or what both have. Hovering shows all of them, and the elements.
    Raises ValueError for more than two plans.
    """
    counts, teacher = count_elements(plans), (plans if isinstance(plans, SelectionPlan) else plans[0]).teacher
    if "both" in counts:
        counts.insert(1, "either", counts["main"] + counts["auxiliary"] - counts["both"])
    blocks = list(map(place_of, counts.index))
    by_block = counts.groupby(blocks, sort=False).sum()
    table = pd.concat([counts.sum().to_frame(teacher).T, by_block, counts])
    sizes = table.pop("elements").astype(int)
    percent = table.div(sizes, axis=0).mul(100).round(2)
    tones = {"either": "#009E73", "main": style.PALETTE["main"], "auxiliary": "#B57600", "both": style.SHARED}
    hover = "<br>".join(f"{name}: %{{customdata[{i}]:.2f}} %" for i, name in enumerate(percent))
    nodes = {
        "ids": [teacher, *(f"{teacher}/{block}" for block in by_block.index), *counts.index],
        "labels": list(table.index),
        "parents": ["", *[teacher] * len(by_block), *(f"{teacher}/{block}" for block in blocks)],
        "values": sizes.tolist(),
        "customdata": percent.to_numpy().tolist(),
    }
    look = {"branchvalues": "total", "sort": False, "tiling": {"pad": 1}, "texttemplate": "%{label}<br>%{text}"}
    look["hovertemplate"] = f"%{{id}}<br>%{{value:,}} elements<br>{hover}<extra></extra>"
    traces: list[go.Treemap] = []
    for name, shares in percent.items():
        marker = {
            "colors": shares.tolist(),
            "colorscale": [[0, style.UNUSED], [1, tones[name]]],
            "cmin": 0,
            "cmax": 100,
        }
        text = [f"{value:.1f} %" for value in shares]
        traces.append(go.Treemap(nodes | look, marker=marker, text=text, visible=not traces))
    title = f"Share of {teacher} that a student receives (area: elements)"
    menus = choices("restyle", {f"share of {name}": show_only(i, len(traces)) for i, name in enumerate(percent)})
    margin = {"l": 10, "r": 10, "t": 75, "b": 10}
    return interactive(coverage_bars(plans), go.Figure(traces), title, 560, updatemenus=menus, margin=margin)


def explore_flow(plans: SelectionPlan | Mapping[str, SelectionPlan]) -> Interactive:
    """Which part of the teacher feeds which part of the student, as streams as wide as the number of tensors.

    plans: one plan, or several by name, of which a list chooses one. Teacher parts that feed nothing "stay behind".
    Hovering shows a stream's tensors and the elements that are copied.
    """
    by_name = {"": plans} if isinstance(plans, SelectionPlan) else dict(plans)
    traces = [_sankey(plan).update(visible=i == 0) for i, plan in enumerate(by_name.values())]
    menus = choices("restyle", {name: show_only(i, len(traces)) for i, name in enumerate(by_name)})
    first = next(iter(by_name.values()))
    title = f"{first.teacher} (left) feeds {first.student} (right)"
    margin = {"l": 10, "r": 10, "t": 75, "b": 20}
    return interactive(mapped_blocks(plans), go.Figure(traces), title, 560, updatemenus=menus, margin=margin)


def _sankey(plan: SelectionPlan) -> go.Sankey:
    """The streams from the teacher's parts to the student's, and from those that feed nothing to BEHIND."""
    used, tensors = streams(plan), pd.Series(map(place_of, plan.teacher_shapes)).value_counts(sort=False)
    unused = tensors.drop(used["source"], errors="ignore").rename_axis("source").reset_index(name="tensors")
    flows = pd.concat([used, unused.assign(target=BEHIND, elements=0)])
    sources, targets = list(tensors.index), list(flows["target"].unique())
    roles = ["teacher"] * len(sources) + ["random" if name == BEHIND else "main" for name in targets]
    node = {"label": sources + targets, "color": [style.PALETTE[role] for role in roles], "pad": 8, "thickness": 14}
    node["hovertemplate"] = "%{label}: %{value} tensors<extra></extra>"
    hover = "%{value} tensors, %{customdata:,} elements copied<extra></extra>"
    link = {
        "source": [sources.index(name) for name in flows["source"]],
        "target": [len(sources) + targets.index(name) for name in flows["target"]],
        "value": flows["tensors"].tolist(),
        "color": ["#E0E0E0" if name == BEHIND else "#A6CBE3" for name in flows["target"]],
        "customdata": flows["elements"].tolist(),
        "hovertemplate": f"%{{source.label}} → %{{target.label}}<br>{hover}",
    }
    return go.Sankey(valueformat=",d", node=node, link=link)
