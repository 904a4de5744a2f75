"""Flip through events in a notebook: choose, filter and sort them, see each with its SHAP map.

The explorer stands where a notebook stands: it may use every wing. The picture is a plain PNG, so
that a saved notebook or a report without a kernel still shows it.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import ipywidgets
import numpy as np
from IPython.display import Image, display
from matplotlib.figure import Figure

from . import figures
from .controls.features import signal_to_noise, window_spectra
from .controls.map_checks import weeks_after
from .explainability.attribution import METHODS
from .explainability.background import choose_background
from .explainability.shap_store import chosen_test_rows, explain_events, load_shap
from .files import ForeshapError
from .preprocessing import waveforms
from .preprocessing.tensor_file import event_row, load_spectrograms
from .preprocessing.variants import CLASSES, COMPONENTS
from .sources.datasets import mainshock_time, tensor_files, waveform_folder
from .training.model import load_checkpoint

SORTINGS = {"time": "time", "margin": "margin", "magnitude": "source_magnitude"}  # -> column
SORTINGS |= {"S-P time": "s_p", "signal-to-noise": "signal_to_noise"}
ANY = "all"
FILTERS = ("side", "label", "station", "week", "misclassified", "sort")  # of choose()
ROWS = (
    *("side label station week misclassified", "sort previous next place count"),
    *("name component highpass scale", "method opacity time frequency", "read-out"),
)
SHARED_EVENTS = 24  # test events whose maps set the shared scale
DPI = 80


@dataclass(frozen=True)
class View:
    """How an event is drawn; each field has a widget of its name."""

    component: str = "sum"  # or "E", "N", "Z"
    highpass: float = 1.0  # corner frequency of the seismograms drawn [Hz]; 0 for none
    scale: str = "this event"  # or "shared"
    method: str = "deep"
    opacity: float = 0.0  # 0 for a map on white, up to 1 over the RGB composite
    time: float = 1.0  # where values are read [s after the arrival]
    frequency: float = 10.0  # [Hz]


class EventCollection:
    """The events of one variant of a dataset, their margins, seismograms and SHAP maps."""

    def __init__(self, dataset, variant, data, checkpoints, background=200, seed=0):
        files = tensor_files(dataset, data)
        name = variant if variant in files else next(iter(files))
        self.spectrograms = load_spectrograms(files[name])
        self.variant = self.spectrograms.variant
        self.checkpoint = load_checkpoint(Path(checkpoints, dataset, f"{name}.pt"))
        self.background = choose_background(self.checkpoint, self.spectrograms, background, seed)
        self.store = Path(data, dataset, "shap")
        self.mainshock = mainshock_time(dataset, data)
        self.unit = self.spectrograms.attributes.get("unit")
        table = self.table = self.spectrograms.table.copy()
        table["side"] = "not used"
        for side in ("train", "validation", "test"):
            table.loc[self.checkpoint.card["split"][side], "side"] = side
        table["margin"] = np.nan
        table["time"] = waveforms.known_times(table)
        table["week"] = weeks_after(table, self.mainshock)
        table["station"] = waveforms.known_stations(table)
        table["s_p"] = waveforms.known_s_p(table)
        table["signal_to_noise"] = signal_to_noise(window_spectra(self.spectrograms), self.variant)
        try:
            self.folder = waveform_folder(dataset, data)
            traces = waveforms.offered_traces(self.folder)
            self.traces = traces.set_index("trace_name", drop=False)
        except ForeshapError:  # published spectrograms
            self.traces = None
        self._stored = {}  # method -> StoredShap of all events of its store
        self._limits = {}  # of colours, by method, component and row (None: shared)

    def choose(self, side="test", label=ANY, misclassified=False, sort="time", **columns):
        """Filter events by columns of the table, ANY for all; list their rows, sorted."""
        wanted = {"side": side} | columns
        if label != ANY:
            wanted["label"] = CLASSES.index(label)
        rows = self.table.index
        for column, value in wanted.items():
            if value != ANY:
                rows = rows[self.table.loc[rows, column] == value]
        self.find_margins(rows)
        table = self.table.loc[rows]
        if misclassified:
            table = table[(table["margin"] > 0) != (table["label"] == 1)]
        if SORTINGS[sort] in table:
            table = table.sort_values(SORTINGS[sort], kind="stable")
        return table.index.to_list()

    def find_margins(self, rows):
        """Compute the margins of some rows that are not known yet."""
        unknown = [row for row in rows if np.isnan(self.table["margin"].iloc[row])]
        self.table.loc[unknown, "margin"] = self.checkpoint.margins(self.spectrograms, unknown)

    def shap_map(self, row, method="deep"):
        """Return the SHAP tensor (3, F, T) of an event; it is explained and kept where it isn't."""
        stored = self._stored.get(method)
        if stored is None or row not in stored.table["row"].to_numpy():
            stored = self._explain([row], method)
        return stored.values[np.flatnonzero(stored.table["row"] == row)[0]]

    def _explain(self, rows, method):
        """Explain events; return all that their store holds."""
        asked = (self.checkpoint, self.spectrograms, rows, self.background, self.store)
        self._stored[method] = load_shap(explain_events(*asked, method=method).path)
        return self._stored[method]

    def panels(self, row, view):
        """Return the log-spectrogram (F, T) and the SHAP map (F, T) that a view shows."""
        values, shap = self.spectrograms.values[row], self.shap_map(row, view.method)
        if view.component != "sum":
            k = COMPONENTS.index(view.component)
            return values[k], shap[k]
        return np.logaddexp.reduce(np.log(10) * values) / np.log(10), shap.sum(axis=0)

    def limits(self, row, view):
        """Return the (low, high) of spectrograms and the half-width of SHAP maps in colour."""
        is_shared = view.scale == "shared"
        key = (view.method, view.component, None if is_shared else row)
        if key not in self._limits:
            rows = [row]
            if is_shared:
                rows = chosen_test_rows(self.checkpoint, SHARED_EVENTS)
                self._explain(rows, view.method)
            spectra, maps = zip(*[self.panels(row, view) for row in rows])
            half = figures.shared_limit(*maps, percentile=99.5)
            self._limits[key] = np.percentile(spectra, (2, 99.8)), half
        return self._limits[key]

    def draw(self, row, view=View(), rows=()):
        """Draw an event among others (rows): its place, seismogram, spectrogram and SHAP map."""
        self.find_margins([row])
        event = self.table.iloc[row]
        fig = Figure(figsize=(14, 7.6), layout="none")
        title = figures.event_title(event, event["margin"], event["side"])
        fig.text(0.01, 0.985, title, va="top", fontsize=11)
        self._draw_others(fig, self.table.iloc[list(dict.fromkeys([*rows, row]))], event)
        has_trace = self.traces is not None and event["trace_name"] in self.traces.index
        heights = (1, 1, 1, 2.3, 2.3) if has_trace else (1, 1)
        places = {"left": 0.42, "right": 0.9, "top": 0.9, "bottom": 0.07, "height_ratios": heights}
        axes = fig.subplots(len(heights), 1, sharex=True, gridspec_kw=places)
        if has_trace:
            samples = waveforms.load_trace(self.folder, self.traces.loc[event["trace_name"]])
            options = {"phase": self.variant.phase, "unit": self.unit, "highpass": view.highpass}
            figures.waveforms(axes[:3], samples, event["s_p"], **options)
        psd, shap = self.panels(row, view)
        limits, half = self.limits(row, view)
        figures.tensor_image(axes[-2], psd, self.variant, figures.SPECTRAL, limits)
        figures.mark_arrivals(axes[-2], self.variant.phase, event["s_p"], label=not has_trace)
        spectrogram = self.spectrograms.values[row]
        over = (spectrogram, self.variant, half, event["s_p"], view.opacity)
        figures.shap_over_rgb(axes[-1], shap, *over)
        labels = (figures.power_label(self.unit or "scaled"), "SHAP [logit]\n(+: aftershock)")
        for ax, label in zip(axes[-2:], labels):
            place = ax.get_position()
            cax = fig.add_axes((0.91, place.y0, 0.012, place.height))
            fig.colorbar(ax.images[-1], cax=cax, label=label)
            ax.plot(view.time, view.frequency, "+", color="black", markersize=9)
            ax.set_title(view.component, loc="right", fontsize=9)
        for ax in axes[:-1]:
            ax.set_xlabel("")
        axes[-1].set_xlim(self.variant.times[[0, -1]])
        return fig

    def _draw_others(self, fig, around, event):
        """Map of epicentres, and margin against time, the event ringed."""
        longitude = around.get("source_longitude", around["s_p"] * np.nan)
        places = int(longitude.notna().any())
        grid = fig.add_gridspec(1 + places, 1, left=0.075, right=0.34, top=0.9, bottom=0.07)
        ring = {"s": 130, "facecolors": "none", "edgecolors": "black", "linewidths": 2, "zorder": 5}
        if places:
            ax = figures.epicentres(fig.add_subplot(grid[0]), around)
            ax.scatter(event["source_longitude"], event["source_latitude"], **ring)
        ax = fig.add_subplot(grid[-1])
        times = (around["time"] - self.mainshock).dt.total_seconds() / 86400
        label = "days after the mainshock"
        if times.isna().all():
            times, label = around.index.to_series(), "row"
        figures.margins(ax, times, around["margin"], around["label"], label)
        ax.scatter(times[event.name], event["margin"], **ring)

    def read_out(self, row, view):
        """Say the values of the pixel at a view's time and frequency, one line."""
        psd, shap = self.panels(row, view)
        k = np.abs(self.variant.frequencies - view.frequency).argmin()
        i = np.abs(self.variant.times - view.time).argmin()
        return (
            f"{self.variant.times[i]:.2f} s after {self.variant.phase}, "
            f"{self.variant.frequencies[k]:.2f} Hz, {view.component}: "
            f"log10 PSD {psd[k, i]:.2f}, SHAP {shap[k, i]:+.4f} logit"
        )


class Explorer:
    """Widgets (dict by name) that choose an event of an EventCollection and how it is drawn."""

    def __init__(self, events):
        self.events, self.view, self.picture = events, View(), None
        self.rows = events.choose()  # the events chosen
        self.row = self.rows[0]  # the event shown
        self.widgets = self._make_widgets()
        for name in (*FILTERS, *vars(self.view)):
            self.widgets[name].observe(self._change, "value")
        self.widgets["place"].observe(self._move, "value")
        self.widgets["name"].observe(self._find, "value")
        self.widgets["previous"].on_click(lambda button: self._step(-1))
        self.widgets["next"].on_click(lambda button: self._step(1))

    def _make_widgets(self):
        """Make the widgets, without reacting to them yet."""
        table = self.events.table
        weeks = sorted(int(week) for week in table["week"].dropna().unique())
        choices = {
            "side": ["test", "train", "validation", ANY],
            "label": [ANY, *CLASSES],
            "station": [ANY, *sorted(table["station"].unique())],
            "week": [ANY, *weeks],
            "sort": [name for name, column in SORTINGS.items() if column in table],
            "component": ["sum", *COMPONENTS],
            "highpass": [("1 Hz", 1.0), ("5 Hz", 5.0), ("0.5 Hz", 0.5), ("none", 0.0)],
            "scale": ["this event", "shared"],
            "method": list(METHODS),
        }
        texts = {"label": "class", "side": "events", "highpass": "high-pass"}
        narrow, wide = {"width": "200px"}, {"width": "420px"}
        widgets = {"count": ipywidgets.HTML(), "read-out": ipywidgets.HTML()}
        for name, options in choices.items():
            text = texts.get(name, name)
            widgets[name] = ipywidgets.Dropdown(options=options, description=text, layout=narrow)
        for name, low, high in (("time", -100, 100), ("frequency", 0, 100), ("opacity", 0, 1)):
            options = {"min": low, "max": high, "step": 0.1, "layout": narrow, "description": name}
            widgets[name] = ipywidgets.BoundedFloatText(getattr(self.view, name), **options)
        for name in ("previous", "next"):
            widgets[name] = ipywidgets.Button(description=name)
        widgets["misclassified"] = ipywidgets.Checkbox(description="misclassified", indent=False)
        widgets["place"] = ipywidgets.IntSlider(min=0, readout=False, layout=wide)
        options = {"description": "trace name", "continuous_update": False, "layout": wide}
        widgets["name"] = ipywidgets.Text(**options)
        return widgets

    @property
    def box(self):
        """All widgets in five rows."""
        lines = []
        for names in ROWS:
            lines.append(ipywidgets.HBox([self.widgets[name] for name in names.split()]))
        return ipywidgets.VBox(lines)

    def _change(self, change):
        """Choose and draw anew; the event shown stays where it is among those chosen."""
        self.view = View(**{name: self.widgets[name].value for name in vars(self.view)})
        rows = self.events.choose(**{name: self.widgets[name].value for name in FILTERS})
        if not rows:
            self.widgets["count"].value = "no such event: choose another filter"
            return
        is_kept = self.row in rows or rows == self.rows  # by name an event of no filter is shown
        self.rows = rows
        self.show(self.row if is_kept else rows[0])

    def _move(self, change):
        self.show(self.rows[change["new"]])

    def _step(self, step):
        place = self.rows.index(self.row) if self.row in self.rows else -1
        self.show(self.rows[(place + step) % len(self.rows)])

    def _find(self, change):
        try:
            self.show(event_row(self.events.table, change["new"].strip()))
        except ForeshapError as error:
            self.widgets["count"].value = str(error)

    def show(self, row):
        """Draw an event and say where it stands."""
        self.row = row
        slider, text = self.widgets["place"], "not in this choice"
        slider.unobserve(self._move, "value")
        slider.max = len(self.rows) - 1
        if row in self.rows:
            slider.value = self.rows.index(row)
            text = f"event {slider.value + 1} of {len(self.rows)}"
        slider.observe(self._move, "value")
        self.widgets["count"].value = text
        self.widgets["read-out"].value = self.events.read_out(row, self.view)
        buffer = io.BytesIO()
        fig = self.events.draw(row, self.view, self.rows)
        fig.savefig(buffer, dpi=DPI, pil_kwargs={"compress_level": 1})
        picture = Image(buffer.getvalue(), width=int(14 * DPI))
        if self.picture is None:
            self.picture = display(picture, display_id=True)
        else:
            self.picture.update(picture)


def explore(
    dataset, variant="P64", data="../data", checkpoints="../checkpoints", background=200, seed=0
):
    """Show widgets and a picture to flip through the events of a dataset in a notebook.

    dataset: str, a name in datasets.toml
    variant: str, of VARIANTS, or another that the dataset has, else its first
    data, checkpoints: str or Path, folders of datasets.toml and of the checkpoints
    background, seed: int, training events that each event is compared with, and of their draw

    returns: Explorer
    raises: ForeshapError where tensors or network are missing
    """
    explorer = Explorer(EventCollection(dataset, variant, data, checkpoints, background, seed))
    display(explorer.box)
    explorer.show(explorer.row)
    return explorer
