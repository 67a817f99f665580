"""The report's charts, in Vega-Lite, as SVG."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import vl_convert

from pipeline.networks import NETWORKS

Chart = dict[str, Any]

# the first font comes with vl-convert, so that texts are of the same width on every machine
FONT = "Liberation Sans, Arial, sans-serif"
LOOK: Chart = {  # of a picture that stands alone
    "background": "white",
    "config": {"font": FONT, "range": {"category": ["#0b6fa4", "#b5480a", "#6b6b6b"]}},
}
_INK, _LINE = "var(--ink)", "var(--line)"
PAGE_LOOK: Chart = {  # of a picture in the report, whose colours are those of the page, light or dark
    "background": None,
    "config": {
        "mark": {"aria": False},  # the page says what a picture shows
        "font": FONT,
        "range": {"category": ["var(--shallow)", "var(--deep)", "var(--soft)"]},
        "axis": {"labelColor": _INK, "titleColor": _INK, "gridColor": _LINE, "domainColor": _LINE, "tickColor": _LINE},
        "legend": {"labelColor": _INK, "titleColor": _INK},
        "header": {"labelColor": _INK, "titleColor": _INK},
        "view": {"stroke": _LINE},
    },
}


def svg(chart: Chart, look: Chart) -> str:
    return vl_convert.vegalite_to_svg(json.dumps(chart | look)) + "\n"


def learning_curves(curves: pd.DataFrame, measures: dict[str, str], title: str) -> Chart:
    """Mean over seeds as a line, in a band from the lowest to the highest. `measures` are columns and their names."""
    means = (
        curves.melt(["network", "epoch"], list(measures), "measure")
        .groupby(["network", "epoch", "measure"], sort=False)
        .value.agg(["mean", "min", "max"])
        .dropna()
        .reset_index()
        .replace({"measure": measures})
    )
    legend = {"title": None, "orient": "top", "symbolType": "stroke", "symbolStrokeColor": "gray"}
    dash = {"field": "measure", "type": "nominal", "sort": None, "legend": legend}
    return {
        "data": {"values": means.round(6).to_dict("records")},
        "width": 260,
        "height": 200,
        "encoding": {
            "x": {
                "field": "epoch",
                "type": "quantitative",
                "title": "epoch",
                "axis": {"tickMinStep": 1, "tickCount": 5},
            },
            "color": _network(),
            "strokeDash": dash if len(measures) > 1 else {},
        },
        "layer": [
            {
                "mark": {"type": "area", "opacity": 0.2},
                "encoding": {
                    "y": {"field": "min", "type": "quantitative", "scale": {"zero": False}, "title": title},
                    "y2": {"field": "max"},
                    "detail": {"field": "measure"},
                },
            },
            {
                "mark": {"type": "line", "strokeWidth": 2, "point": {"size": 12}},
                "encoding": {"y": {"field": "mean", "type": "quantitative"}},
            },
        ],
    }


def accuracy_by(x: str, title: str, networks: pd.DataFrame) -> Chart:
    """Test accuracy of each seed (light) and the mean of each network, by what it costs, on a logarithmic axis."""
    axis = {"format": "~s", "tickCount": 4, "labelOverlap": True}
    accuracy = {"field": "accuracy", "type": "quantitative", "scale": {"zero": False}, "title": "test accuracy"}
    labels = {"field": "network", "type": "nominal"}
    return {
        "data": {"values": networks[["network", x, "accuracy"]].to_dict("records")},
        "transform": [
            {
                "calculate": f"indexof({list(NETWORKS)}, datum.network) < 0 ? 'other sizes' : datum.network",
                "as": "kind",
            }
        ],
        "width": 260,
        "height": 200,
        "encoding": {
            "x": {
                "field": x,
                "type": "quantitative",
                "title": title,
                "scale": {"type": "log", "nice": False, "padding": 30},
                "axis": axis,
            },
            "color": _network("kind", [*NETWORKS, "other sizes"]),
        },
        "layer": [
            {"mark": {"type": "point", "size": 25, "opacity": 0.6}, "encoding": {"y": accuracy}},
            {
                "mark": {"type": "tick", "thickness": 2, "size": 24, "orient": "horizontal"},
                "encoding": {"y": accuracy | {"aggregate": "mean"}},
            },
            {
                "transform": [{"filter": "datum.kind == 'other sizes'"}],
                "mark": {"type": "text", "dy": 10, "fontSize": 10},
                "encoding": {"y": accuracy | {"aggregate": "min"}, "text": labels},
            },
        ],
    }


def reliability(bins: pd.DataFrame) -> Chart:
    """How often a network is right beside how sure it is."""
    points = {"type": "quantitative", "scale": {"domain": [0, 1]}}
    return {
        "data": {"values": bins.to_dict("records")},
        "width": 260,
        "height": 200,
        "layer": [
            {
                "data": {"values": [{"at": 0}, {"at": 1}]},
                "mark": {"type": "line", "color": "gray", "strokeWidth": 1},
                "encoding": {"x": points | {"field": "at"}, "y": points | {"field": "at"}},
            },
            {
                "mark": {"type": "line", "point": {"filled": True, "size": 20}},
                "encoding": {
                    "x": points | {"field": "confidence", "title": "probability of the predicted class"},
                    "y": points | {"field": "accuracy", "title": "share that is right"},
                    "color": _network(),
                },
            },
        ],
    }


def confusion(shares: pd.DataFrame, classes: Sequence[str]) -> Chart:
    """Share of each actual class (row) that each class is predicted for, in percent."""
    opaque = {"type": "quantitative", "scale": {"type": "sqrt", "domain": [0, 1], "range": [0, 1]}, "legend": None}
    axes = {"type": "nominal", "sort": list(classes)}
    return {
        "data": {
            "values": shares[["actual", "predicted", "share"]]
            .astype({"actual": str, "predicted": str})
            .to_dict("records")
        },
        "transform": [{"calculate": "datum.share < 0.0005 ? '' : format(datum.share * 100, '.1f')", "as": "percent"}],
        "width": 270,
        "height": 270,
        "encoding": {
            "x": axes | {"field": "predicted", "title": "predicted class", "axis": {"labelAngle": -45}},
            "y": axes | {"field": "actual", "title": "actual class"},
        },
        "layer": [
            {
                "mark": {"type": "rect", "color": "var(--cell)"},
                "encoding": {"opacity": opaque | {"field": "share"}},
            },
            {
                "mark": {"type": "text", "fontSize": 9, "color": _INK},
                "encoding": {"text": {"field": "percent", "type": "nominal"}},
            },
        ],
    }


def prices(predictions: pd.DataFrame) -> Chart:
    """A model's predicted beside the real prices."""
    log = {"type": "quantitative", "scale": {"type": "log", "nice": False, "padding": 5}}
    axis = {"format": "~s", "tickCount": 3, "labelOverlap": True}
    return {
        "data": {"values": predictions[["price", "predicted_price"]].to_dict("records")},
        "width": 260,
        "height": 200,
        "layer": [
            {
                "mark": {"type": "point", "size": 6, "filled": True},
                "encoding": {
                    "x": log | {"field": "price", "title": "real price (dollars)", "axis": axis},
                    "y": log | {"field": "predicted_price", "title": "predicted price (dollars)", "axis": axis},
                    "color": {"datum": "", "legend": None},
                },
            },
            {
                "mark": {"type": "line", "color": "gray", "strokeWidth": 1},
                "encoding": {"x": log | {"field": "price"}, "y": log | {"field": "price"}},
            },
        ],
    }


def _network(field: str = "network", names: Iterable[str] = NETWORKS) -> Chart:
    legend = {"title": None, "orient": "top", "symbolOpacity": 1}
    return {"field": field, "type": "nominal", "scale": {"domain": list(names)}, "legend": legend}
