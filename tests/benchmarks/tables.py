"""Reading delivered tables, beside pandas.

    .venv/bin/python -m tests.benchmarks.tables [--rows N] [--rounds N]

The peer is what one would write who knows the table: ``pandas.read_csv`` with all cells as text,
joined to the list of images by ``merge``. Ours finds out by itself what each column and code means,
which image each row names, and which ids contradict each other. Both read the same bytes from
memory, in turns, in one thread; each figure is the median over the rounds.
"""

import argparse
import io
import os
import platform
import statistics
import time

import numpy as np
import pandas as pd

from tasks.intake.joining import join_tables
from tasks.intake.matching import Names


def drawn_table(rows: int) -> bytes:
    rng = np.random.default_rng(0)
    number = np.arange(rows)
    columns = {
        "isic_id": [f"ISIC_{n:07d}" for n in number],
        "lesion_id": [f"IL_{n // 2:07d}" for n in number],
        "patient_id": [f"IP_{n // 5:07d}" for n in number],
        "age_approx": rng.integers(1, 17, rows) * 5,
        "sex": rng.choice(["male", "female"], rows),
        "anatom_site_general": rng.choice(["torso", "head/neck"], rows),
        "diagnosis": rng.choice(["melanoma", "nevus"], rows),
    }
    return pd.DataFrame(columns).to_csv(index=False).encode()


def ours(data: bytes, images: list[str]) -> int:
    names = Names((f"raw/a/b/{image}.jpg", image) for image in images)
    return len(join_tables([("raw/metadata/table.csv", data)], names).facts)


def peer(data: bytes, images: list[str]) -> int:
    told = pd.read_csv(io.BytesIO(data), dtype="str")
    return len(pd.DataFrame({"isic_id": images}).merge(told, on="isic_id", how="left"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    data = drawn_table(asked.rows)
    images = [f"ISIC_{n:07d}" for n in range(asked.rows)]
    seconds: dict[str, list[float]] = {"ours": [], "pandas": []}
    for _ in range(asked.rounds):
        for name, work in (("ours", ours), ("pandas", peer)):
            begun = time.perf_counter()
            assert work(data, images) == asked.rows
            seconds[name].append(time.perf_counter() - begun)
    took = {name: statistics.median(each) for name, each in seconds.items()}
    load = os.getloadavg()[0]
    print(f"{asked.rows} rows, {asked.rounds} rounds, {platform.machine()}, load {load:.1f}")
    for name, each in seconds.items():
        print(f"{name}: {took[name]:.2f} s ({min(each):.2f} to {max(each):.2f})")
    print(f"ours / pandas: {took['ours'] / took['pandas']:.1f}")


if __name__ == "__main__":
    main()
