"""Data, training and evaluation of shallow and deep networks. Independent of DVC and params.yaml."""
