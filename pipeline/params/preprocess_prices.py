"""The Excel file of house prices, and its validation and test splits."""

from pipeline.params import Count, Group, Seed, Text


class PreprocessPrices(Group):
    file: Text
    sheet: Text
    validation_size: Count
    test_size: Count
    seed: Seed
