"""Checks which values params.yaml may have, and the error messages for all others."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import parse_yaml
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT
from mlp.errors import InputError
from pipeline.params import load
from pipeline.params.complete import Params

DEFAULTS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
DEFAULT_TEXT = yaml.safe_dump(DEFAULTS)
HIDDEN = "a list of 1 to 10 integers, each from 1 to 10000"
SEEDS = "a list of 1 to 1000 distinct integers, each from 0 to 2^63 - 1"
RATE = "a number above 0 and at most 1"
COUNT = "an integer from 1 to 1000000000"
ARCHITECTURES = "a list of 1 to 1000 distinct lists, each of 1 to 10 integers from 1 to 10000"
RATES = "a list of 1 to 1000 distinct numbers, each above 0 and at most 1"
PENALTIES = "a list of 1 to 1000 distinct numbers, each from 0 to 1000000"
BETAS = "a list of two numbers, each at least 0 and below 1"


def with_value(key: str, value: object) -> dict[str, Any]:
    group, _, name = key.rpartition(".")
    if group:
        return DEFAULTS | {group: DEFAULTS[group] | {name: value}}
    return DEFAULTS | {name: value}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("params") / "params.yaml"


def complaint(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        load(Params, path)
    return str(error.value).replace(str(path), "params.yaml")


def test_every_key_has_a_description_of_what_is_allowed() -> None:
    groups = [Params, *(field.annotation for field in Params.model_fields.values())]
    for group in groups:
        for name, field in getattr(group, "model_fields", {}).items():
            assert field.description or field.annotation in groups, f"{name} needs a type with a description"


def test_the_file_in_the_repository_is_valid() -> None:
    params = load(Params, ROOT / "params.yaml")
    assert (params.hidden, params.train_shallow.hidden, len(params.seeds)) == ([80, 40, 20], 64, 8)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("dataset", "../mnist", "mnist, fashion_mnist, or the name of a folder in data/manual"),
        ("hidden", [], HIDDEN),
        ("hidden", "80", HIDDEN),
        ("hidden", [1] * 11, HIDDEN),
        ("seeds", [], SEEDS),
        ("seeds", [1, 1], SEEDS),
        ("train_deep.learning_rate", float("nan"), RATE),
        ("train_deep.learning_rate", float("inf"), RATE),
        ("train_deep.learning_rate", "nan", RATE),
        ("train_deep.learning_rate", "fast", RATE),
        ("train_deep.learning_rate", True, RATE),
        ("train_deep.learning_rate", 0, RATE),
        ("train_shallow.learning_rate", -0.1, RATE),
        ("train_shallow.learning_rate", None, RATE),
        ("train_deep.epochs", 0, COUNT),
        ("train_deep.epochs", 1.0, COUNT),
        ("train_deep.epochs", "5", COUNT),
        ("train_deep.batch_size", True, COUNT),
        ("train_deep.batch_size", 2**63, COUNT),
        ("preprocess.validation_size", 2**31, "an integer from 0 to 1000000000"),
        ("seeds", [3, 4, 3], SEEDS),
        ("preprocess_prices.file", "a\0b", "a string of one line that is not empty"),
        ("train_shallow.hidden", 0, "an integer from 1 to 10000"),
        ("preprocess.validation_size", -1, "an integer from 0 to 1000000000"),
        ("preprocess.seed", 2**63, "an integer from 0 to 2^63 - 1"),
        ("preprocess", 7, "the keys validation_size, seed"),
        ("compare_sizes.architectures", [], ARCHITECTURES),
        ("compare_sizes.architectures", [[40, 20], [40, 20]], ARCHITECTURES),
        ("compare_learning_rates.learning_rates", [], RATES),
        ("compare_learning_rates.learning_rates", [0.1, 0.1], RATES),
        ("preprocess_prices.file", "", "a string of one line that is not empty"),
        ("preprocess_prices.sheet", 1, "a string of one line that is not empty"),
        ("preprocess_prices.test_size", 0, COUNT),
        ("train_prices.deep_hidden", 80, HIDDEN),
        ("evaluate_prices.ridge_penalties", 1, PENALTIES),
        ("train_binary.betas", [0.9], BETAS),
        ("train_binary.l1_penalties", [0, 0], PENALTIES),
        ("train_deep.lr", 0.1, "the keys epochs, batch_size, learning_rate"),
        ("sead", 1, f"the keys {', '.join(DEFAULTS)}"),
    ],
)
def test_one_line_names_key_value_and_what_is_allowed(path: Path, key: str, value: object, allowed: str) -> None:
    text = yaml.safe_dump(with_value(key, value))
    assert complaint(path, text) == f"params.yaml: {key} is {value!r}; allowed: {allowed}"


@pytest.mark.parametrize("item", [True, 0, -3, 1.5, "20", None])
def test_an_invalid_item_of_a_list_is_named_by_its_index(path: Path, item: object) -> None:
    text = yaml.safe_dump(with_value("hidden", [80, item]))
    assert complaint(path, text) == f"params.yaml: hidden[1] is {item!r}; allowed: {HIDDEN}"


@pytest.mark.parametrize(
    ("key", "items", "place", "wrong", "allowed"),
    [
        ("compare_sizes.architectures", [[40], [0]], "[1][0]", 0, ARCHITECTURES),
        ("compare_learning_rates.learning_rates", [0.1, 0], "[1]", 0, RATES),
        ("train_binary.betas", [1, 0.999], "[0]", 1, BETAS),
        ("train_binary.l1_penalties", [-1], "[0]", -1, PENALTIES),
    ],
)
def test_an_invalid_item_of_an_inner_list_is_named_by_its_index(
    path: Path, key: str, items: list[Any], place: str, wrong: object, allowed: str
) -> None:
    text = yaml.safe_dump(with_value(key, items))
    assert complaint(path, text) == f"params.yaml: {key}{place} is {wrong!r}; allowed: {allowed}"


def test_small_numbers_in_lists_survive_the_way_dvc_writes_them(path: Path) -> None:
    path.write_text(
        yaml.safe_dump(with_value("train_binary.l1_penalties", [0, "small"])).replace("small", "1e-05"),
        encoding="utf-8",
    )
    assert load(Params, path).train_binary.l1_penalties == [0, 1e-5]


@pytest.mark.parametrize("epochs", ["010", "0777", "0o10", "08", "0x10", "1_000"])
def test_a_number_is_parsed_as_dvc_parses_it(path: Path, epochs: str) -> None:
    path.write_text(yaml.safe_dump(with_value("train_deep.epochs", "many")).replace("many", epochs), encoding="utf-8")
    assert (
        load(Params, path).train_deep.epochs
        == parse_yaml(path.read_text(encoding="utf-8"), path)["train_deep"]["epochs"]
    )


@pytest.mark.parametrize(
    ("written", "read"), [("yes", "'yes'"), ("1:30", "'1:30'"), ("'10'", "'10'"), ("1e1", "10.0"), (".inf", "inf")]
)
def test_integers_of_other_yaml_versions_are_rejected(path: Path, written: str, read: str) -> None:
    text = yaml.safe_dump(with_value("train_deep.epochs", "many")).replace("many", written)
    assert complaint(path, text) == f"params.yaml: train_deep.epochs is {read}; allowed: {COUNT}"


def test_each_invalid_key_gets_a_line_of_its_own(path: Path) -> None:
    wrong = with_value("train_deep.epochs", 0)
    del wrong["hidden"]
    assert complaint(path, yaml.safe_dump(wrong)).splitlines() == [
        f"params.yaml: hidden is missing; allowed: {HIDDEN}",
        f"params.yaml: train_deep.epochs is 0; allowed: {COUNT}",
    ]


def test_an_empty_file_is_reported_in_one_line(path: Path) -> None:
    assert complaint(path, "") == f"params.yaml: the file is None; allowed: the keys {', '.join(DEFAULTS)}"


def test_a_file_that_is_not_yaml_is_reported_in_one_line(path: Path) -> None:
    assert complaint(path, "hidden: [80").startswith("params.yaml, line 2: not YAML: ")


@given(st.floats(min_value=0, max_value=1, exclude_min=True))
def test_every_notation_of_a_learning_rate_is_that_number(path: Path, rate: float) -> None:
    for text in (repr(rate), f"{rate:.17e}"):
        path.write_text(DEFAULT_TEXT.replace("learning_rate: 0.001", f"learning_rate: {text}"), encoding="utf-8")
        assert load(Params, path).train_deep.learning_rate == rate
