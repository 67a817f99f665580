"""Trains the lecture's deep network at several learning rates, and records losses of steps of its first epoch."""

from pathlib import Path

from mlp.spec import Settings
from pipeline.datasets import description
from pipeline.files import atomic_output, write_texts
from pipeline.jobs import on_all_cores, train_all
from pipeline.networks import deep_network
from pipeline.params import DatasetName, Schema
from pipeline.params.compare_learning_rates import CompareLearningRates
from pipeline.stage import run
from pipeline.tables import csv_text
from pipeline.training import Job, Trained, images

STRIDE = 25  # the lecture prints the loss of every 25th step


class Params(Schema):
    dataset: DatasetName
    compare_learning_rates: CompareLearningRates


def main(params: Params) -> None:
    group = params.compare_learning_rates
    architecture = deep_network(group.hidden, description())
    kinds = [(architecture, Settings(group.epochs, group.batch_size, rate)) for rate in group.learning_rates]
    jobs = images.jobs(params.dataset, kinds, group.seeds, validate=False)
    trained = train_all("compare_learning_rates", jobs, "compare_learning_rates.learning_rates")
    accuracies = on_all_cores(_accuracies, list(zip(jobs, trained, strict=True)))
    losses = [
        (job.settings.learning_rate, job.seed, step, loss)
        for job, each in zip(jobs, trained, strict=True)
        for step, loss in enumerate(each.first_epoch, start=1)
        if step % STRIDE == 0
    ]
    rows = [(job.settings.learning_rate, job.seed, *each) for job, each in zip(jobs, accuracies, strict=True)]
    of_steps = csv_text(["learning_rate", "seed", "step", "training_loss"], losses, ["learning_rate"])
    of_networks = csv_text(["learning_rate", "seed", "training_accuracy", "test_accuracy"], rows, ["learning_rate"])
    with atomic_output(Path("plots/learning_rates")) as folder:
        folder.mkdir()
        write_texts({f"{folder}/first_epoch.csv": of_steps, f"{folder}/accuracy.csv": of_networks})


def _accuracies(job: Job, trained: Trained) -> tuple[float, float]:
    """Returns a network's accuracy on all images that it was trained on, and on the test images."""
    from mlp import checkpoints  # importing torch takes two seconds; only workers need it
    from mlp.evaluation import accuracy
    from mlp.images import joined, load
    from mlp.prediction import predict

    network = checkpoints.from_bytes(job.architecture, trained.network)
    pixels, _, classes = job.architecture.arguments
    training = joined([load(Path(each.path), pixels, classes) for each in job.training])
    test = load(Path("data/processed/test.safetensors"), pixels, classes)
    learnt, unseen = (accuracy(predict(network, each.examples()), each.labels) for each in (training, test))
    return learnt, unseen


if __name__ == "__main__":
    run(main, Params)
