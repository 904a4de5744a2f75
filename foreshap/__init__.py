"""What does a CNN that tells foreshocks from aftershocks look at, and can it be believed?"""

from . import figures
from .ablation import part_of, train_parts
from .attribution import METHODS, outputs_of, shap_tensors
from .background import background_curve, choose_background, own_noise
from .calibration import accuracy_by, reliability
from .controls import (
    after_p,
    agreement,
    agreement_matrix,
    agreements,
    between_stations,
    effect_differences,
    effect_region,
    on_axes,
    perturbation_curves,
    randomisation_steps,
    randomised,
    same_events,
    share_before,
    truth_scores,
)
from .datasets import datasets, mainshock_time, tensor_files, waveform_folder
from .demo import simulate_sequence
from .evidence import effects_off, gather, signal_scores
from .features import catalogue, s_p_times, signal_to_noise, window_names, window_spectra
from .files import ForeshapError
from .map_shares import band_shares, narrow_bands, share_by_week, share_table, weeks_after, window_shares
from .means import batch_mean, group_means, profiles
from .model import SpectrogramCNN, load_checkpoint
from .periods import NORCIA, Periods, periods
from .separability import effective_events, gaps, held_out_scores
from .shap_file import chosen_test_rows, explain_events, load_shap
from .sources import (
    FdsnQuery,
    Velocity,
    download,
    fetch_fdsn,
    from_continuous,
    from_frames,
    from_nine_stations,
    from_nrca_archive,
    from_seisbench,
    read_frame,
    read_picks,
    to_seisbench,
)
from .spectrograms import import_spectrograms, load_spectrograms, log_spectrogram, preprocess
from .splits import cluster_split, co_located_split, random_split, time_block_split
from .tiles import physical_tiles, tile_names, tile_sums
from .training import TrainingConfig, save_checkpoint, train, trained
from .variants import VARIANTS, Variant
from .verdict import VERDICTS, Controls, page_rows, run_controls, write_verdict
from .waveforms import REASONS, event_times, known_stations, known_times, load_trace, offered_traces
