"""The benchmarks of driver, search and reports, one after the other: `make bench`.

They take an hour, in which nothing else should run. Each prints JSON lines as it goes. All of them end up in
FOLDER/bench.jsonl, with the machine, and as tables in FOLDER/bench.md.

    python -m tests.benchmarks [FOLDER]
"""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
COMMANDS = [
    ("bench_driver.py", "1000", "10000", "100000"),
    ("bench_scheduling.py",),
    ("bench_scheduling.py", "--scaling"),
    ("bench_kills.py", "--runs", "30"),
    ("bench_chaos.py", "--runs", "30"),
    ("bench_protocols.py",),
    ("bench_guards.py", "--seed", "3"),
    ("bench_reports.py",),
    ("bench_live.py",),
]


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; rows of one benchmark may lack each other's columns."""
    columns = list(dict.fromkeys(key for row in rows for key in row if key != "benchmark"))
    lines = [["", *columns], ["---"] * (len(columns) + 1)]
    lines += [[row["benchmark"], *(str(row.get(column, "")) for column in columns)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "benchmarks")
    folder.mkdir(parents=True, exist_ok=True)
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()}
    machine |= {"at": datetime.now(UTC).isoformat(timespec="seconds"), "processor": platform.processor()}
    lines, tables, failed = [json.dumps({"machine": machine})], [f"{machine}\n"], []
    for name, *arguments in COMMANDS:
        done = subprocess.run([sys.executable, HERE / name, *arguments], stdout=subprocess.PIPE, text=True, check=False)
        sys.stdout.write(done.stdout)
        sys.stdout.flush()
        lines += done.stdout.splitlines()
        tables.append(table([json.loads(line) for line in done.stdout.splitlines()]))
        failed += [name] if done.returncode else []
    (folder / "bench.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    (folder / "bench.md").write_text("\n".join(tables), "utf-8")
    if failed:
        sys.stderr.write(f"not as it should be: {', '.join(failed)}\n")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
