"""Writes the page that `dvc plots` fills. It contains all scripts, so that its charts work offline."""

import vl_convert

from pipeline.files import write_texts
from pipeline.params import Schema as Params
from pipeline.stage import run
from pipeline.templates import render


def main(_: Params) -> None:
    vega = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    write_texts({"plots/page.html": render("dvc_plots.html", vega=vega)})


if __name__ == "__main__":
    run(main, Params)
