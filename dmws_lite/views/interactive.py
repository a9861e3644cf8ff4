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
from dmws_lite.views.plans import Plans, coverage_bars, elements_of, owned, tensor_maps

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

        for data, facts in self.bundles():
            display(data, metadata=facts, raw=True)

    def bundles(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """What a cell shows: the figure and, where it has thumbnails, the script that shows them."""
        script = files("dmws_lite").joinpath("views", "beside.js").read_text(encoding="utf-8")
        return [self._repr_mimebundle_(), *[({"text/html": f"<script>{script}</script>"}, {})] * bool(self.layout.meta)]

    def _repr_mimebundle_(self, *_: Any, **__: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, facts = self.twin._repr_mimebundle_()
        if "google.colab" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ:  # they fetch plotly.js for HTML
            return {**data, "text/html": self.to_html(CONFIG, include_plotlyjs="cdn", full_html=False)}, facts
        return {**data, PLOTLY: {**json.loads(self.to_json()), "config": CONFIG}}, facts

    def png(self, dpi: int = 110) -> bytes:
        """The static twin as PNG."""
        return self.twin.png(dpi)


def interactive(
    twin: style.Picture, traces: Sequence[Any], title: str, height: int = 460, frames: Sequence[Any] = (), **layout: Any
) -> Interactive:
    """A figure in the looks that all share; its arrays are lists, which any plotly.js reads, nan is None."""
    heading = {"text": title, "font": {"size": 14}, "x": 0.01, "y": 0.98, "yanchor": "top"}
    parts = [[part if isinstance(part, dict) else part.to_plotly_json() for part in some] for some in (traces, frames)]
    data, pictures = json.loads(PlotlyJSONEncoder().encode(parts))
    figure = Interactive(data, LOOKS | {"title": heading, "height": height}, pictures)
    figure.update_layout(**layout)
    figure.twin = twin
    return figure


def slider(names: Sequence[str], prefix: str, active: int = 0) -> list[dict[str, Any]]:
    """A slider below a figure, with a step for each of its frames."""
    steps = [{"label": name, "method": "animate", "args": [[name], AT_ONCE]} for name in names]
    look = {"currentvalue": {"prefix": prefix, "font": {"size": 12}}, "pad": {"t": 55, "b": 5}, "font": {"size": 10}}
    return [{"steps": steps, "active": active, **look}]


def choices(method: str, options: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """A list to choose from, above a figure on the right; of each choice the arguments of plotly's `method`."""
    buttons = [{"label": name, "method": method, "args": list(args)} for name, args in options.items()]
    place = {"x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"}
    return [{"buttons": buttons, **place, "bgcolor": "#FFFFFF", "pad": {"b": 4}}] if len(options) > 1 else []


def only(number: int, count: int) -> list[dict[str, Any]]:
    return [{"visible": [i == number for i in range(count)]}]


def explore_elements(plans: Mapping[str, Plans], tensors: Sequence[str]) -> Interactive:
    """Who receives each element of teacher tensors: a slider over tensors, and a list of selection strategies.

    plans:   by the strategy's name, one plan or those of several students, main first; of one pair of networks.
    tensors: the teacher's tensors. Of each axis the first and the last 12 indices are shown, so that a strategy that
             deals out blocks shows both ends; kernel axes are left out, since a kernel goes as a whole.
    Hover tells layer, axes and indices in the teacher, and which student has the element as which of its own.
    Raises ValueError for a tensor that feeds no student.

    >>> import dmws_lite as dm
    >>> plans = {"uniform": dm.complementary_plans("embedded_vit_96", "embedded_vit_48")}
    >>> figure = dm.explore_elements(plans, ["blocks.0.mlp.fc1.weight"])
    >>> figure.data[0].hovertext[1][3]
    'auxiliary [0, 1]'
    """
    several = {name: [own] if isinstance(own, SelectionPlan) else own for name, own in plans.items()}
    roles = {"several": style.SHARED, "nobody": style.UNUSED} | style.students(max(map(len, several.values())))
    scale = [[(i + edge) / len(roles), colour] for i, colour in enumerate(roles.values()) for edge in (0, 1)]
    look = {"colorscale": scale, "zmin": -1.5, "zmax": len(roles) - 1.5, "xgap": 1, "ygap": 1, "showscale": False}
    maps = {tensor: [_map(own, tensor, list(roles)) for own in several.values()] for tensor in tensors}
    heats, layouts = zip(*maps[tensors[0]], strict=True)
    numbers = list(range(len(several)))
    traces = [go.Heatmap(heat, **look, texttemplate="%{text}", visible=i == 0) for i, heat in enumerate(heats)]
    frames = [
        go.Frame(name=name, data=[go.Heatmap(heat) for heat, _ in own], layout=own[0][1], traces=numbers)
        for name, own in maps.items()
    ]
    seen = {number for own in maps.values() for heat, _ in own for number in heat["z"].flat}
    for number, (role, colour) in enumerate(roles.items(), -1):  # the legend: a heat map has no entries of its own
        if number in seen:
            edge, name = {"color": style.PALETTE["random"], "width": 1}, f"{role} ({role[0].upper()})"
            mark = {"symbol": "square", "size": 12, "color": colour, "line": edge}
            traces.append(go.Scatter(x=[None], y=[None], mode="markers", marker=mark, name=name if number else role))
    strategies = {name: [*only(i, len(plans)), numbers] for i, name in enumerate(plans)}
    layout = layouts[0] | {"updatemenus": choices("restyle", strategies), "sliders": slider(tensors, "tensor: ")}
    layout |= {"margin": {"t": 95, "l": 75}, "legend_itemclick": False, "legend_itemdoubleclick": False}
    twin = tensor_maps(next(iter(plans.values())), tensors)
    return interactive(twin, traces, layout.pop("title")["text"], 600, frames, **layout)


def _map(plans: Sequence[SelectionPlan], tensor: str, roles: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The heat map of one tensor, and its title and axes, as plotly takes them; roles: their names, from -1 on."""
    student = next((a.student for plan in plans for a in plan.assignments if a.teacher == tensor), None)
    if student is None:
        some = ", ".join([a.teacher for a in plans[0].assignments][:6])
        raise ValueError(f"{tensor!r} of {plans[0].teacher} feeds no student: choose one of {some}, ...")
    numbers, words = elements_of(plans, tensor)
    letters = {number: role[0].upper() if number else "" for number, role in enumerate(roles, -1)}
    axes = dict(zip("yx", numbers.axes, strict=True))
    hover = ", ".join(f"{own.name} %{{{letter}}}" for letter, own in axes.items() if own.name)
    told = f"teacher, {place_of(tensor)}: {hover}<br>goes to: %{{hovertext}}<extra></extra>"
    heat = {letter: [str(index) for index in own] for letter, own in axes.items()}
    heat |= {"z": numbers.to_numpy(), "text": numbers.map(lambda number: letters.get(number, "")).to_numpy()}
    look = {"type": "category", "showgrid": False, "tickfont": {"size": 9}, "ticks": "", "tickangle": 0}
    return heat | {"hovertext": words.to_numpy(), "hovertemplate": told}, {
        "title": {"text": f"{tensor}: teacher's {place_of(tensor)} → student's {place_of(student)}"},
        "xaxis": {**look, "title": {"text": axes["x"].name, "standoff": 5}},
        "yaxis": {**look, "title": {"text": axes["y"].name}, "autorange": "reversed"},
    }


def explore_coverage(plans: Plans) -> Interactive:
    """The teacher as a treemap of blocks and their tensors: area is the number of elements, colour the share taken.

    plans: one plan, or two of complementary students. A list chooses whose share is shown: that of either student, of
           main, of the auxiliary, or what both have. Hover tells all of them, and the elements.
    Raises ValueError for more than two plans.
    """
    used, teacher = owned(plans), (plans if isinstance(plans, SelectionPlan) else plans[0]).teacher
    if "both" in used:
        used.insert(1, "either", used["main"] + used["auxiliary"] - used["both"])
    places = [place_of(name) for name in used.index]
    blocks = used.groupby(places, sort=False).sum()
    table = pd.concat([used.sum().to_frame(teacher).T, blocks, used])
    sizes = table.pop("elements").astype(int)
    percent = table.div(sizes, axis=0).mul(100).round(2)
    tones = {"either": "#009E73", "main": style.PALETTE["main"], "auxiliary": "#B57600", "both": style.SHARED}
    told = "<br>".join(f"{name}: %{{customdata[{i}]:.2f}} %" for i, name in enumerate(percent))
    shown = {  # what plotly.js's restyle takes: of each attribute a list, one for each trace
        f"share of {name}": [
            {
                "marker.colors": [own.tolist()],
                "marker.colorscale": [[[0, style.UNUSED], [1, tones[name]]]],
                "text": [[f"{value:.1f} %" for value in own]],
            }
        ]
        for name, own in percent.items()
    }
    trace = go.Treemap(
        ids=[teacher, *(f"{teacher}/{block}" for block in blocks.index), *used.index],
        labels=list(table.index),
        parents=["", *[teacher] * len(blocks), *(f"{teacher}/{place}" for place in places)],
        values=sizes.tolist(),
        branchvalues="total",
        sort=False,
        customdata=percent.to_numpy().tolist(),
        marker={"cmin": 0, "cmax": 100, "line": {"color": "#FFFFFF"}},
        texttemplate="%{label}<br>%{text}",
        hovertemplate=f"%{{id}}<br>%{{value:,}} elements<br>{told}<extra></extra>",
        tiling={"pad": 1},
    )
    ((first,), *_) = shown.values()
    trace.update({name.replace(".", "_"): value for name, (value,) in first.items()})
    title = f"Share of {teacher} that a student receives (area: elements)"
    layout: dict[str, Any] = {"updatemenus": choices("restyle", shown), "margin": {"l": 10, "r": 10, "t": 75, "b": 10}}
    return interactive(coverage_bars(plans), [trace], title, 560, **layout)


def explore_flow(plans: SelectionPlan | Mapping[str, SelectionPlan]) -> Interactive:
    """Which part of the teacher feeds which part of the student, as streams as wide as the number of tensors.

    plans: one plan, or several by name, of which a list chooses one. Teacher parts that feed nothing "stay behind".
    Hover tells a stream's tensors and the elements that are copied.
    """
    by_name = {"": plans} if isinstance(plans, SelectionPlan) else dict(plans)
    traces: list[go.Sankey] = []
    for plan in by_name.values():
        fed, theirs = streams(plan), pd.Series(map(place_of, plan.teacher_shapes)).value_counts(sort=False)
        behind = theirs.drop(fed["source"], errors="ignore").rename_axis("source").reset_index(name="tensors")
        flows = pd.concat([fed, behind.assign(target=BEHIND, elements=0)])
        sources, targets = list(theirs.index), list(flows["target"].unique())
        roles = ["teacher"] * len(sources) + ["random" if name == BEHIND else "main" for name in targets]
        node = {"label": sources + targets, "color": [style.PALETTE[role] for role in roles], "pad": 8, "thickness": 14}
        link = {
            "source": [sources.index(name) for name in flows["source"]],
            "target": [len(sources) + targets.index(name) for name in flows["target"]],
            "value": flows["tensors"].tolist(),
            "color": ["#E0E0E0" if name == BEHIND else "#A6CBE3" for name in flows["target"]],
            "customdata": flows["elements"].tolist(),
        }
        node["hovertemplate"] = "%{label}: %{value} tensors<extra></extra>"
        told = "%{value} tensors, %{customdata:,} elements copied<extra></extra>"
        link["hovertemplate"] = f"%{{source.label}} → %{{target.label}}<br>{told}"
        traces.append(go.Sankey(visible=not traces, valueformat=",d", node=node, link=link))
    menus = choices("restyle", {name: only(i, len(traces)) for i, name in enumerate(by_name)})
    first = next(iter(by_name.values()))
    title = f"{first.teacher} (left) feeds {first.student} (right)"
    margin = {"l": 10, "r": 10, "t": 75, "b": 20}
    return interactive(mapped_blocks(plans), traces, title, 560, updatemenus=menus, margin=margin)
