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


def loss():
    return torch.nn.functional.cross_entropy(model(rows), labels)


if compiled:
    loss = torch.compile(loss)


def step():
    optimizer.zero_grad(set_to_none=True)
    loss().backward()
    optimizer.step()


def wait():
    if device == "cuda":
        torch.cuda.synchronize()


if compiled and device == "cuda":
    # The whole step is one CUDA graph: nothing is left to the host. It is captured after some steps on a stream of their own.
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    step = graph.replay
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
