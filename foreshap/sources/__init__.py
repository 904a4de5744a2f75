"""How other formats become the waveform layout, one call a source."""

from .archives import from_nine_stations, from_nrca_archive
from .continuous import from_continuous
from .downloads import download
from .fdsn import FdsnQuery, fetch_fdsn
from .frames import from_frames
from .layout import Imported, Offer, trace_name, write_layout
from .pickles import read_frame
from .picks import read_picks
from .predictions import Velocity
from .seisbench import from_seisbench, to_seisbench
