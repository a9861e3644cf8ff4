"""What explorers are made of: controls with readable labels, a picture as HTML, and the wiring between them."""

from __future__ import annotations

import base64
import gc
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Any

import ipywidgets

from dmws_lite.views.style import Picture

# JupyterLab takes the keys of its shortcuts from lists and sliders too: there an arrow would leave the explorer, and
# "d d" would delete its cell. This gives whatever has the focus its keys; outside of JupyterLab it does nothing.
KEYS = """<style onload="this.closest('.jp-OutputArea-output')?.addEventListener(
'focusin', event => event.target.setAttribute('data-lm-suppress-shortcuts', ''))"></style>"""


def control(kind: type, description: str, **options: Any) -> Any:
    """An ipywidgets control with its label. An entry of a list may not be None: ipywidgets would show it as blank."""
    layout = ipywidgets.Layout(width="30em", max_width="98%")
    return kind(description=description, style={"description_width": "10em"}, layout=layout, **options)


def choice(description: str, options: Iterable[Any], **value: Any) -> ipywidgets.Dropdown:
    """A list to choose one of; options are values, or pairs (text, value)."""
    return control(ipywidgets.Dropdown, description, options=list(options), **value)


def slider(description: str, low: int, high: int, value: int) -> ipywidgets.IntSlider:
    return control(ipywidgets.IntSlider, description, min=low, max=high, value=value)


def page(controls: Iterable[Any], *views: Any) -> list[Any]:
    """The parts of an explorer: controls side by side, on as many lines as the window needs, and below them views."""
    keys = ipywidgets.HTML(KEYS, layout=ipywidgets.Layout(display="none"))
    return [ipywidgets.HBox(list(controls), layout=ipywidgets.Layout(flex_flow="row wrap")), *views, keys]


def as_html(figure: Picture, line: str = "") -> str:
    """A picture, as wide as the window lets it be, with its alt text; above it a line of text."""
    image = base64.b64encode(figure.png(dpi=90)).decode()
    text = f"<p>{escape(line)}</p>" if line else ""
    alt = escape(figure.alt_text)
    return f'{text}<img alt="{alt}" src="data:image/png;base64,{image}" style="max-width: 100%; height: auto">'


def alert(error: Exception) -> str:
    """Why something is not possible, for eyes and for screen readers."""
    return f'<p role="alert"><b>not possible:</b> {escape(str(error))}</p>'


def explorer(controls: Mapping[str, Any], draw: Callable[..., str]) -> ipywidgets.VBox:
    """Controls, and below them the HTML that `draw` makes of their values, again after each change.

    A ValueError shows as text: the choice is not possible. Any other error is raised.
    """
    view = ipywidgets.HTML()
    drawn_values: dict[str, Any] | None = None

    def show(_: Any = None) -> None:
        nonlocal drawn_values
        values = {name: control.value for name, control in controls.items()}
        if values == drawn_values:  # a control that changes another would have it drawn twice
            return
        drawn_values = None
        gc.freeze()  # a collection of all that torch brings would hold a move up for 0.3 seconds, now and then
        try:
            view.value = draw(**values)
        except ValueError as error:
            view.value = alert(error)
        finally:
            gc.unfreeze()
        drawn_values = values

    for widget in controls.values():
        widget.observe(show, "value")
    show()
    return ipywidgets.VBox(page(controls.values(), view))
