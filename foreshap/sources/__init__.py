"""How other formats become the waveform layout, one call a source."""

from .continuous import from_continuous
from .fdsn import FdsnQuery, fetch_fdsn
from .layout import Imported, Offer, trace_name, write_layout
