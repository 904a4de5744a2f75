"""Pictures: pixels at their place, marks of P and S, units on axes, scales centred on zero."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

import foreshap
from foreshap import figures

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

VARIANT = foreshap.VARIANTS["S64"]
RNG = np.random.default_rng(0)


@pytest.fixture
def ax():
    yield plt.figure().add_subplot()
    plt.close("all")


def test_pixels_lie_where_their_axes_say(ax):
    """The brightest pixel of a map is drawn at the frequency and time of its row and column."""
    values = np.zeros(VARIANT.shape[1:])
    values[7, 20] = 1.0
    image = figures.shap_map(ax, values, VARIANT, limit=1.0).images[0]
    left, right, bottom, top = image.get_extent()
    rows, columns = values.shape
    assert left + (20 + 0.5) * (right - left) / columns == pytest.approx(VARIANT.times[20])
    assert bottom + (7 + 0.5) * (top - bottom) / rows == pytest.approx(VARIANT.frequencies[7])
    assert image.origin == "lower" and image.get_clim() == (-1.0, 1.0)
    assert ax.get_xlabel() == "time after S [s]" and ax.get_ylabel() == "frequency [Hz]"


@pytest.mark.parametrize(
    ("phase", "s_p", "shown"), [("S", 3.0, {-3.0, 0.0}), ("P", 3.0, {0.0, 3.0}), ("S", 15.0, {0.0})]
)
def test_p_and_s_are_marked_where_they_are(ax, phase, s_p, shown):
    ax.set_xlim(-5, 10)
    figures.mark_arrivals(ax, phase, s_p)
    assert {float(line.get_xdata()[0]) for line in ax.lines} == shown and ax.get_xlim() == (-5, 10)
    assert {text.get_text(): text.xy[0] for text in ax.texts} == {
        n: t for n, t in zip("PS", (-s_p, 0.0) if phase == "S" else (0.0, s_p)) if t in shown
    }


def test_colours_show_sign_and_serve_colour_blind_readers():
    """Zero is white in the signed map; lightness falls evenly on both sides."""
    np.testing.assert_allclose(figures.SIGNED(0.5)[:3], 1, atol=0.01)
    lightness = figures.SIGNED(np.linspace(0, 1, 101))[:, :3] @ (0.2126, 0.7152, 0.0722)
    assert abs(lightness.argmax() - 50) <= 2
    assert (np.diff(lightness[:45]) > 0).mean() > 0.9 and (np.diff(lightness[56:]) < 0).mean() > 0.9
    spectral = figures.SPECTRAL(np.linspace(0, 1, 101))[:, :3] @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(spectral) > 0).all()


def test_one_scale_for_all_maps_given():
    maps = [RNG.standard_normal((5, 6)), 10 * RNG.standard_normal((5, 6)), np.full((2, 2), np.nan)]
    limit = figures.shared_limit(*maps, percentile=100)
    assert limit == pytest.approx(max(np.nanmax(np.abs(m)) for m in maps[:2]))
    assert figures.shared_limit(np.zeros((2, 2))) == 1.0


def test_rgb_is_the_three_components_on_one_scale():
    values = np.stack([np.full((4, 5), level) for level in (0.0, 1.0, 2.0)]) + 1e-9 * RNG.random(
        (3, 4, 5)
    )
    image = figures.rgb(values)
    assert image.shape == (4, 5, 3)
    np.testing.assert_allclose(image.mean(axis=(0, 1)), (0, 0.5, 1), atol=1e-6)


def test_every_picture_names_quantity_and_unit(ax):
    """All of them draw into the axes given, return them, and leave no axis without a label."""
    n = 30
    labels = np.arange(n) % 2
    values, events = RNG.standard_normal((3, *VARIANT.shape[1:])), RNG.standard_normal((n, 33))
    times = pd.Series(pd.date_range("2016-10-01", periods=n, freq="D", tz="UTC"))
    history = pd.DataFrame({"train_loss": [1.0, 0.5], "validation_loss": [0.9, 0.6]})
    metrics = {"accuracy": 0.9, "roc_auc": 0.95}, {"accuracy": (0.8, 0.95), "roc_auc": (0.9, 0.99)}
    curve = pd.DataFrame(
        {"size": [10, 20], "distance": [0.4, 0.3], "low": [0.3, 0.2], "high": [0.5, 0.4]}
    )
    scored = pd.DataFrame(
        {"value": [0.7, 0.8], "low": [0.6, 0.7], "high": [0.8, 0.9]}, ["one", "two"]
    )
    curves = pd.DataFrame({"share": [0, 1.0], "deletion": [1, 0.0], "random deletion": [1, 0.0]})
    draw = [
        lambda a: figures.rgb_spectrogram(a, values, VARIANT, 1.2),
        lambda a: figures.shap_over_rgb(a, values[0], values, VARIANT, 1.0, 1.2),
        lambda a: figures.shap_map(a, values[0], VARIANT, 1.0, 1.2, absolute=True),
        lambda a: figures.event_rate(a, times, labels, times[15]),
        lambda a: figures.distribution(a, RNG.random(n), labels, "S-P time [s]"),
        lambda a: figures.distribution(a, np.full(n, np.nan), labels, "magnitude"),
        lambda a: figures.learning_curves(a, history, "P64"),
        lambda a: figures.confusion(a, labels, labels, "P64"),
        lambda a: figures.scores(a, {"random": metrics, "time blocks": metrics}),
        lambda a: figures.margins(a, RNG.random(n), RNG.standard_normal(n), labels, "S-P time [s]"),
        lambda a: figures.weekly(a, labels, events, VARIANT.frequencies, 1.0),
        lambda a: figures.background_curve(a, curve, 20),
        lambda a: figures.tile_values(
            a, events[:3, :4], events[:3, :4], (["a", "b", "c"], list("defg")), 1.0
        ),
        lambda a: figures.methods_cost(a, {"one": 0.1, "two": 3.0}, scored, "ROC AUC"),
        lambda a: figures.perturbation(a, {"one": curves, "two": curves}, "deletion"),
        lambda a: figures.randomisation(
            a, pd.DataFrame({k: [(0.5, 0.4, 0.6)] * 2 for k in ("signed", "absolute")})
        ),
    ]
    for picture in draw:
        ax = plt.figure().add_subplot()
        assert picture(ax) is ax
        assert ax.get_ylabel() and (ax.get_xlabel() or ax.get_xticklabels())
        ax.figure.canvas.draw()
        plt.close(ax.figure)
    before = values.copy()
    axes = figures.spectrograms(plt.figure().subplots(3, 1), values, VARIANT, 1.2)
    assert len({a.images[0].get_clim() for a in axes}) == 1 and np.array_equal(values, before)
    traces = figures.waveforms(plt.figure().subplots(3, 1), RNG.standard_normal((3, 2500)), 1.2)
    means = figures.class_maps(
        plt.figure().subplots(1, 2), 2 * [values], VARIANT, 1.2, (3, 4), "SHAP"
    )
    assert [a.get_title("left") for a in means] == ["foreshocks (3)", "aftershocks (4)"]
    samples = RNG.standard_normal((3, 2500))
    steps = figures.banner(plt.figure().subplots(1, 3), samples, values, values[0], VARIANT, 1.2)
    assert all("[" in a.get_ylabel() and "[s]" in a.get_xlabel() for a in steps)
    assert [a.get_ylabel() for a in traces] == ["E\n[counts]", "N\n[counts]", "Z\n[counts]"]


def test_profiles_show_the_interval_of_the_mean(ax):
    events = RNG.standard_normal((40, 33))
    figures.profile(ax, VARIANT.frequencies, events, "black", "all")
    band = ax.collections[0].get_paths()[0].vertices
    half = 1.96 * events.std(axis=0, ddof=1) / np.sqrt(40)
    assert band[:, 1].max() == pytest.approx((events.mean(axis=0) + half).max())
    figures.profile(ax, VARIANT.frequencies, events[:1], "black", "one")
    assert len(ax.collections) == 1


def test_a_matrix_is_written_where_it_is_drawn(ax):
    table = pd.DataFrame([[1.0, 0.2], [0.2, 1.0]], ["one", "two"], ["one", "two"])
    figures.matrix(ax, table, "rank correlation")
    assert [text.get_text() for text in ax.texts] == ["1.00", "0.20", "0.20", "1.00"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["one", "two"]


def rows(n, **columns):
    value = np.linspace(0.4, 0.9, n)
    return pd.DataFrame(
        {"value": value, "low": value - 0.05, "high": value + 0.05, "n_events": 100} | columns
    )


def test_measurements_are_drawn_where_they_are(ax):
    table = rows(3).set_axis(["first", "second", "third"])
    figures.measured(ax, table, "ROC AUC")
    (dots,) = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == "o"]
    assert dots == [[value, place] for place, value in enumerate(table["value"])]
    assert [t.get_text() for t in ax.get_yticklabels()] == list(table.index)
    assert (
        ax.get_ylim()[0] > ax.get_ylim()[1]
        and sum("n = 100" in t.get_text() for t in ax.texts) == 3
    )


def test_weighted_histograms_keep_each_classs_number(ax):
    values, labels, weights = RNG.normal(size=300), np.repeat([0, 1], [100, 200]), RNG.random(300)
    figures.overlap(ax, values, labels, weights, "magnitude")
    heights = [
        sum(bar.get_height() for bar in container)
        for container in ax.containers
        if hasattr(container, "patches")
    ]
    assert [round(h) for h in heights] == [100, 200]


def test_the_other_pictures_of_controls_show_their_numbers(ax):
    bins = rows(3, predicted=[0.1, 0.5, 0.9], observed=[0.2, 0.5, 0.8], centre=[1.0, 2.0, 3.0])
    assert "0.123" in figures.reliability(ax, bins.assign(low=0.1, high=0.9), 0.123).get_title()
    ax.clear()
    assert [t.get_text() for t in figures.accuracy_by(ax, bins, "magnitude").texts] == ["100"] * 3
    ax.clear()
    shared = pd.concat(
        [
            rows(2, part=["before P", "S"], series=name, area=0.2)
            for name in ("foreshocks", "random weights")
        ]
    )
    figures.shares(ax, shared, "window")
    assert [t.get_text() for t in ax.get_xticklabels()] == [
        "before P",
        "S",
    ] and "%" in ax.get_ylabel()
    ax.clear()
    weeks = rows(2, week=[-1, 0], series=["foreshocks", "aftershocks"]).assign(low=np.nan)
    assert -0.5 in [
        line.get_xdata()[0] for line in figures.shares_by_week(ax, weeks, 0.2, "S").lines
    ]
    ax.clear()
    figures.drift(ax, np.linspace(-5, 5, 100), RNG.normal(size=100), np.repeat([0, 1], 50))
    assert "days" in ax.get_xlabel()


def findings_of(states):
    """A finding a state, with texts as long as the longest of real ones."""
    found = []
    for k, state in enumerate(states):
        words = {"saw": f"saw {k}: " + "ROC AUC 0.44 (0.42 to 0.46); " * 8}
        words |= {"could_see": f"could {k}: " + "a turn of the horizontals " * 4}
        decides = f"data {k % 2}" if state == "open" else ""
        found.append(
            foreshap.Finding(f"cause {k}", "station", state, "a witness", **words, decides=decides)
        )
    return found


def check_page(fig):
    """All text of a page is large enough, inside, and overlaps no other."""
    renderer = fig.canvas.get_renderer()
    texts = fig.axes[0].texts
    boxes = [text.get_window_extent(renderer) for text in texts]
    for k, box in enumerate(boxes):
        assert texts[k].get_fontsize() >= 8
        assert box.x0 >= 0 and box.x1 <= fig.bbox.x1, texts[k].get_text()
        assert box.y0 >= 0 and box.y1 <= fig.bbox.y1, texts[k].get_text()
        others = boxes[k + 1 :]
        assert not any(box.padded(-1).overlaps(other.padded(-1)) for other in others)
    return " ".join(text.get_text() for text in texts)


@pytest.mark.parametrize("states", [[], ["open"], ["excluded", "shown", "open", "survived"] * 5])
def test_the_verdict_page_says_what_each_witness_saw(states):
    found = findings_of(states)
    opened = [finding.alternative for finding in found if finding.state == "open"]
    reasons = ["One plain sentence.", "Cause 0: open, at length.", "Left out: 3 events."]
    units = pd.DataFrame({"quantity": ["t* of S", "t* of S"], "component": ["together", "E"]})
    units = units.assign(measured=[9.8, 7.7], low=9.0, high=11.0)
    page = (found, "station/background", opened, reasons, "demo, SIMULATED", units)
    text = check_page(figures.verdict_page(plt.figure(), *page))
    for words in ("station, or the ground beneath it", "demo, SIMULATED", "One plain", "Left out"):
        assert text.count(words) == 1
    assert "t* of S +9.8 ms (+9.0 to +11.0)" in text and "7.7" not in text
    assert ("at length" in text) == (not states)  # its row says it
    for k, finding in enumerate(found):
        assert text.count(f"saw {k}:") == text.count(f"could {k}:") == 1
    assert text.count("not excluded") == len(opened)
    if len(opened) > 1:
        assert "cause 2, cause 6, cause 10, cause 14, cause 18: data 0" in text
        order = [text.index(f"saw {k}:") for k in (1, 2, 3, 0)]
        assert order == sorted(order)  # shown, open, survived, excluded
    plt.close("all")


@pytest.mark.parametrize(("name", "reasoned"), [("place", True), ("size", False)])
def test_a_catalogue_score_below_chance_has_its_reason_beside_it(name, reasoned):
    found = foreshap.Finding(
        name, "catalogue", "excluded", "w", "saw 0.4", "could", "", 0.4, 0.3, 0.45
    )
    page = ([found], "undecided", [], ["why"], "demo")
    text = check_page(figures.verdict_page(plt.figure(), *page))
    assert ("below chance" in text) == reasoned
    plt.close("all")


@pytest.mark.parametrize("n", [1, 45])
def test_the_second_page_says_every_measurement_once(n):
    table = rows(n).rename(columns={"value": "measured"})
    table = table.assign(group="1 windows", control=[f"control {k}" for k in range(n)])
    table = table.assign(chance=0.5, if_path="chance", if_station="above")
    table.loc[0, ["measured", "low", "high"]] = np.nan
    table.loc[n - 1, "control"] = "catalogue alone"
    table.loc[n - 1, "high"] = 0.48 if n > 1 else np.nan
    before = table.copy()
    skipped = {"6 placebo": "no times"}
    fig = figures.measurements_page(plt.figure(), table, skipped, "demo, SIMULATED")
    check_page(fig)
    texts = [t.get_text() for t in fig.axes[0].texts]
    assert "demo, SIMULATED" in texts and "6 placebo: no times" in texts
    assert [texts.count(f"control {k}") for k in range(n - 1)] == [1] * (n - 1)
    assert texts.count("not measured") == 1
    assert any("below chance" in text for text in texts) == (n > 1)
    pd.testing.assert_frame_equal(table, before)
    plt.close("all")


def test_every_verdict_has_its_own_colour_and_symbol():
    assert set(figures.VERDICT_STYLE) == set(foreshap.VERDICTS)
    assert all(len(set(column)) == 5 for column in zip(*figures.VERDICT_STYLE.values()))


def test_an_event_is_named_with_what_is_known():
    event = pd.Series({"trace_name": "A.X.1_EV", "label": 1, "source_magnitude": np.nan})
    assert figures.event_title(event) == "A.X.1_EV, aftershock"
    event["source_magnitude"], event["p_s_diff_sec"] = 1.25, 0.5
    event["trace_start_time"] = "2016-10-30T06:40:17.5Z"
    named = "A.X.1_EV, aftershock, predicted foreshock, margin -2.00\n"
    named += "M 1.2, S-P 0.50 s, 2016-10-30 06:40, test"
    assert figures.event_title(event, -2.0, "test") == named


def test_classes_of_other_sizes_are_drawn_as_shares(ax):
    values, labels = RNG.random(60), np.repeat([0, 1], [10, 50])
    figures.distribution(ax, values, labels, "S-P time [s]")
    heights = [sum(bar.get_height() for bar in bars) for bars in ax.containers if len(bars) == 30]
    assert heights[0] == pytest.approx(100) and "%" in ax.get_ylabel()
    ax.clear()
    figures.distribution(ax, values, np.arange(60) % 2, "S-P time [s]")
    assert ax.get_ylabel() == "events"


def test_maps_and_sections_show_each_event_at_its_place(ax):
    table = pd.DataFrame({"label": [0, 1], "source_longitude": [13.0, 13.1]})
    table = table.assign(source_latitude=[42.0, 42.5], source_depth_km=[3.0, 8.0])
    table = table.assign(receiver_longitude=13.2, receiver_latitude=42.2)
    figures.epicentres(ax, table)
    places = [tuple(found.get_offsets()[0]) for found in ax.collections]
    assert places == [(13.0, 42.0), (13.1, 42.5), (13.2, 42.2)]
    ax.clear()
    figures.epicentres(ax, table, section=True)
    assert tuple(ax.collections[1].get_offsets()[0]) == (13.1, 8.0)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_a_record_section_orders_events_by_s_p(ax):
    figures.record_section(
        ax, list(RNG.normal(size=(3, 2500))), np.array([2.0, 1.0, 3.0]), [0, 1, 0]
    )
    assert [text.get_text() for text in ax.get_yticklabels()] == ["1.0", "2.0", "3.0"]
    marks = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 2]
    assert marks[:3] == [1.0, 2.0, 3.0] and set(marks[3:]) == {0}
    assert {"P", "S"} <= {text.get_text() for text in ax.texts}
    assert [text.get_text() for text in ax.get_legend().texts] == ["foreshocks", "aftershocks"]


def test_mean_spectra_are_those_of_the_classes(ax):
    spectra = np.arange(2 * 2 * 5, dtype=float).reshape(2, 2, 5)
    figures.class_spectra(ax, np.arange(5), spectra, [1, 0])
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    np.testing.assert_array_equal(lines["foreshocks, S"], spectra[1, 1])
    np.testing.assert_array_equal(lines["aftershocks, before P"], spectra[0, 0])


def test_a_seismogram_is_drawn_without_mean_and_microseism():
    times = np.arange(2500) / 100
    slow, fast = 300 * np.sin(2 * np.pi * 0.15 * times), np.sin(2 * np.pi * 10 * times)
    axes = figures.waveforms(plt.figure().subplots(3, 1), np.stack([slow + 5e4 + fast] * 3), 1.2)
    drawn = axes[0].lines[0].get_ydata()[500:2000]
    np.testing.assert_allclose(drawn, fast[500:2000], atol=0.5)
    assert any("above 1 Hz" in text.get_text() for text in axes[0].texts)
    raw = figures.waveforms(
        plt.figure().subplots(3, 1), np.stack([slow + 5e4] * 3), 1.2, highpass=0
    )
    np.testing.assert_allclose(raw[0].lines[0].get_ydata(), slow - slow.mean())


def test_a_banner_reaches_s():
    samples, values = RNG.normal(size=(3, 3500)), RNG.normal(size=foreshap.VARIANTS["P64"].shape)
    axes = plt.figure().subplots(1, 3)
    figures.banner(axes, samples, values, values[0], foreshap.VARIANTS["P64"], 12.0)
    assert axes[0].get_xlim()[1] == 16.0
    plt.close("all")
