"""What does a CNN that tells foreshocks from aftershocks look at, and can it be believed?"""

from . import figures
from .attribution import METHODS, outputs_of, shap_tensors
from .background import background_curve, choose_background, own_noise
from .controls import (
    after_p,
    agreement,
    agreement_matrix,
    effect_differences,
    effect_region,
    on_axes,
    perturbation_curves,
    randomised,
    share_before,
    truth_scores,
)
from .datasets import datasets, mainshock_time, waveform_folder
from .demo import simulate_sequence
from .files import ForeshapError
from .means import batch_mean, group_means, profiles
from .model import SpectrogramCNN, load_checkpoint
from .shap_file import chosen_test_rows, explain_events, load_shap
from .sources import from_continuous
from .spectrograms import load_spectrograms, log_spectrogram, preprocess
from .splits import cluster_split, random_split, time_block_split
from .tiles import physical_tiles, tile_names, tile_sums
from .training import TrainingConfig, save_checkpoint, train, trained
from .variants import VARIANTS, Variant
from .verdict import VERDICTS, Controls, run_controls, write_verdict
from .waveforms import event_times, load_trace, offered_traces
