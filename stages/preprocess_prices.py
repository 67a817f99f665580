"""Splits the houses into training, validation and test parts: once with all of them, once without the large ones."""

from pathlib import Path

from mlp.ames import LARGE, AmesHousingDataset, save, split, standardise
from mlp.errors import InputError
from mlp.params import Params
from mlp.spec import FEATURES
from stages import run, whole


def main(params: Params) -> None:
    group = params.preprocess_prices
    houses = AmesHousingDataset(Path(group.file), group.sheet)
    if group.validation_size + group.test_size >= len(houses):
        sizes = f"validation_size is {group.validation_size} and test_size is {group.test_size}"
        raise InputError(f"params.yaml: preprocess_prices.{sizes}; allowed: together fewer than all {len(houses)}")
    parts = split(houses, group.validation_size, group.test_size, group.seed)
    small = houses.features[:, FEATURES.index("Gr Liv Area")] <= LARGE
    small_parts = [part[small[part]] for part in parts]
    if min(map(len, small_parts)) < 2:
        counts = ", ".join(str(len(part)) for part in small_parts)
        raise InputError(
            f"{group.file}: the training, validation and test parts have {counts} houses of at most {LARGE} square "
            "feet of living area; allowed: at least 2 in each"
        )
    with whole(Path("data/prices")) as folder:
        for name, chosen in (("all", parts), ("without_large", small_parts)):
            (folder / name).mkdir(parents=True)
            standardised = standardise(houses, chosen[0], chosen)
            for part, of_part in zip(("train", "validation", "test"), standardised, strict=True):
                save(of_part, folder / name / f"{part}.safetensors")


if __name__ == "__main__":
    run(main)
