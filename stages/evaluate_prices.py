"""Measures the networks on house prices against ridge regression and the median of the training prices.

Dollars are rounded to cents and other measures to four decimals, because LAPACK's results for ridge regression differ
between machines from the fifteenth digit on.
"""

import statistics
from collections.abc import Iterator
from pathlib import Path

import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score, root_mean_squared_error, root_mean_squared_log_error
from torch import Tensor

from mlp import ames
from mlp.ames import Houses, logarithms
from mlp.checkpoints import predict_from_file
from mlp.errors import InputError
from pipeline.files import by_seed, json_text, write_texts
from pipeline.params import Schema, Seeds
from pipeline.params.evaluate_prices import EvaluatePrices
from pipeline.stage import run
from pipeline.tables import csv_text

MAX_DOLLARS = 1e15  # bound on predicted prices: far beyond it, error measures are meaningless


class Params(Schema):
    seeds: Seeds
    evaluate_prices: EvaluatePrices


def main(params: Params) -> None:
    torch.set_num_threads(1)
    scores, predictions = [], []
    for houses in ("all", "without_large"):
        training, validation, test = (
            ames.load(Path("data/prices", houses, f"{split}.safetensors")) for split in ("train", "validation", "test")
        )
        ridge = _ridge(training, validation, params.evaluate_prices.ridge_penalties)
        for split, data in (("validation", validation), ("test", test)):
            baselines = [
                ("median", "", torch.full_like(data.prices, training.median_price())),
                ("ridge", "", data.dollars(torch.from_numpy(ridge.predict(data.inputs().numpy())))),
            ]
            for model, seed, predicted in [*baselines, *_networks(houses, params.seeds, data)]:
                if not ((predicted > 0) & (predicted < MAX_DOLLARS)).all():
                    raise InputError(
                        f"data/prices/{houses}: {model} predicts prices from {predicted.min():.3g} to "
                        f"{predicted.max():.3g} dollars for the {split} split; needed: an Excel file without extreme "
                        "values, or a lower train_prices.learning_rate"
                    )
                scores.append((houses, model, seed, split, *_scores(data.prices, predicted)))
                if (houses, split) == ("all", "test") and seed in ("", str(params.seeds[0])):
                    pairs = zip(data.prices.tolist(), predicted.tolist(), strict=True)
                    predictions += [(model, round(price), round(guess)) for price, guess in pairs]
    rmsle: dict[str, list[float]] = {}
    for houses, model, _, split, _, error, _ in scores:
        if (houses, split) == ("without_large", "test"):
            rmsle.setdefault(model, []).append(error)
    means = {model: {"rmsle": round(statistics.mean(errors), 4)} for model, errors in rmsle.items()}
    header = ["houses", "model", "seed", "split", "rmse", "rmsle", "r2"]
    write_texts(
        {
            "plots/predictions.csv": csv_text(["model", "price", "predicted_price"], predictions),
            "metrics/prices.csv": csv_text(header, scores),
            "metrics/prices.json": json_text({"without_large": means}),
        }
    )


def _ridge(training: Houses, validation: Houses, penalties: list[float]) -> Ridge:
    """Fits ridge regression to the logarithm of the price, with the penalty that is best on the validation split."""
    ridges = [Ridge(alpha=penalty).fit(training.inputs(), training.targets()) for penalty in penalties]
    return max(ridges, key=lambda ridge: ridge.score(validation.inputs(), validation.targets()))


def _networks(houses: str, seeds: list[int], data: Houses) -> Iterator[tuple[str, str, Tensor]]:
    """Yields the kind, seed and predicted prices of each trained network."""
    for kind in ("shallow", "deep"):
        for seed, path in zip(seeds, by_seed(Path("models/prices", houses, kind), seeds), strict=True):
            _, outputs = predict_from_file(path, f"ames/{houses}", data.examples(), 1)
            yield kind, str(seed), data.dollars(outputs.squeeze(1))


def _scores(prices: Tensor, predicted: Tensor) -> tuple[float, float, float]:
    """Returns the root mean squared error in dollars, that of ln(1 + price), and R² of ln(price)."""
    return (
        round(root_mean_squared_error(prices, predicted), 2),
        round(root_mean_squared_log_error(prices, predicted), 4),
        round(r2_score(logarithms(prices), logarithms(predicted)), 4),
    )


if __name__ == "__main__":
    run(main, Params)
