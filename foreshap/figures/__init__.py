"""Draw every picture: arrays and axes in, axes out."""

from .maps import *  # noqa: F403
from .verdict import *  # noqa: F403
