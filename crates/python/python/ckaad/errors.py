"""Exceptions of the engine, by whose matter they are. What the operating system refuses about a file is an ``OSError``
of Python's."""


class CkaadError(Exception):
    """Of all that follow."""


class UsageError(CkaadError, ValueError):
    """An argument that cannot be acted on: ask for something else."""


class DataError(CkaadError, ValueError):
    """A picture, model file or dataset that does not hold what it should: mend it or leave it out."""


class DeviceError(CkaadError, RuntimeError):
    """A device that is not there, has no memory left, or failed: take another, or a smaller batch."""
