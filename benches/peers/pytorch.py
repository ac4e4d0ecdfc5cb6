"""The training step of `benches/peers/run` in PyTorch. Arguments as in burn/src/main.rs, then `eager` or `compiled`, and
`cpu` or `cuda`."""

import json
import sys
import time

began = time.perf_counter()
import torch  # noqa: E402  (its import is part of the way to the first step)

widths = [int(width) for width in sys.argv[1].split(",")]
batch, warm_up, steps = (int(word) for word in sys.argv[2:5])
mode, device = sys.argv[5:7]
torch.backends.cuda.matmul.allow_tf32 = False
layers = []
for inputs, outputs in zip(widths, widths[1:]):
    layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
model = torch.nn.Sequential(*layers[:-1]).to(device)
compiled = mode == "compiled"
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=compiled and device == "cuda")
rows = torch.rand(batch, widths[0], device=device)
labels = torch.arange(batch, device=device) * 7 % widths[-1]


def step():
    optimizer.zero_grad(set_to_none=not compiled)
    loss = torch.nn.functional.cross_entropy(model(rows), labels)
    loss.backward()
    optimizer.step()


def wait():
    if device == "cuda":
        torch.cuda.synchronize()


if compiled:
    # On CUDA this mode captures the step in CUDA graphs.
    step = torch.compile(step, mode="reduce-overhead")
step()
wait()
first = time.perf_counter() - began
for _ in range(warm_up):
    step()
wait()
began = time.perf_counter()
for _ in range(steps):
    step()
wait()
rate = steps / (time.perf_counter() - began)
print(json.dumps({"steps_per_second": rate, "first_step_seconds": first}))
