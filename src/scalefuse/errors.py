"""What a user can cause and mend.

Everything raised on purpose for bad input derives from :class:`ScaleFuseError`. The command line turns it
into one clear line and exit code 2; anything else keeps its traceback.

A message says three things: what was got, what was expected, and what to do.
"""


class ScaleFuseError(Exception):
    """A problem that the user of the package caused and can mend."""


class InputError(ScaleFuseError, ValueError):
    """A file, an image or an argument is not what the operation needs."""


class IntensityChoiceError(InputError):
    """Which values of a picture are black and white must be chosen, and was not."""


class ChannelsError(InputError):
    """A picture has another number of channels than the model."""


class ConfigError(ScaleFuseError, ValueError):
    """A configuration file or a ``--set`` override is wrong."""


class BundleError(ScaleFuseError, ValueError):
    """A trained-model bundle or a checkpoint is missing, damaged, unsafe or made for another task."""


class OutputError(ScaleFuseError, OSError):
    """A result cannot be written: the folder is not writable, the disk is full, and the like."""


class MissingExtraError(ScaleFuseError, ImportError):
    """An optional dependency is needed that is not installed; the message names the extra."""
