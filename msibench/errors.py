"""Errors that msibench raises on purpose; every message says what was expected, what was given and what to do."""


class MSIBenchError(Exception):
    """Base of every error that msibench raises on purpose."""

    exit_code = 2
    """What the command line exits with when this error reaches it."""


class ConfigurationError(MSIBenchError, ValueError):
    """A track, card, scheme or option holds a value that is not valid."""


class UnknownNameError(MSIBenchError, LookupError):
    """A method, data set, metric or track does not exist."""


class PluginError(MSIBenchError):
    """A plugin breaks the contract between the core and its plugins."""


class DuplicateNameError(PluginError):
    """Two plugins provide one name."""


class DataError(MSIBenchError, ValueError):
    """A file of measured data cannot be read as what it claims to be."""


class MissingDataError(DataError, FileNotFoundError):
    """A file that a card names is not on this machine."""


class IntegrityError(MSIBenchError):
    """A digest differs from the one on record: the bytes are not what they were."""

    exit_code = 7


class MissingWeightsError(MSIBenchError, FileNotFoundError):
    """A pretrained file is not on this machine; the message says how to get it."""


class NotApplicableError(MSIBenchError):
    """A method cannot do a problem, and says why."""

    exit_code = 3


class StoreError(MSIBenchError, OSError):
    """The results folder cannot be read or written."""


class SchemaError(StoreError):
    """A stored file was written under a schema that this version does not read."""


class NewerSchemaError(SchemaError):
    """A stored file was written by a newer msibench: it is intact, and not changed."""


class RegistrationError(MSIBenchError, ValueError):
    """A guide could not be brought onto its section well enough."""
