"""Draws charts as SVG from the Vega-Lite templates in .dvc/plots, which `dvc plots` fills too."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert

Chart = dict[str, Any]

# the first font ships with vl-convert, so that text has the same width on every machine
FONT = "Liberation Sans, Arial, sans-serif"
# of the series, in order, on a light and on a dark background
COLOURS = ["#0b6fa4", "#b5480a", "#6b6b6b", "#2f7d32", "#8e4585", "#8a6d00", "#00797a", "#a83257"]
DARK_COLOURS = ["#5ab4e5", "#f2935c", "#a9a9a9", "#7cc47f", "#d492cb", "#d9b84a", "#4fc4c4", "#f08aa6"]
LOOK: Chart = {  # for a standalone picture
    "background": "white",
    "config": {
        "font": FONT,
        "legend": {"orient": "top", "columns": 3},
        "range": {"category": COLOURS},
    },
}
_TEXT = {"labelColor": "var(--ink)", "titleColor": "var(--ink)"}
_LINE = "var(--line)"
PAGE_LOOK: Chart = {  # for a picture in the report: it takes the page's colours, light or dark
    "background": None,
    "config": {
        "mark": {"aria": False, "color": "var(--color-1)"},  # the page itself describes the picture
        "rect": {"color": "var(--cell)"},
        "text": {"color": "var(--ink)"},
        "font": FONT,
        "range": {"category": [f"var(--color-{number})" for number in range(1, len(COLOURS) + 1)]},
        "axis": {**_TEXT, "gridColor": _LINE, "domainColor": _LINE, "tickColor": _LINE},
        "legend": {**_TEXT, "orient": "top", "columns": 3},
        "view": {"stroke": _LINE},
    },
}


def chart(template: str, rows: pd.DataFrame, **anchors: str) -> Chart:
    """Returns one panel of a template, filled as DVC fills it: x="epoch" replaces each <DVC_METRIC_X>."""
    text = Path(f".dvc/plots/{template}.json").read_text(encoding="utf-8")
    for name, value in anchors.items():
        text = text.replace(f"<DVC_METRIC_{name.upper()}>", value)
    panel: Chart = json.loads(text)["spec"]
    return panel | {"data": {"values": rows.to_dict("records")}}


def svg(chart: Chart, look: Chart) -> str:
    return vl_convert.vegalite_to_svg(json.dumps(chart | look)) + "\n"
