#!/usr/bin/env python3
"""PyTorch's product of two square matrices as `downhill bench kernels` measures ours: GFLOP/s of the median run.

    benches/gpu/pytorch_products.py [SIDE] [ROUNDS]        # 4096 and 15 where not said
"""

import statistics
import sys
import time

import torch

SIDE = int(sys.argv[1]) if len(sys.argv) > 1 else 4096
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 15
# Products of a measurement: enough that launching one costs nothing beside it.
REPEATS = 10 if torch.cuda.is_available() else 1

device = "cuda" if torch.cuda.is_available() else "cpu"
torch.backends.cuda.matmul.allow_tf32 = False
name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
print(f"PyTorch {torch.__version__}, {name}, {SIDE} x {SIDE} x {SIDE}, TF32 off")


def wait():
    if device == "cuda":
        torch.cuda.synchronize()


for element in [torch.float32, torch.float16]:
    a, b = (torch.rand(SIDE, SIDE, device=device).to(element) for _ in range(2))
    rates = []
    for _ in range(ROUNDS + 1):
        wait()
        began = time.perf_counter()
        for _ in range(REPEATS):
            # As `matmul nt`: the second operand is read transposed, as a layer's weight is.
            a @ b.T
        wait()
        rates.append(2e-9 * SIDE**3 * REPEATS / (time.perf_counter() - began))
    # The first run chooses its kernel.
    measured = rates[1:]
    print(
        f"{str(element).removeprefix('torch.')}: {statistics.median(measured):.0f} GFLOP/s"
        f" ({min(measured):.0f} to {max(measured):.0f})"
    )
