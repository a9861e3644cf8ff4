"""Pictures of plans to explore: plotly figures that say more under the mouse, and a picture where plotly cannot show.

`Interactive` is what all of them are. Colours are those of the static pictures.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dmws_lite.method.components import FIXED, squeezed
from dmws_lite.method.plan import Assignment, SelectionPlan
from dmws_lite.views import style
from dmws_lite.views.architecture import mapped_blocks, place_of
from dmws_lite.views.plans import Plans, coverage_bars, tensor_maps

PLOTLY = "application/vnd.plotly.v1+json"
CONFIG = {"displayModeBar": False, "responsive": True}  # its buttons would cover titles in a narrow window
END = 12  # of each axis of a tensor its map shows the first and the last so many indices
BEHIND = "stays behind"
AT_ONCE = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}


class Interactive(go.Figure):
    """A plotly figure with its static twin, which GitHub, print and screen readers get, with its alt text.

    A notebook's cell that ends with one shows it; `figures.save` writes the twin.
    """

    twin: Any = None  # a style.Picture
    _ipython_display_ = _repr_html_ = None  # IPython then asks for the bundle below alone

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
    """A figure in the looks that all share: as wide as its page, and on white, so that dark pages show it as well."""
    looks: dict[str, Any] = {
        "template": "none",
        "title": {"text": title, "font": {"size": 14}, "x": 0.01, "y": 0.98, "yanchor": "top"},
        "font": {"size": 12, "color": "#222222"},
        "paper_bgcolor": "#FFFFFF",
        "plot_bgcolor": "#FFFFFF",
        "margin": {"l": 60, "r": 20, "t": 80, "b": 50},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hoverlabel": {"align": "left", "bgcolor": "#FFFFFF", "font": {"color": "#222222"}},
        "hovermode": "closest",
        "height": height,
    }
    figure = Interactive(list(traces), looks, list(frames))
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
    several = {name: [own] if isinstance(own, SelectionPlan) else list(own) for name, own in plans.items()}
    students, numbers = max(map(len, several.values())), list(range(len(several)))
    roles = ["nobody", *style.student_names(students), "several"]
    colours = [style.UNUSED, *style.student_colours(students), style.SHARED]
    scale = [[(i + edge) / len(roles), colour] for i, colour in enumerate(colours) for edge in (0, 1)]
    look = {"colorscale": scale, "zmin": -0.5, "zmax": len(roles) - 0.5, "xgap": 1, "ygap": 1, "showscale": False}
    maps = {tensor: [_map(own, tensor, roles) for own in several.values()] for tensor in tensors}
    (heats, layouts), *_ = [tuple(zip(*own, strict=True)) for own in maps.values()]
    traces = [go.Heatmap(**heat, **look, texttemplate="%{text}", visible=i == 0) for i, heat in enumerate(heats)]
    frames = [
        go.Frame(name=name, data=[go.Heatmap(**heat) for heat, _ in own], layout=own[0][1], traces=numbers)
        for name, own in maps.items()
    ]
    taken = {number for own in maps.values() for heat, _ in own for line in heat["z"] for number in line}
    traces += [_legend(role, colour) for i, (role, colour) in enumerate(zip(roles, colours, strict=True)) if i in taken]
    strategies = {name: [*only(i, len(plans)), numbers] for i, name in enumerate(plans)}
    options: dict[str, Any] = {
        "updatemenus": choices("restyle", strategies),
        "sliders": slider(list(tensors), "tensor: "),
        "margin": {"t": 95, "l": 75},
        "legend_itemclick": False,
        "legend_itemdoubleclick": False,
    }
    axes = {name: layouts[0][name] for name in ("xaxis", "yaxis")}
    twin = tensor_maps(next(iter(plans.values())), tensors)
    return interactive(twin, traces, layouts[0]["title"]["text"], 600, frames, **axes, **options)


def _legend(role: str, colour: str) -> go.Scatter:
    """An entry of the legend, for what has none of its own."""
    mark = {"symbol": "square", "size": 12, "color": colour, "line": {"color": style.PALETTE["random"], "width": 1}}
    name = role if role == "nobody" else f"{role} ({role[0].upper()})"
    return go.Scatter(x=[None], y=[None], mode="markers", marker=mark, name=name)


def _map(plans: Sequence[SelectionPlan], tensor: str, roles: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The heat map of one tensor, and its axes and title, as plotly takes them."""
    fed = [next((a for a in plan.assignments if a.teacher == tensor), None) for plan in plans]
    a = next(filter(None, fed), None)
    if a is None:
        some = ", ".join([a.teacher for a in plans[0].assignments][:6])
        raise ValueError(f"{tensor!r} of {plans[0].teacher} feeds no student: choose one of {some}, ...")
    kept = ([i for i, axis in enumerate(a.axes) if axis not in FIXED] or list(range(len(a.axes))))[:2]
    sizes, names = [squeezed(a.teacher_shape, len(a.axes))[i] for i in kept], [a.axes[i] for i in kept]
    places = [[_places(own, i, size) for i, size in zip(kept, sizes, strict=True)] for own in fed]
    rows, columns = ([[0]] + [_shown(size) for size in sizes])[-2:]
    cells = [[_owners(places, (row, column)[-len(kept) :]) for column in columns] for row in rows]
    numbers = [[None if own is None else _role(own, len(roles)) for own in line] for line in cells]
    hover = ", ".join(f"{name} %{{{letter}}}" for name, letter in zip(names, "yx"[-len(kept) :], strict=True))
    heat = {
        "z": numbers,
        "text": [[roles[number][0].upper() if number else "" for number in line] for line in numbers],
        "hovertext": [
            ["; ".join(f"{roles[k]} {where}" for k, where in (own or {}).items()) or "nobody" for own in line]
            for line in cells
        ],
        "x": ["…" if i is None else str(i) for i in columns],
        "y": ["…" if i is None else str(i) for i in rows],
        "hovertemplate": f"teacher, {place_of(tensor)}: {hover}<br>goes to: %{{hovertext}}<extra></extra>",
    }
    axis = {"type": "category", "showgrid": False, "tickfont": {"size": 9}, "ticks": "", "tickangle": 0}
    titles = ["", *(f"{name} ({size})" for name, size in zip(names, sizes, strict=True))][-2:]
    return heat, {
        "title": {"text": f"{tensor}: teacher's {place_of(tensor)} → student's {place_of(a.student)}"},
        "xaxis": {**axis, "title": {"text": titles[1], "standoff": 5}},
        "yaxis": {**axis, "title": {"text": titles[0]}, "autorange": "reversed"},
    }


def _shown(size: int) -> list[int | None]:
    """The indices of an axis that are shown; None is a gap."""
    return list(range(size)) if size <= 2 * END else [*range(END), None, *range(size - END, size)]


def _places(a: Assignment | None, axis: int, size: int) -> np.ndarray:
    """For each teacher index of an axis the student's own, -1 where it does not get it."""
    places = np.full(size, -1)
    if a is not None:
        taken = a.written_out[axis]
        places[taken] = np.arange(len(taken))
    return places


def _owners(places: Sequence[Sequence[np.ndarray]], index: Sequence[int | None]) -> dict[int, list[int]] | None:
    """By the number of each student that has an element (main is 1), its own index; None in a gap."""
    if None in index:
        return None
    own = [[int(place[i]) for place, i in zip(student, index, strict=True)] for student in places]
    return {number: where for number, where in enumerate(own, 1) if min(where) >= 0}


def _role(owners: Mapping[int, Any], roles: int) -> int:
    """0 for nobody, the student's number for one, the last role for several."""
    return roles - 1 if len(owners) > 1 else next(iter(owners), 0)


def explore_coverage(plans: Plans) -> Interactive:
    """The teacher as a treemap of blocks and their tensors: area is the number of elements, colour the share taken.

    plans: one plan, or two of complementary students. A list chooses whose share is shown: that of either student, of
           main, of the auxiliary, or what both have. Hover tells all of them, and the elements.
    Raises ValueError for more than two plans.
    """
    twin = coverage_bars(plans)
    main, *others = [plans] if isinstance(plans, SelectionPlan) else plans
    elements = pd.Series({name: int(np.prod(shape)) for name, shape in main.teacher_shapes.items()})
    shares = pd.DataFrame({"main": main.coverage().tensors}, elements.index)
    if others:
        shares["auxiliary"], shares["both"] = others[0].coverage().tensors, main.overlap(others[0]).tensors
        shares.insert(0, "either", shares["main"] + shares["auxiliary"] - shares["both"])
    used = shares.mul(elements, axis=0).assign(elements=elements, place=[place_of(name) for name in elements.index])
    blocks = used.groupby("place", sort=False).sum()
    whole = blocks.sum().to_frame(main.teacher).T
    table = pd.concat([whole, blocks, used.drop(columns="place")])
    ids = [main.teacher, *(f"{main.teacher}/{block}" for block in blocks.index), *elements.index]
    parents = ["", *[main.teacher] * len(blocks), *(f"{main.teacher}/{place}" for place in used["place"])]
    sizes = table.pop("elements").astype(int)
    percent = table.div(sizes, axis=0).mul(100).round(2)
    tones = {"either": "#009E73", "main": style.PALETTE["main"], "auxiliary": "#B57600", "both": style.SHARED}
    lists = {name: _coloured(percent[name].tolist(), tones[name]) for name in percent}
    told = "<br>".join(f"{name}: %{{customdata[{i}]:.2f}} %" for i, name in enumerate(percent))
    trace = go.Treemap(
        ids=ids,
        labels=list(table.index),
        parents=parents,
        values=sizes.tolist(),
        branchvalues="total",
        sort=False,
        customdata=percent.to_numpy().tolist(),
        marker={"cmin": 0, "cmax": 100, "line": {"color": "#FFFFFF"}},
        texttemplate="%{label}<br>%{text}",
        hovertemplate=f"%{{id}}<br>%{{value:,}} elements<br>{told}<extra></extra>",
        tiling={"pad": 1},
    )
    trace.update({name.replace(".", "_"): values[0] for name, values in next(iter(lists.values())).items()})
    menus = choices("restyle", {f"share of {name}": [change] for name, change in lists.items()})
    title = f"Share of {main.teacher} that a student receives (area: elements)"
    return interactive(twin, [trace], title, 560, updatemenus=menus, margin={"l": 10, "r": 10, "t": 75, "b": 10})


def _coloured(percent: Sequence[float], tone: str) -> dict[str, Any]:
    """Colours and texts of a treemap's parts, as plotly.js's restyle takes them: of each a list, one for each trace."""
    scale, texts = [[0, style.UNUSED], [1, tone]], [f"{value:.1f} %" for value in percent]
    return {"marker.colors": [list(percent)], "marker.colorscale": [scale], "text": [texts]}


def explore_flow(plans: SelectionPlan | Mapping[str, SelectionPlan]) -> Interactive:
    """Which part of the teacher feeds which part of the student, as streams as wide as the number of tensors.

    plans: one plan, or several by name, of which a list chooses one. Teacher parts that feed nothing "stay behind".
    Hover tells a stream's tensors and the elements that are copied.
    """
    by_name = {"": plans} if isinstance(plans, SelectionPlan) else dict(plans)
    traces = [_streams(plan, visible=i == 0) for i, plan in enumerate(by_name.values())]
    menus = choices("restyle", {name: only(i, len(traces)) for i, name in enumerate(by_name)})
    first = next(iter(by_name.values()))
    title = f"{first.teacher} (left) feeds {first.student} (right)"
    margin = {"l": 10, "r": 10, "t": 75, "b": 20}
    return interactive(mapped_blocks(plans), traces, title, 560, updatemenus=menus, margin=margin)


def _streams(plan: SelectionPlan, visible: bool) -> go.Sankey:
    rows = [(place_of(a.teacher), place_of(a.student), a.size) for a in plan.assignments]
    fed = pd.DataFrame(rows, columns=["source", "target", "elements"]).groupby(["source", "target"], sort=False)
    streams = fed["elements"].agg(tensors="count", elements="sum").reset_index()
    theirs = pd.Series([place_of(name) for name in plan.teacher_shapes]).value_counts(sort=False)
    behind = theirs[~theirs.index.isin(streams["source"])].rename_axis("source").reset_index(name="tensors")
    streams = pd.concat([streams, behind.assign(target=BEHIND, elements=0)])
    sources, targets = list(theirs.index), list(dict.fromkeys(streams["target"]))
    tones = ["random" if name == BEHIND else "main" for name in targets]
    colours = [style.PALETTE[role] for role in ["teacher"] * len(sources) + tones]
    return go.Sankey(
        visible=visible,
        valueformat=",d",
        node={"label": sources + targets, "color": colours, "pad": 8, "thickness": 14}
        | {"hovertemplate": "%{label}: %{value} tensors<extra></extra>"},
        link={
            "source": [sources.index(name) for name in streams["source"]],
            "target": [len(sources) + targets.index(name) for name in streams["target"]],
            "value": streams["tensors"].astype(int).tolist(),
            "color": ["#E0E0E0" if name == BEHIND else "#A6CBE3" for name in streams["target"]],
            "customdata": streams["elements"].astype(int).tolist(),
            "hovertemplate": "%{source.label} → %{target.label}<br>%{value} tensors, %{customdata:,} elements copied"
            "<extra></extra>",
        },
    )
