"""Writes into dvc.yaml, for each stage, the modules of this repository that it imports, and no others."""

from typing import Any

from dvc.utils.serialize import modify_yaml

from pipeline.imports import modules


def main() -> None:
    with modify_yaml("dvc.yaml") as content:
        for name, stage in content["stages"].items():
            stage["deps"] = dependencies(name, stage)


def dependencies(name: str, stage: dict[str, Any]) -> list[str]:
    """Of a stage of dvc.yaml: data and other files as they are there, and modules as they are imported, sorted."""
    return sorted({each for each in stage["deps"] if not each.endswith(".py")} | modules(f"stages.{name}"))


if __name__ == "__main__":
    main()
