"""What does a CNN that tells foreshocks from aftershocks look at, and can it be believed?"""

from . import figures
from .attribution import (
    background_rows,
    batch_mean,
    chosen_test_rows,
    explain_events,
    load_shap,
    profiles,
    shap_tensors,
)
from .controls import effect_differences, share_before
from .datasets import datasets, mainshock_time, waveform_folder
from .demo import simulate_sequence
from .files import ForeshapError
from .model import SpectrogramCNN, load_checkpoint
from .sources import from_continuous
from .spectrograms import load_spectrograms, log_spectrogram, preprocess
from .splits import cluster_split, random_split, time_block_split
from .training import TrainingConfig, save_checkpoint, train
from .variants import VARIANTS, Variant
from .waveforms import event_times, load_trace, offered_traces
