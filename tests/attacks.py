"""Kills, full disks, flipped bits and concurrent pairs: nothing is lost, nothing silently wrong.

    python tests/attacks.py [--kills 300] [--disks 100] [--flips 2000] [--pairs 40] [--steps SHAP]

A line an attack and step: tried; noticed, those that ended in one sentence; lost, files that were
whole and no longer are; wrong, another result without a word, a crash or a raw error. The exit
status is 1 unless the last two are 0. Disks are small ones (tmpfs) as root, else a limit on files.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import kills
import numpy as np

import foreshap
from foreshap.files import keep_result

SENTENCE, RAW = 3, 4  # exit statuses of a child


def in_child(function, *arguments):
    """Call a function in a forked process; returns its exit status and what it returned."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        status = 0
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            text = json.dumps(function(*arguments), default=str)
            os.write(writer, text.encode()[:60000])
        except foreshap.ForeshapError as error:
            os.write(writer, json.dumps(str(error)).encode())
            status = SENTENCE
        except BaseException:
            os.write(writer, json.dumps(traceback.format_exc()[-2000:]).encode())
            status = RAW
        sys.stdout.flush()
        os._exit(status)
    os.close(writer)
    with open(reader, "rb") as file:
        text = file.read()
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), json.loads(text or "null")


def attack_by_kills(step, number, seed, base, inputs, whole, needed):
    """Kill a step at random moments."""
    counts = Counter(tried=number)
    try:
        found = kills.kill(step, number, seed, base, inputs, whole, needed)
        counts["noticed"] = found["killed"]
    except AssertionError as error:
        print(f"kills, {step}: {error}", flush=True)
        counts["wrong"] = 1
    return counts


def limited(step, folder, output, size):
    """Run a step where no file can become larger."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    kills.STEPS[step][1](folder, output)


class SmallDisk:
    """A disk that is nearly full, where the system gives one."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder = folder
        call = ["mount", "-t", "tmpfs", "-o", "size=2g", "none", folder]
        self.is_there = subprocess.run(call, capture_output=True).returncode == 0

    def leave(self, size):
        """Leave so many bytes free."""
        used = shutil.disk_usage(self.folder).used
        option = f"remount,size={(used + size) // 1024 + 4}k"
        subprocess.run(["mount", "-o", option, self.folder], check=True)

    def close(self):
        if self.is_there:
            subprocess.run(["umount", "-l", self.folder], check=True)


def attack_by_disks(step, number, seed, base, inputs, whole, needed):
    """Run a step on disks that are full after a random number of bytes; older files are there."""
    rng, counts = np.random.default_rng(seed), Counter(tried=number)
    needed = sum(path.stat().st_size for path in (base / "whole0").rglob("*") if path.is_file())
    disk = SmallDisk(base / "disk")
    try:
        for i in range(number):
            output = base / ("disk" if disk.is_there and i % 2 else "limited")
            for left in output.iterdir() if output.exists() else ():
                remove = shutil.rmtree if left.is_dir() else Path.unlink
                remove(left)
            shutil.copytree(base / "whole1", output, dirs_exist_ok=True)
            size = int(needed * rng.uniform(0, 1.2))
            if output.name == "disk":
                disk.leave(size)
                found = in_child(kills.STEPS[step][1], inputs[0], output)
            else:
                found = in_child(limited, step, inputs[0], output, size)
            judge(counts, f"full disk, {step}", step, found, output, whole[1], whole[0])
            if output.name == "disk":
                disk.leave(2**31)
    finally:
        disk.close()
    return counts


def judge(counts, name, step, found, output, old, new):
    """Count what became of a run that ended by itself."""
    status, said = found
    counts["noticed"] += status == SENTENCE
    try:
        files = kills.state(output)
    except foreshap.ForeshapError as error:
        files, said = {}, error
    if status not in (0, SENTENCE):
        counts["wrong"] += 1
    elif status == 0 and not kills.is_done(step, files, new):
        counts["wrong"] += 1
    elif not kills.may_be(step, files, old, new):
        counts["lost"] += 1
    else:
        return
    print(f"{name}: status {status}, {said}", flush=True)


def attack_by_pairs(step, number, seed, base, inputs, whole, needed):
    """Run a step on two inputs at once into one folder."""
    counts = Counter(tried=number)
    for i in range(number):
        output = base / f"pair{i}"
        output.mkdir()
        pair = [kills.started(step, folder, output) for folder in inputs]
        for process in pair:
            process.join()
        files = kills.state(output)
        codes = [process.exitcode for process in pair]
        if codes != [0, 0] or not any(kills.is_done(step, files, one) for one in whole):
            print(f"pair, {step}: exit codes {codes}", flush=True)
            counts["wrong"] += 1
        if not kills.may_be(step, files, *whole):
            counts["lost"] += 1
    return counts


def read_tensors(path):
    s = foreshap.load_spectrograms(path)
    return digest(s.values[:].tobytes(), s.table.to_csv(), s.variant, s.labels, s.attributes)


def read_checkpoint(path):
    checkpoint = foreshap.load_checkpoint(path)
    x = np.random.default_rng(0).random((2, *checkpoint.variant.shape))
    card = {name: value for name, value in checkpoint.card.items() if name != "sha256"}
    return digest(checkpoint.outputs(x).tobytes(), card, checkpoint.scaling, checkpoint.variant)


def read_part(path):
    shap = foreshap.load_shap(path.parent)
    table = shap.table.to_csv()
    return digest(shap.values[:].tobytes(), table, shap.base_value, shap.attributes)


def read_kept(path):
    def compute():
        raise foreshap.ForeshapError("it is computed anew")

    return digest(keep_result(path, ["key"], compute).to_csv())


def digest(*parts):
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def make_targets(folder):
    """Write a file of each kind: name -> path, its reader, first byte to flip, the one after."""
    kills.make_checkpoint(folder, 0)
    kills.explain(folder, folder)
    part = min((folder / "shap").glob("*/*.h5"))
    for other in set(part.parent.glob("*.h5")) - {part}:
        other.unlink()
    s = foreshap.load_spectrograms(folder / "P64.h5")
    keep_result(folder / "kept.json", ["key"], lambda: s.table)
    s.values.file.close()
    checkpoint = folder / "networks/P64.pt"
    content = checkpoint.read_bytes()
    card = content.index(b'"tensor_file"') - 1
    ranges = {
        "tensors": (folder / "P64.h5", read_tensors),
        "checkpoint": (checkpoint, read_checkpoint),
        "card": (checkpoint, read_checkpoint, card, content.index(b'"versions"')),
        "SHAP part": (part, read_part),
        "kept result": (folder / "kept.json", read_kept),
    }
    return {name: (*one, 0, one[0].stat().st_size)[:4] for name, one in ranges.items()}


def read_flipped(path, read, content, places):
    """Read a file with one bit flipped after the other; returns what was read, or None."""
    found = []
    for place, bit in places:
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        path.write_bytes(changed)
        try:
            found.append(read(path))
        except foreshap.ForeshapError:
            found.append(None)
    return found


def attack_by_flips(name, target, number, seed):
    """Flip one random bit after another of a file and read it; a crash counts its whole batch."""
    path, read, first, end = target
    rng, counts = np.random.default_rng(seed), Counter(tried=number)
    content, right = path.read_bytes(), in_child(read, path)[1]
    places = [(int(rng.integers(first, end)), int(rng.integers(8))) for _ in range(number)]
    for start in range(0, number, 20):
        batch = places[start : start + 20]
        status, found = in_child(read_flipped, path, read, content, batch)
        if status:
            print(f"flip, {name}: status {status} among {batch}, {found}", flush=True)
            counts["wrong"] += 1
            continue
        counts["noticed"] += found.count(None)
        for place, one in zip(batch, found):
            if one not in (None, right):
                print(f"flip, {name}: byte and bit {place} silently", flush=True)
                counts["wrong"] += 1
    path.write_bytes(content)
    return counts


def run(numbers, seed, steps=tuple(kills.STEPS)):
    """Attack by each means so often in all; returns dict, (attack, step) -> Counter."""
    found = {}
    attacks = {"kills": attack_by_kills, "disks": attack_by_disks, "pairs": attack_by_pairs}
    for step in steps if any(numbers[attack] for attack in attacks) else ():
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder)
            undisturbed = kills.undisturbed(step, base)
            for attack, function in attacks.items():
                number = -(-numbers[attack] // len(steps))
                if number:
                    counts = function(step, number, seed, base, *undisturbed)
                    found[attack, step] = report(attack, step, counts)
    with tempfile.TemporaryDirectory() as base:
        targets = make_targets(Path(base)) if numbers["flips"] else {}
        for name, target in targets.items():
            number = -(-numbers["flips"] // len(targets))
            found["flips", name] = report(
                "flips", name, attack_by_flips(name, target, number, seed)
            )
    return found


def report(attack, step, counts):
    """Print and return the counts of an attack."""
    numbers = ", ".join(f"{name} {counts[name]}" for name in ("tried", "noticed", "lost", "wrong"))
    print(f"{attack}, {step}: {numbers}", flush=True)
    return counts


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, number in (("kills", 300), ("disks", 100), ("flips", 2000), ("pairs", 40)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", nargs="*", default=list(kills.STEPS), choices=list(kills.STEPS))
    numbers = vars(parser.parse_args())
    total = sum(run(numbers, numbers["seed"], numbers["steps"]).values(), Counter())
    report("all attacks", "all steps", total)
    return int(total["lost"] + total["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
