"""One chunk from a bundle of layout single, with nothing but onnxruntime and numpy.

    python chunk.py BUNDLE [--picture P.npy] [--state S.npy] [--steps N] [--solver multistep] [--seed N]

Picture: RGB u8 (height, width, 3); state: 14 values, rad and m. Prints a line of 14 targets (rad, m) per action.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

arguments = argparse.ArgumentParser()
arguments.add_argument("bundle", type=Path)
arguments.add_argument("--picture", type=Path)
arguments.add_argument("--state", type=Path)
arguments.add_argument("--steps", type=int)
arguments.add_argument("--solver", default="euler")
arguments.add_argument("--seed", type=int, default=0)
options = arguments.parse_args()

manifest = json.loads((options.bundle / "manifest.json").read_text())
if manifest["layout"] != "single":
    sys.exit(f"{options.bundle}: layout {manifest['layout']}; export it with --layout single")
view, action, graph = manifest["view"], manifest["action"], manifest["graphs"]["policy"]
# safetensors: the length of a JSON header, the header, the tensors.
stored = (options.bundle / manifest["prompts"]["file"]).read_bytes()
size = int.from_bytes(stored[:8], "little")
begin, end = json.loads(stored[8 : 8 + size])[manifest["prompts"]["names"][0]]["data_offsets"]
prompt = np.frombuffer(stored[8 + size + begin : 8 + size + end], np.float32)

random = np.random.default_rng(options.seed)
feeds = {
    "composite": np.full((view["height"], view["width"], 3), 127, np.uint8),
    "state": np.zeros(14, np.float32),
    "prompt_embeds": prompt.reshape(graph["inputs"]["prompt_embeds"]["shape"]),
    "noise": random.standard_normal((action["chunk"], action["width"]), np.float32),
}
if options.picture:
    feeds["composite"] = np.load(options.picture)
if options.state:
    feeds["state"] = np.load(options.state).astype(np.float32)
if options.steps or options.solver != "euler":  # else the graph takes the bundle's first schedule
    plans = [s for s in manifest["sampler"]["schedules"] if s["solver"] == options.solver]
    plan = next((s for s in plans if options.steps in (None, s["steps"])), None)
    if plan is None:
        sys.exit(f"{options.bundle}: no {options.solver} schedule of {options.steps} steps")
    change = np.diff(np.array(plan["sigmas"], np.float32))
    weights = np.stack((change, np.zeros_like(change)), axis=1)
    if options.solver == "multistep":
        weights[1:] += np.outer(change[1:] ** 2 / (2 * change[:-1]), (1, -1))
    feeds["rows"] = plan["first_row"] + np.arange(plan["steps"])
    feeds["coefficients"] = weights

session = ort.InferenceSession(options.bundle / graph["file"], providers=["CPUExecutionProvider"])
(targets,) = session.run(["targets"], feeds)
np.savetxt(sys.stdout, targets, "%.7f")
