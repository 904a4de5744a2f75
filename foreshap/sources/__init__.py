"""How other formats become the waveform layout, one call a source."""

from .continuous import from_continuous
from .layout import Imported, Offer, trace_name, write_layout
from .seisbench import from_seisbench, to_seisbench
