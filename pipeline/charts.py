"""Charts as SVG. Their templates in .dvc/plots, in Vega-Lite, are those that `dvc plots` fills."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert

Chart = dict[str, Any]

# the first font comes with vl-convert, so that texts are of the same width on every machine
FONT = "Liberation Sans, Arial, sans-serif"
LOOK: Chart = {  # of a picture that stands alone
    "background": "white",
    "config": {
        "font": FONT,
        "legend": {"orient": "top", "columns": 3},
        "range": {"category": ["#0b6fa4", "#b5480a", "#6b6b6b", "#2f7d32", "#8e4585", "#8a6d00", "#00797a", "#a83257"]},
    },
}
_TEXT = {"labelColor": "var(--ink)", "titleColor": "var(--ink)"}
_LINE = "var(--line)"
PAGE_LOOK: Chart = {  # of a picture in the report, whose colours are those of the page, light or dark
    "background": None,
    "config": {
        "mark": {"aria": False, "color": "var(--color-1)"},  # the page says what a picture shows
        "rect": {"color": "var(--cell)"},
        "text": {"color": "var(--ink)"},
        "font": FONT,
        "range": {"category": [f"var(--color-{number})" for number in range(1, 9)]},
        "axis": {**_TEXT, "gridColor": _LINE, "domainColor": _LINE, "tickColor": _LINE},
        "legend": {**_TEXT, "orient": "top", "columns": 3},
        "view": {"stroke": _LINE},
    },
}


def chart(template: str, rows: pd.DataFrame, **anchors: str) -> Chart:
    """One panel of a template, filled as DVC fills it: x="epoch" stands for each <DVC_METRIC_X>."""
    text = Path(f".dvc/plots/{template}.json").read_text(encoding="utf-8")
    for name, value in anchors.items():
        text = text.replace(f"<DVC_METRIC_{name.upper()}>", value)
    panel: Chart = json.loads(text)["spec"]
    return panel | {"data": {"values": rows.to_dict("records")}}


def svg(chart: Chart, look: Chart) -> str:
    return vl_convert.vegalite_to_svg(json.dumps(chart | look)) + "\n"
