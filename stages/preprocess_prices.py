"""Splits the houses into training, validation and test splits, once with and once without the large ones."""

from pathlib import Path

from mlp.ames import LARGE, AmesHousingDataset, save, split, standardise
from mlp.errors import InputError
from mlp.house_features import FEATURES
from pipeline.files import atomic_output
from pipeline.params import Schema
from pipeline.params.preprocess_prices import PreprocessPrices
from pipeline.stage import run


class Params(Schema):
    preprocess_prices: PreprocessPrices


def main(params: Params) -> None:
    group = params.preprocess_prices
    houses = AmesHousingDataset(Path(group.file), group.sheet)
    if group.validation_size + group.test_size >= len(houses):
        sizes = f"validation_size is {group.validation_size} and test_size is {group.test_size}"
        raise InputError(f"params.yaml: preprocess_prices.{sizes}; allowed: together fewer than all {len(houses)}")
    splits = split(houses, group.validation_size, group.test_size, group.seed)
    small = houses.features[:, FEATURES.index("Gr Liv Area")] <= LARGE
    small_splits = [chosen[small[chosen]] for chosen in splits]
    if min(map(len, small_splits)) < 2:
        counts = ", ".join(str(len(chosen)) for chosen in small_splits)
        raise InputError(
            f"{group.file}: the training, validation and test splits have {counts} houses of at most {LARGE} square "
            "feet of living area; allowed: at least 2 in each"
        )
    with atomic_output(Path("data/prices")) as folder:
        for name, chosen in (("all", splits), ("without_large", small_splits)):
            (folder / name).mkdir(parents=True)
            standardised = standardise(houses, chosen[0], chosen)
            for name_of_split, of_split in zip(("train", "validation", "test"), standardised, strict=True):
                save(of_split, folder / name / f"{name_of_split}.safetensors")


if __name__ == "__main__":
    run(main, Params)
