"""Shallow and deep networks: data, training, evaluation. Knows no paths of the pipeline, no params.yaml and no DVC."""
