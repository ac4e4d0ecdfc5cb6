"""Runs models in ONNX Runtime and holds what they say against what is expected: `check.py FOLDER`, where FOLDER/cases.json
lists models with inputs, outputs and the relative error that is allowed. Prints what is off; fails where anything is."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

folder = Path(sys.argv[1])
wrong = 0
for case in json.loads((folder / "cases.json").read_text()):
    model = folder / case["model"]
    try:
        onnx.checker.check_model(onnx.load(model), full_check=True)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        inputs = {
            name: np.array(given["data"], dtype=np.float64).astype(given["dtype"]).reshape(given["shape"])
            for name, given in case["inputs"].items()
        }
        found = session.run(None, inputs)
    except Exception as error:
        wrong += 1
        print(f"{case['name']}: {error}")
        continue
    for number, (one, wanted) in enumerate(zip(found, case["outputs"], strict=True)):
        expected = np.array([np.nan if x is None else x for x in wanted["data"]]).reshape(wanted["shape"])
        if list(one.shape) != wanted["shape"]:
            wrong += 1
            print(f"{case['name']}, output {number}: shape {one.shape} for {wanted['shape']}")
            continue
        apart = np.linalg.norm(one.astype(np.float64) - expected)
        if not apart <= case["tolerance"] * (np.linalg.norm(expected) + 1e-30):
            wrong += 1
            print(f"{case['name']}, output {number}: off by {apart:.3g} of {np.linalg.norm(expected):.3g}")
print(f"ONNX Runtime {onnxruntime.__version__}: {wrong} wrong")
sys.exit(wrong > 0)
