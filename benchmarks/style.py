"""How dense the code is, in figures, and how many lines each wing has.

    python benchmarks/style.py [FOLDER ...]    foreshap/ when left out

Code lines hold at least one token that is no comment and no docstring. Comprehensions and lambdas
are counted in the syntax tree; functions are measured from `def` to their last line.
"""

import ast
import io
import statistics
import sys
import tokenize
from collections import Counter
from pathlib import Path

LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
COMPREHENSIONS = ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp
FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef
EVENING = "preprocessing", "training", "explainability"


def docstring_lines(tree):
    """Numbers of the lines that hold docstrings, set of int."""
    lines = set()
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text and isinstance(node.value.value, str):
            lines.update(range(node.lineno, node.end_lineno + 1))
    return lines


def measure(text):
    """Count what one file holds.

    text: str, Python source

    returns: Counter of lines, code_lines, tokens, comprehensions, lambdas, named_lambdas and
        fmt_skips; list of int, lines of each function
    """
    tree = ast.parse(text)
    documented = docstring_lines(tree)
    code_lines = set()
    count = Counter(lines=len(text.splitlines()), fmt_skips=text.count("# fmt: skip"))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in LAYOUT or token.start[0] in documented:
            continue
        count["tokens"] += 1
        code_lines.add(token.start[0])
    count["code_lines"] = len(code_lines)
    lengths = []
    for node in ast.walk(tree):
        count["comprehensions"] += isinstance(node, COMPREHENSIONS)
        count["lambdas"] += isinstance(node, ast.Lambda)
        is_assignment = isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda)
        count["named_lambdas"] += is_assignment
        if isinstance(node, FUNCTIONS):
            lengths.append(node.end_lineno - node.lineno + 1)
    return count, lengths


def report(name, files):
    """Print the figures of some files in one line."""
    total, lengths = Counter(), []
    for path in files:
        count, found = measure(path.read_text())
        total += count
        lengths += found
    lines = max(total["code_lines"], 1)
    print(
        f"{name:34} {total['lines']:6} lines {total['code_lines']:6} code"
        f" {total['tokens'] / lines:5.1f} tokens/line"
        f" {100 * total['comprehensions'] / lines:5.1f} comprehensions/100"
        f" {total['lambdas']:3} lambdas ({total['named_lambdas']} named)"
        f" {total['fmt_skips']:3} fmt: skip"
        f"  median function {statistics.median(lengths or [0]):g} lines"
    )


def main():
    for folder in map(Path, sys.argv[1:] or ["foreshap"]):
        for wing in sorted(path for path in folder.iterdir() if path.is_dir()):
            if list(wing.glob("*.py")):
                report(str(wing), sorted(wing.rglob("*.py")))
        evening = []
        for name in EVENING:
            evening += sorted((folder / name).glob("*.py"))
        if evening:
            report("the evening", evening)
        report(str(folder), sorted(folder.rglob("*.py")))


if __name__ == "__main__":
    main()
