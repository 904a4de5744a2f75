from . import figures as figures
from .controls.ablation import (
    part_of as part_of,
)
from .controls.ablation import (
    train_parts as train_parts,
)
from .controls.data_checks import (
    effects_off as effects_off,
)
from .controls.data_checks import (
    gather as gather,
)
from .controls.data_checks import (
    signal_scores as signal_scores,
)
from .controls.features import (
    catalogue as catalogue,
)
from .controls.features import (
    s_p_times as s_p_times,
)
from .controls.features import (
    signal_to_noise as signal_to_noise,
)
from .controls.features import (
    window_names as window_names,
)
from .controls.features import (
    window_spectra as window_spectra,
)
from .controls.map_checks import (
    after_p as after_p,
)
from .controls.map_checks import (
    agreement as agreement,
)
from .controls.map_checks import (
    agreement_matrix as agreement_matrix,
)
from .controls.map_checks import (
    agreements as agreements,
)
from .controls.map_checks import (
    between_stations as between_stations,
)
from .controls.map_checks import (
    effect_differences as effect_differences,
)
from .controls.map_checks import (
    effect_region as effect_region,
)
from .controls.map_checks import (
    on_axes as on_axes,
)
from .controls.map_checks import (
    perturbation_curves as perturbation_curves,
)
from .controls.map_checks import (
    randomisation_steps as randomisation_steps,
)
from .controls.map_checks import (
    randomised as randomised,
)
from .controls.map_checks import (
    same_events as same_events,
)
from .controls.map_checks import (
    share_before as share_before,
)
from .controls.map_checks import (
    truth_scores as truth_scores,
)
from .controls.map_shares import (
    band_shares as band_shares,
)
from .controls.map_shares import (
    narrow_bands as narrow_bands,
)
from .controls.map_shares import (
    share_by_week as share_by_week,
)
from .controls.map_shares import (
    share_table as share_table,
)
from .controls.map_shares import (
    weeks_after as weeks_after,
)
from .controls.map_shares import (
    window_shares as window_shares,
)
from .controls.plain_models import (
    effective_events as effective_events,
)
from .controls.plain_models import (
    gaps as gaps,
)
from .controls.plain_models import (
    held_out_scores as held_out_scores,
)
from .controls.verdict import (
    VERDICTS as VERDICTS,
)
from .controls.verdict import (
    Controls as Controls,
)
from .controls.verdict import (
    page_rows as page_rows,
)
from .controls.verdict import (
    run_controls as run_controls,
)
from .controls.verdict import (
    write_verdict as write_verdict,
)
from .explainability.attribution import (
    METHODS as METHODS,
)
from .explainability.attribution import (
    outputs_of as outputs_of,
)
from .explainability.attribution import (
    shap_tensors as shap_tensors,
)
from .explainability.background import (
    background_curve as background_curve,
)
from .explainability.background import (
    choose_background as choose_background,
)
from .explainability.background import (
    own_noise as own_noise,
)
from .explainability.means import (
    batch_mean as batch_mean,
)
from .explainability.means import (
    group_means as group_means,
)
from .explainability.means import (
    profiles as profiles,
)
from .explainability.methods.tiles import (
    physical_tiles as physical_tiles,
)
from .explainability.methods.tiles import (
    tile_names as tile_names,
)
from .explainability.methods.tiles import (
    tile_sums as tile_sums,
)
from .explainability.shap_store import (
    chosen_test_rows as chosen_test_rows,
)
from .explainability.shap_store import (
    explain_events as explain_events,
)
from .explainability.shap_store import (
    load_shap as load_shap,
)
from .files import (
    ForeshapError as ForeshapError,
)
from .preprocessing.periods import (
    NORCIA as NORCIA,
)
from .preprocessing.periods import (
    Periods as Periods,
)
from .preprocessing.periods import (
    periods as periods,
)
from .preprocessing.simulation import (
    simulate_sequence as simulate_sequence,
)
from .preprocessing.spectrograms import (
    log_spectrogram as log_spectrogram,
)
from .preprocessing.spectrograms import (
    preprocess as preprocess,
)
from .preprocessing.tensor_file import (
    load_spectrograms as load_spectrograms,
)
from .preprocessing.variants import (
    VARIANTS as VARIANTS,
)
from .preprocessing.variants import (
    Variant as Variant,
)
from .preprocessing.waveforms import (
    REASONS as REASONS,
)
from .preprocessing.waveforms import (
    event_times as event_times,
)
from .preprocessing.waveforms import (
    known_stations as known_stations,
)
from .preprocessing.waveforms import (
    known_times as known_times,
)
from .preprocessing.waveforms import (
    load_trace as load_trace,
)
from .preprocessing.waveforms import (
    offered_traces as offered_traces,
)
from .sources.arrival_times import (
    Velocity as Velocity,
)
from .sources.continuous import (
    from_continuous as from_continuous,
)
from .sources.datasets import (
    datasets as datasets,
)
from .sources.datasets import (
    mainshock_time as mainshock_time,
)
from .sources.datasets import (
    tensor_files as tensor_files,
)
from .sources.datasets import (
    waveform_folder as waveform_folder,
)
from .sources.downloads import (
    download as download,
)
from .sources.fdsn import (
    FdsnQuery as FdsnQuery,
)
from .sources.fdsn import (
    fetch_fdsn as fetch_fdsn,
)
from .sources.frames import (
    from_frames as from_frames,
)
from .sources.norcia_archives import (
    from_nine_stations as from_nine_stations,
)
from .sources.norcia_archives import (
    from_nrca_archive as from_nrca_archive,
)
from .sources.pickles import (
    read_frame as read_frame,
)
from .sources.picks import (
    read_picks as read_picks,
)
from .sources.published_spectrograms import (
    import_spectrograms as import_spectrograms,
)
from .sources.seisbench import (
    from_seisbench as from_seisbench,
)
from .sources.seisbench import (
    to_seisbench as to_seisbench,
)
from .training.fitting import (
    TrainingConfig as TrainingConfig,
)
from .training.fitting import (
    save_checkpoint as save_checkpoint,
)
from .training.fitting import (
    train as train,
)
from .training.fitting import (
    trained as trained,
)
from .training.model import (
    SpectrogramCNN as SpectrogramCNN,
)
from .training.model import (
    load_checkpoint as load_checkpoint,
)
from .training.scores import (
    accuracy_by as accuracy_by,
)
from .training.scores import (
    reliability as reliability,
)
from .training.splits import (
    cluster_split as cluster_split,
)
from .training.splits import (
    co_located_split as co_located_split,
)
from .training.splits import (
    random_split as random_split,
)
from .training.splits import (
    time_block_split as time_block_split,
)
