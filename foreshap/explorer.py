"""Flip through events in a notebook: choose, filter and sort them, see each with its SHAP map.

The explorer stands where a notebook stands: it may use every wing. `EventCollection` knows events
and draws one; `Explorer` adds ipywidgets. The picture is a plain PNG, so that a saved notebook or
a report without a kernel still shows it.
"""

import io
from dataclasses import dataclass, replace
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
from .preprocessing.tensor_file import event_row, load_spectrograms, read_events
from .preprocessing.variants import CLASSES, COMPONENTS
from .preprocessing.waveforms import (
    known_s_p,
    known_stations,
    known_times,
    load_trace,
    offered_traces,
)
from .sources.datasets import mainshock_time, tensor_files, waveform_folder
from .training.model import load_checkpoint

SORTINGS = {
    "time": "time",
    "margin": "margin",
    "magnitude": "source_magnitude",
    "S-P time": "s_p",
    "signal-to-noise": "signal_to_noise",
}
ANY = "all"
SHARED_EVENTS = 24  # test events whose maps set the shared scale
DPI = 80


@dataclass(frozen=True)
class View:
    """How an event is drawn.

    component: "sum", "E", "N" or "Z"
    highpass: float, corner frequency of the seismograms drawn [Hz]; 0 for none
    scale: "this event" or "shared"
    method: str, of METHODS
    opacity: float, 0 for a map on white, up to 1 over the RGB composite
    time, frequency: float, where values are read [s after the arrival], [Hz]
    """

    component: str = "sum"
    highpass: float = 1.0
    scale: str = "this event"
    method: str = "deep"
    opacity: float = 0.0
    time: float = 1.0
    frequency: float = 10.0


class EventCollection:
    """The events of one variant of a dataset, their margins, seismograms and SHAP maps.

    dataset, variant: str, names; the dataset's first variant where it lacks the one named
    data, checkpoints: folders of datasets.toml and of the checkpoints
    background: int, training events that each event is compared with
    seed: int, of their draw
    """

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
        self.table = self._table()
        try:
            self.folder = waveform_folder(dataset, data)
            self.traces = offered_traces(self.folder).set_index("trace_name", drop=False)
        except ForeshapError:  # published spectrograms
            self.folder, self.traces = None, None
        self._stored = {}  # method -> StoredShap of all events of the store
        self._maps = {}  # (method, row) -> array (3, F, T)
        self._limits = {}  # of the shared scale, by method

    def _table(self):
        """Make the table of all events: the tensor file's, and what events are chosen by."""
        table = self.spectrograms.table.copy()
        table["side"] = "not used"
        for side in ("train", "validation", "test"):
            table.loc[self.checkpoint.card["split"][side], "side"] = side
        table["margin"] = np.nan
        table["time"] = known_times(table)
        table["week"] = weeks_after(table, self.mainshock)
        table["station"] = known_stations(table)
        table["s_p"] = known_s_p(table)
        table["signal_to_noise"] = signal_to_noise(window_spectra(self.spectrograms), self.variant)
        return table

    def choose(
        self, side="test", label=ANY, misclassified=False, station=ANY, week=ANY, sort="time"
    ):
        """Filter and sort events.

        side: "train", "validation", "test" or "all"
        label: "foreshock", "aftershock" or "all"
        misclassified: bool
        station, week: as in the table, or "all"
        sort: str, of SORTINGS

        returns: list of int, rows of the table
        """
        wanted = {"side": side, "station": station, "week": week}
        if label != ANY:
            wanted["label"] = CLASSES.index(label)
        chosen = np.ones(len(self.table), bool)
        for column, value in wanted.items():
            if value != ANY:
                chosen &= (self.table[column] == value).to_numpy()
        rows = np.flatnonzero(chosen)
        self.find_margins(rows)
        table = self.table.iloc[rows]
        if misclassified:
            table = table[(table["margin"] > 0) != (table["label"] == 1)]
        if SORTINGS[sort] in table:
            table = table.sort_values(SORTINGS[sort], kind="stable")
        return table.index.to_list()

    def find_margins(self, rows):
        """Compute the margins of some rows that are not known yet."""
        unknown = [row for row in rows if np.isnan(self.table["margin"].iloc[row])]
        for first in range(0, len(unknown), 32):
            part = unknown[first : first + 32]
            values = read_events(self.spectrograms.values, part)
            self.table.loc[part, "margin"] = self.checkpoint.outputs(values)

    def shap_map(self, row, method="deep"):
        """Return the SHAP tensor (3, F, T) of an event; it is explained and kept where it isn't."""
        if (method, row) not in self._maps:
            stored = self._stored.get(method)
            if stored is None or row not in stored.table["row"].to_numpy():
                stored = self._explain([row], method)
            place = np.flatnonzero(stored.table["row"] == row)[0]
            self._maps[method, row] = stored.values[place]
        return self._maps[method, row]

    def _explain(self, rows, method):
        """Explain events; return them, or all events of their store when it is first seen."""
        asked = (self.checkpoint, self.spectrograms, rows, self.background, self.store)
        stored = explain_events(*asked, method=method)
        if method not in self._stored:
            self._stored[method] = stored = load_shap(stored.path)
        return stored

    def samples(self, row):
        """Return the seismogram (3, n) of an event; None where the dataset has none."""
        name = self.table["trace_name"].iloc[row]
        if self.traces is None or name not in self.traces.index:
            return None
        return load_trace(self.folder, self.traces.loc[name])

    def panels(self, row, view):
        """Return the log-spectrogram (F, T) and the SHAP map (F, T) that a view shows."""
        values, shap = self.spectrograms.values[row], self.shap_map(row, view.method)
        if view.component != "sum":
            k = COMPONENTS.index(view.component)
            return values[k], shap[k]
        return np.logaddexp.reduce(np.log(10) * values) / np.log(10), shap.sum(axis=0)

    def limits(self, row, view):
        """Return the (low, high) of spectrograms and the half-width of SHAP maps in colour."""
        if view.scale == "this event":
            psd, shap = self.panels(row, view)
            return np.percentile(psd, (2, 99.8)), figures.shared_limit(shap, percentile=99.5)
        key = (view.method, view.component)
        if key not in self._limits:
            rows = chosen_test_rows(self.checkpoint, SHARED_EVENTS)
            self._explain(rows, view.method)
            several = [self.panels(r, view) for r in rows]
            psd = np.percentile([panel for panel, _ in several], (2, 99.8))
            half = figures.shared_limit(*[shap for _, shap in several], percentile=99.5)
            self._limits[key] = psd, half
        return self._limits[key]

    def title(self, row):
        """Name an event in two lines."""
        self.find_margins([row])
        event = self.table.iloc[row]
        return figures.event_title(event, event["margin"], event["side"])

    def draw(self, row, view=View(), rows=()):
        """Draw an event: its place among others, seismogram, spectrogram and SHAP map.

        row: int
        view: View
        rows: list of int, the events around it

        returns: Figure
        """
        fig = Figure(figsize=(14, 7.6), layout="none")
        fig.text(0.01, 0.985, self.title(row), va="top", fontsize=11)
        around = self.table.iloc[list(dict.fromkeys([*rows, row]))]
        self._draw_others(fig, around, row)
        samples = self.samples(row)
        heights = (1, 1, 1, 2.3, 2.3) if samples is not None else (1, 1)
        grid = fig.add_gridspec(
            len(heights), 1, left=0.42, right=0.9, top=0.9, bottom=0.07, height_ratios=heights
        )
        axes = [fig.add_subplot(grid[0])]
        axes += [fig.add_subplot(grid[k], sharex=axes[0]) for k in range(1, len(heights))]
        s_p = self.table["s_p"].iloc[row]
        if samples is not None:
            options = {"phase": self.variant.phase, "unit": self.unit, "highpass": view.highpass}
            figures.waveforms(axes[:3], samples, s_p, **options)
        psd, shap = self.panels(row, view)
        limits, half = self.limits(row, view)
        figures.tensor_image(axes[-2], psd, self.variant, figures.SPECTRAL, limits)
        spectrogram = self.spectrograms.values[row]
        figures.shap_over_rgb(axes[-1], shap, spectrogram, self.variant, half, s_p, view.opacity)
        figures.mark_arrivals(axes[-2], self.variant.phase, s_p, label=samples is None)
        labels = (figures.power_label(self.unit or "scaled"), "SHAP [logit]\n(+: aftershock)")
        for ax, label in zip(axes[-2:], labels):
            place = ax.get_position()
            cax = fig.add_axes((0.91, place.y0, 0.012, place.height))
            fig.colorbar(ax.images[-1], cax=cax, label=label)
            ax.plot(view.time, view.frequency, "+", color="black", markersize=9)
            ax.set_title(view.component, loc="right", fontsize=9)
        for ax in axes[:-1]:
            ax.tick_params(labelbottom=False)
            ax.set_xlabel("")
        axes[-1].set_xlim(self.variant.times[[0, -1]])
        return fig

    def _draw_others(self, fig, around, row):
        """Map of epicentres, and margin against time, the event of this row ringed."""
        longitude = around.get("source_longitude", around["s_p"] * np.nan)
        places = int(longitude.notna().any())
        grid = fig.add_gridspec(1 + places, 1, left=0.075, right=0.34, top=0.9, bottom=0.07)
        ring = {"s": 130, "facecolors": "none", "edgecolors": "black", "linewidths": 2, "zorder": 5}
        event = around.loc[row]
        if places:
            ax = figures.epicentres(fig.add_subplot(grid[0]), around)
            ax.scatter(event["source_longitude"], event["source_latitude"], **ring)
        ax = fig.add_subplot(grid[-1])
        times = (around["time"] - self.mainshock).dt.total_seconds() / 86400
        label = "days after the mainshock"
        if times.isna().all():
            times = around.index.to_series()
            label = "row"
        figures.margins(ax, times, around["margin"], around["label"], label)
        ax.scatter(times[row], event["margin"], **ring)

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
    """Widgets that choose an event of an EventCollection and how it is drawn.

    widgets: dict, name -> ipywidgets widget
    rows: list of int, the events chosen
    row: int, the event shown
    """

    def __init__(self, events):
        self.events = events
        self.view = View()
        self.picture = None
        self.widgets = self._make_widgets()
        self.rows = events.choose()
        self.row = self.rows[0]
        self._follow()

    def _make_widgets(self):
        """Make the widgets, without reacting to them yet."""
        table = self.events.table
        weeks = sorted(int(week) for week in table["week"].dropna().unique())
        sortings = [name for name, column in SORTINGS.items() if column in table]
        choices = {
            "side": ["test", "train", "validation", ANY],
            "label": [ANY, *CLASSES],
            "station": [ANY, *sorted(table["station"].unique())],
            "week": [ANY, *weeks],
            "sort": sortings,
            "component": ["sum", *COMPONENTS],
            "highpass": [("none", 0.0), ("0.5 Hz", 0.5), ("1 Hz", 1.0), ("5 Hz", 5.0)],
            "scale": ["this event", "shared"],
            "method": list(METHODS),
        }
        texts = {"label": "class", "side": "events", "highpass": "high-pass"}
        widgets = {}
        for name, options in choices.items():
            widgets[name] = ipywidgets.Dropdown(options=options, description=texts.get(name, name))
            widgets[name].layout.width = "200px"
        widgets["highpass"].value = self.view.highpass
        widgets["misclassified"] = ipywidgets.Checkbox(description="misclassified", indent=False)
        widgets["previous"] = ipywidgets.Button(description="previous")
        widgets["next"] = ipywidgets.Button(description="next")
        widgets["place"] = ipywidgets.IntSlider(min=0, readout=False, layout={"width": "420px"})
        widgets["name"] = ipywidgets.Text(
            description="trace name", continuous_update=False, layout={"width": "420px"}
        )
        for name, step in (("time", 0.1), ("frequency", 1.0), ("opacity", 0.1)):
            limits = {"min": -1000, "max": 1000, "step": step}
            value = getattr(self.view, name)
            widgets[name] = ipywidgets.BoundedFloatText(value, description=name, **limits)
            widgets[name].layout.width = "180px"
        widgets["opacity"].min = 0.0
        widgets["opacity"].max = 1.0
        widgets["count"] = ipywidgets.HTML()
        widgets["read-out"] = ipywidgets.HTML()
        return widgets

    def _follow(self):
        """React to every widget."""
        for name in ("side", "label", "misclassified", "station", "week", "sort"):
            self.widgets[name].observe(self._filter, "value")
        for name in ("component", "highpass", "scale", "method", "opacity", "time", "frequency"):
            self.widgets[name].observe(self._change_view, "value")
        self.widgets["place"].observe(self._move, "value")
        self.widgets["name"].observe(self._find, "value")
        self.widgets["previous"].on_click(lambda button: self._step(-1))
        self.widgets["next"].on_click(lambda button: self._step(1))

    @property
    def box(self):
        """All widgets in five rows."""
        rows = (
            ("side", "label", "station", "week", "misclassified"),
            ("sort", "previous", "next", "place", "count"),
            ("name", "component", "highpass", "scale"),
            ("method", "opacity", "time", "frequency"),
            ("read-out",),
        )
        lines = [ipywidgets.HBox([self.widgets[name] for name in row]) for row in rows]
        return ipywidgets.VBox(lines)

    def _filter(self, change=None):
        """Choose events anew; the event shown stays where it is among them."""
        names = ("side", "label", "misclassified", "station", "week", "sort")
        rows = self.events.choose(**{name: self.widgets[name].value for name in names})
        if not rows:
            self.widgets["count"].value = "no such event: choose another filter"
            return
        self.rows = rows
        self.row = self.row if self.row in rows else rows[0]
        self.show()

    def _change_view(self, change):
        self.view = replace(self.view, **{n: self.widgets[n].value for n in vars(self.view)})
        self.show()

    def _move(self, change):
        row = self.rows[min(change["new"], len(self.rows) - 1)]
        if row != self.row:
            self.row = row
            self.show()

    def _step(self, step):
        place = self.rows.index(self.row) if self.row in self.rows else -1
        self.row = self.rows[(place + step) % len(self.rows)]
        self.show()

    def _find(self, change):
        try:
            row = event_row(self.events.table, change["new"].strip())
        except ForeshapError as error:
            self.widgets["count"].value = str(error)
            return
        self.row = row
        self.show()

    def show(self):
        """Draw the event of this moment and say where it stands."""
        is_listed = self.row in self.rows
        place = self.rows.index(self.row) if is_listed else 0
        text = f"event {place + 1} of {len(self.rows)}" if is_listed else "not in this choice"
        self.widgets["place"].max = len(self.rows) - 1
        if is_listed:
            self.widgets["place"].value = place
        self.widgets["count"].value = text
        self.widgets["read-out"].value = self.events.read_out(self.row, self.view)
        fig = self.events.draw(self.row, self.view, self.rows)
        buffer = io.BytesIO()
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
    variant: str, of VARIANTS, or another that the dataset has
    data: str or Path, folder of datasets.toml
    checkpoints: str or Path, folder of the checkpoints
    background: int, training events that each event is compared with
    seed: int, of their draw

    returns: Explorer
    raises: ForeshapError where tensors or network are missing
    """
    explorer = Explorer(EventCollection(dataset, variant, data, checkpoints, background, seed))
    display(explorer.box)
    explorer.show()
    return explorer
