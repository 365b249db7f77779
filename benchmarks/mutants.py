"""Mutation tests: how many small changes of the deciding modules do the unit tests notice?

mutmut wants the layout `src/<package>`, so it works on a copy below `.dev/`.
"""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = ROOT / ".dev" / "mutants"
MODULES = ("engine/plan.py", "engine/conditions.py", "tier/split.py")
TESTS = ("test_plan.py", "test_conditions.py", "test_split.py")
KILLED_PERCENT = 85.0
_KILLED = frozenset({"killed", "timeout"})
_RESULT = re.compile(r"^\s*(\S+): (.+)$", re.MULTILINE)


def main() -> int:
    """Run mutmut, print the survivors and the share that was killed; 1 below the bar."""
    lay_out()
    program = str(Path(sys.executable).parent / "mutmut")
    ran = subprocess.run([program, "run"], cwd=SCRATCH, text=True, capture_output=True, check=False)
    listed = subprocess.run(
        [program, "results", "--all", "true"],
        cwd=SCRATCH,
        text=True,
        capture_output=True,
        check=True,
    )
    results = _RESULT.findall(listed.stdout)
    counts = Counter(state for _, state in results)
    if not results or "not checked" in counts:
        print(ran.stdout[-3000:], ran.stderr[-3000:], file=sys.stderr)
        return 1
    for name, state in results:
        if state not in _KILLED:
            print(f"  {state}: {name}")
    killed = 100.0 * sum(counts[state] for state in _KILLED) / len(results)
    print(
        f"{len(results)} mutants, {killed:.1f} % killed (at least {KILLED_PERCENT:g} %): {dict(counts)}"
    )
    return int(killed < KILLED_PERCENT)


def lay_out() -> None:
    """Copy what is mutated and its tests into the layout that mutmut knows."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    copied = SCRATCH / "src" / "gameai_operator"
    shutil.copytree(ROOT / "operator" / "gameai_operator", copied)
    (SCRATCH / "tests").mkdir()
    for name in TESTS:
        shutil.copy(ROOT / "tests" / "unit" / name, SCRATCH / "tests" / name)
    only = ", ".join(f'"src/gameai_operator/{name}"' for name in MODULES)
    (SCRATCH / "pyproject.toml").write_text(
        f'[tool.mutmut]\nsource_paths = ["src"]\nonly_mutate = [{only}]\n'
        'pytest_add_cli_args_test_selection = ["tests"]\n'
        '[tool.pytest.ini_options]\naddopts = ["-p", "no:cacheprovider"]\n'
    )


if __name__ == "__main__":
    sys.exit(main())
