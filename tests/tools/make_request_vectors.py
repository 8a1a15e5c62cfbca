"""Make `harness/routing/data/requests.npy`, the vectors of the lines of `requests.txt`, in 16 bits.

python -m tests.tools.make_request_vectors           # after a change to requests.txt
python -m tests.tools.make_request_vectors --check   # compare with the file that is there; changes nothing
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from harness.routing.embedding import encoder
from harness.routing.kinds import read

PATH = Path(__file__).parents[2] / "harness" / "routing" / "data" / "requests.npy"


def main(check: bool) -> None:
    made = encoder().phrases(text for _, _, text in read()).astype(np.float16)
    if not check:
        np.save(PATH, made)
        print(f"{PATH}: {made.shape[0]} vectors, {PATH.stat().st_size:,} bytes")
        return
    there = np.load(PATH)
    # Processors round the last digit differently.
    if there.shape != made.shape or not np.allclose(there, made, atol=0.005):
        sys.exit(f"{PATH} differs from what requests.txt gives")
    print(f"{PATH}: as made")


if __name__ == "__main__":
    main("--check" in sys.argv[1:])
