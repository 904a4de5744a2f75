"""A person's second hour: real Chromium drives a real JupyterLab through the notebooks."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
FEW = {"MAX_EPOCHS": 1, "SEEDS": 1, "N_EVENTS": 4, "BACKGROUND": 8, "COMPARED": 1}
FEW["EVALUATIONS"] = {"partition": 60, "partition-telea": 60, "tiles": 320}
CONSTANTS = "parameters"
SETTINGS = {
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
    "notebook-extension/tracker": '{"windowingMode": "none"}',  # every cell is in the page
}
LONGEST = 500  # of one notebook, all cells [s]
pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="no Chromium here: apt-get install chromium chromium-driver",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the notebooks, small constants and a small simulated sequence."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "data").mkdir()
    (folder / "data" / "datasets.toml").write_text(
        '[demo]\nsource = "simulated"\nn_events = 70\nseed = 1\n'
    )
    for stage in ("preprocessing", "training", "explainability"):
        (folder / stage).mkdir()
        for path in (ROOT / stage).glob("*.ipynb"):
            book = nbformat.read(path, as_version=4)
            cell = next(cell for cell in book.cells if cell["id"] == CONSTANTS)
            for name, value in FEW.items():
                if f"{name} = " in cell.source:
                    cell.source += f"\n{name} = {value!r}"
            nbformat.write(book, folder / stage / path.name)
    for name, text in SETTINGS.items():
        path = folder / ".settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture(scope="module")
def address(place):
    """Address of a JupyterLab server of this folder on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token="]
    command += [f"--ServerApp.root_dir={place}", "--expose-app-in-browser"]
    command += [f"--config={ROOT / 'jupyter_config.py'}"]
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTERLAB_SETTINGS_DIR": ".settings"}
    folders |= {"JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython"}
    environment = os.environ | {name: str(place / path) for name, path in folders.items()}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(place / "lab.log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=place)
    address = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api")
            break
        except OSError:
            time.sleep(0.5)
    yield address
    server.terminate()
    server.wait(30)


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    arguments = "--headless=new --no-sandbox --disable-dev-shm-usage --window-size=1400,1600"
    for argument in arguments.split():
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    browser = webdriver.Chrome(options=options, service=service)
    browser.set_script_timeout(100)
    yield browser
    browser.quit()


class Notebook:
    """One notebook, open in JupyterLab."""

    def __init__(self, browser, address, path):
        self.browser = browser
        browser.get(f"{address}/lab/tree/{path}?reset")
        self.wait(
            "const p = window.jupyterapp?.shell.currentWidget;"
            "return Boolean(p?.content?.widgets?.length && p.context.isReady"
            "  && p.sessionContext.session?.kernel?.status === 'idle');"
        )

    def wait(self, script, *arguments, seconds=90):
        """Run a script until it returns something true, and return that."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.browser.execute_script(script, *arguments)
            if found:
                return found
            time.sleep(0.2)
        raise AssertionError(f"not so after {seconds} s: {script}")

    def do(self, script, *arguments):
        """Run a script that may await; p is the notebook's panel, `arguments` what is given."""
        body = "const p = window.jupyterapp.shell.currentWidget; const run = async () => {"
        body += script + "}; const done = arguments[arguments.length - 1];"
        body += (
            "run.call(null).then(value => done([true, value]), error => done([false, '' + error]));"
        )
        body = "const given = arguments[0];" + body
        is_good, value = self.browser.execute_async_script(body, list(arguments))
        assert is_good, value
        return value

    def run_all(self):
        script = "window.ranAll = false; window.jupyterapp.commands"
        script += ".execute('notebook:run-all-cells').finally(() => { window.ranAll = true; });"
        self.browser.execute_script(script)  # not awaited: a request to the driver ends after 120 s
        self.wait("return window.ranAll;", seconds=LONGEST)

    def run_cell(self, name):
        self.do(
            "p.content.activeCellIndex = p.content.widgets.findIndex(w => w.model.id === given[0]);"
            "await window.jupyterapp.commands.execute('notebook:run-cell');",
            name,
        )

    def write(self, name, source):
        script = "p.content.widgets.find(w => w.model.id === given[0])"
        script += ".model.sharedModel.setSource(given[1]);"
        self.do(script, name, source)

    def restart(self):
        self.do(
            "await p.sessionContext.session.kernel.restart();"
            "await p.sessionContext.session.kernel.info;"
        )

    def shown(self, name):
        """Text and pictures that a cell shows in the page."""
        return self.do(
            "const node = p.content.widgets.find(w => w.model.id === given[0]).node;"
            "const text = [...node.querySelectorAll('.jp-OutputArea-output')]"
            "  .filter(o => !/stderr/.test(o.dataset.mimeType)).map(o => o.innerText).join('\\n');"
            "const images = node.querySelectorAll('.jp-OutputArea-output img');"
            "return [text, [...images].map(i => i.src)];",
            name,
        )

    def check(self):
        """No traceback and no dead widget in the page, and a title."""
        text = self.do("return p.content.node.innerText;")
        for wrong in ("Traceback", "Error displaying widget"):
            assert wrong not in text, text[max(text.find(wrong) - 200, 0) :][:3000]
        assert not self.browser.find_elements("css selector", "[data-mime-type*='.error']")
        return self.browser.find_element("css selector", ".jp-Notebook h1").text

    def widget(self, selector, text=""):
        """Find a widget's element by its selector and text, to be clicked or typed into."""
        for element in self.browser.find_elements("css selector", selector):
            if text in element.text:
                return element
        raise AssertionError(f"there is no {selector} with {text}")

    def wait_for_other_picture(self, name, before):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            pictures = self.shown(name)[1]
            if pictures and pictures != before:
                return pictures
            time.sleep(0.1)
        raise AssertionError(f"the picture of {name} stays the same")


def test_preprocess_is_rerun_and_changed(browser, address):
    book = Notebook(browser, address, "preprocessing/preprocess.ipynb")
    book.run_all()
    assert "From seismograms" in book.check()
    names = ("rgb", "event", "spectrograms")
    first = {name: book.shown(name) for name in names}
    assert all(pictures for _, pictures in first.values())
    for name in names:  # out of order
        book.run_cell(name)
        assert book.shown(name) == first[name]
    book.write("parameters", 'DATASET = "demo"\nDATA = "../data"\nSTATION = None\nEVENT = 5')
    book.restart()
    book.run_all()
    book.check()
    assert all(book.shown(name)[1] != first[name][1] for name in names)


@pytest.fixture(scope="module")
def misclassified(browser, address):
    """What the training notebook says: name -> "errors of test events"."""
    book = Notebook(browser, address, "training/p_wave_model_training.ipynb")
    book.run_all()
    assert "Training" in book.check()
    lines = book.shown("misclassified")[0].splitlines()
    return next(line.split(": ")[1] for line in lines if line.startswith("P64, random"))


def test_explainability_shows_the_misclassified_first(browser, address, misclassified):
    book = Notebook(browser, address, "explainability/explainability_p.ipynb")
    book.run_all()
    assert "aligned on P" in book.check()
    number = misclassified.split(" of ")[0]
    assert f"{number} of the" in book.shown("wrong")[0]
    names = ("components", "single", "choice")
    first = {name: book.shown(name) for name in names}
    for name in names:
        book.run_cell(name)
        assert book.shown(name) == first[name]
    book.check()


def test_the_explorer_follows_the_hand(browser, address, misclassified):
    book = Notebook(browser, address, "explainability/explore.ipynb")
    book.run_all()
    assert "One event after another" in book.check()
    number, count = misclassified.split(" of ")
    assert f"misclassified: {number} of {count}" in book.shown("wrong")[0]
    text, pictures = book.shown("explore")
    assert len(pictures) == 1 and f"event 1 of {count}" in text
    book.widget("button", "next").click()
    pictures = book.wait_for_other_picture("explore", pictures)
    assert f"event 2 of {count}" in book.shown("explore")[0]
    if int(number):
        book.widget(".widget-checkbox label", "misclassified").click()
        pictures = book.wait_for_other_picture("explore", pictures)
        assert f"of {number}" in book.shown("explore")[0]
    name = book.widget(".widget-text input")
    name.send_keys("DEMO.XX.1000003_EV\n")
    book.wait_for_other_picture("explore", pictures)
    name.clear()
    name.send_keys("DEMO.XX.100000_EV\n")
    book.wait(
        "return document.querySelector('.jp-Notebook').innerText.includes('There is no event')"
    )
    book.do("await window.jupyterapp.commands.execute('docmanager:save');")
    book.check()


def test_a_notebook_opened_again_without_its_kernel_shows_pictures(browser, address, place):
    saved = nbformat.read(place / "explainability" / "explore.ipynb", as_version=4)
    kinds = [
        kind for cell in saved.cells for o in cell.get("outputs", []) for kind in o.get("data", ())
    ]
    assert "image/png" in kinds and not any("widget" in kind for kind in kinds)
    log = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [message for message in log if "foreshap" in message or "widget" in message], log
