"""Sets the Python dependencies of each stage in dvc.yaml to the modules of this repository that it imports."""

from typing import Any

from dvc.utils.serialize import modify_yaml

from pipeline.imports import modules


def main() -> None:
    with modify_yaml("dvc.yaml") as content:
        for name, stage in content["stages"].items():
            stage["deps"] = dependencies(name, stage)


def dependencies(name: str, stage: dict[str, Any]) -> list[str]:
    """Returns a stage's dependencies, sorted: all but Python files from dvc.yaml, and the modules that it imports."""
    return sorted({each for each in stage["deps"] if not each.endswith(".py")} | modules(f"stages.{name}"))


if __name__ == "__main__":
    main()
