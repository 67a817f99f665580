"""Shallow and deep networks: data, training, evaluation. Independent of DVC and params.yaml."""
