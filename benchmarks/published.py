"""Evaluate published CIFAR-10 checkpoints on the test images, to prove that networks and loader match the literature.

    python benchmarks/published.py cifar10.npz resnet20-12fca82f.th resnet56-4bfd9763.th

cifar10.npz holds x_train, y_train, x_test, y_test (uint8 images); the checkpoints are those of
akamaster/pytorch_resnet_cifar10, under their original names. Exits with status 1 if an accuracy is unexpected.
"""

from __future__ import annotations

import argparse
import re
import sys
import time

import torch

from pdc_core.data import load_data
from pdc_core.models import load_model

# Top-1 accuracy in percent of 10,000 test images, and by how much a correct loader may differ.
EXPECTED = {"resnet20": 91.73, "resnet32": 92.62, "resnet44": 93.11, "resnet56": 93.39}
TOLERANCE = 0.02
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> int:
    """Print one line per checkpoint and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="npz file with the CIFAR-10 images")
    parser.add_argument("checkpoints", nargs="+", help="files named after their network, such as resnet20-12fca82f.th")
    arguments = parser.parse_args()
    data = load_data(f"npz:{arguments.data}", mean=MEAN, std=STD)
    wrong = 0
    for path in arguments.checkpoints:
        found = re.search(r"(resnet\d+)[^/]*$", path)
        if found is None or found[1] not in EXPECTED:
            parser.error(f"{path}: the name has to begin with one of {', '.join(EXPECTED)}")
        model = load_model(found[1], data="cifar10", weights=path)
        start = time.perf_counter()
        right = 0
        with torch.inference_mode():
            for images, labels in zip(data.test.images.split(500), data.test.labels.split(500), strict=True):
                right += int((model(data.prepare(images)).argmax(1) == labels).sum())
        accuracy, seconds = 100 * right / len(data.test), time.perf_counter() - start
        fits = abs(accuracy - EXPECTED[found[1]]) <= TOLERANCE + 1e-9
        wrong += not fits
        print(
            f"{found[1]}: {accuracy:.2f}% of {len(data.test):,} test images ({seconds:.0f} s); "
            f"{'as' if fits else 'NOT as'} expected: {EXPECTED[found[1]]:.2f}% within {TOLERANCE}"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
