"""The one kind of error that is the user's to mend."""


class InputError(Exception):
    """Something from outside is wrong. Its text is whole lines: the file or key, the value, and what would be right."""
