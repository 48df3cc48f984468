# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a notebook to deployment
#
# A front is not a product. This notebook takes one network off it, trains it a little, reports on
# the test split once, saves it, exports it to ONNX and to `torch.export`, runs the file in a
# process that knows nothing of optprune, and measures what all this is worth in milliseconds, which
# is not what the MACs promise.

# %%
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import torch
from IPython.display import Markdown

import optprune as op

torch.set_num_threads(1)  # everything here runs on one thread
BUDGET = int(os.environ.get("OPTPRUNE_NOTEBOOK_EVALUATIONS", "300"))
EVALUATIONS, EPOCHS, ROUNDS = (BUDGET, 20, 200) if BUDGET >= 300 else (24, 2, 20)
workspace = tempfile.TemporaryDirectory()  # yours would be a folder that stays
FOLDER = Path(workspace.name)

# %% [markdown]
# ## 1. Pick
# A search as in the quick start, and the network of least error with at most 30 % of the MACs.

# %%
problem = op.problems.digits.problem()
task = problem.task
result = op.solve(
    problem,
    op.optimizers.NSGA2(population=16),
    evaluations=EVALUATIONS,
    seed=1,
    progress=False,
)
choice = result.select(op.metrics.macs <= 0.3)
result.plot(chosen=(choice.metrics["macs"], choice.metrics["error"])).figure

# %%
result.plot(kind="structure", indices=[choice.index]).figure

# %% [markdown]
# ## 2. Train it a little
# So far no weight of it was trained; the search only measured batch-norm statistics anew. `finish`
# makes the network again and trains it, on the training split. The result stays as it is.

# %%
finished = choice.finish(op.training.SGD(epochs=EPOCHS, lr=0.02))
small = finished.network
pd.DataFrame({"before": finished.before, "after": finished.after})

# %% [markdown]
# ## 3. Report, once
# All choices so far were made on the validation split, which is why its values look better than
# they are. The test split is read here, and the result counts how often.

# %%
report = result.report(choice.index, networks={choice.index: small})
report.insert(0, "network", ["dense", "small"])
print("networks measured on the test split so far:", report.attrs["test_reads"])
report[["network", "macs", "error", "test_error", "test_accuracy"]].style.format(precision=4).hide(
    axis="index"
)

# %%
n_test = len(task.test_split())
wrong = dict(
    zip(report["network"], (n_test * report["test_error"]).round().astype(int), strict=True)
)
Markdown(
    f"On {n_test} test images the dense network is wrong {wrong['dense']} times, the small one "
    f"{wrong['small']} times. The column `error` is that of the search, before training."
)

# %% [markdown]
# ## 4. Save, and load
# A folder with the structure as JSON and the weights as safetensors, without pickle. To load it,
# say how a dense network is made: the task has told (`build=`), and `trust=True` allows the folder
# to name the function that is called. Otherwise give a dense network of your own.

# %%
images = task.validation.inputs
op.save(FOLDER / "small", small, choice.structure, problem.graph, build=task.build)
loaded = op.load(FOLDER / "small", trust=True)
again = op.load(FOLDER / "small", network=op.problems.digits.network(weights=False))
with torch.no_grad():
    print("the same outputs:", torch.equal(loaded(images), small(images)))
    print("the same outputs:", torch.equal(again(images), small(images)))
print("files:", ", ".join(sorted(path.name for path in (FOLDER / "small").iterdir())))

# %% [markdown]
# ## 5. Export
# The small network is a plain `nn.Module` of your own class: PyTorch's exporters see nothing of
# optprune. ONNX for other runtimes, `torch.export` for PyTorch without the class. The batch is left
# open.

# %%
networks = {"dense": task.network, "small": small}
batch = ({0: torch.export.Dim("batch")},)
for name, network in networks.items():
    onnx = torch.onnx.export(
        network,
        (images[:2],),
        dynamo=True,
        dynamic_shapes=batch,
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
    )
    onnx.save(FOLDER / f"{name}.onnx")
    program = torch.export.export(network, (images[:2],), dynamic_shapes=batch)
    torch.export.save(program, FOLDER / f"{name}.pt2")
    torch.save(network.state_dict(), FOLDER / f"{name}.pt")

# %% [markdown]
# Do the files compute what the network does? The largest difference of any output over all
# validation images, and how many of them get another class:

# %%
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
sessions = {
    name: onnxruntime.InferenceSession(
        FOLDER / f"{name}.onnx", options, providers=["CPUExecutionProvider"]
    )
    for name in networks
}
rows = []
for name, network in networks.items():
    program = torch.export.load(FOLDER / f"{name}.pt2").module()
    with torch.no_grad():
        wanted = network(images).numpy()
        found = {
            "onnxruntime": sessions[name].run(None, {"images": images.numpy()})[0],
            "torch.export": program(images).numpy(),
        }
    for engine, outputs in found.items():
        other = (outputs.argmax(axis=1) != wanted.argmax(axis=1)).sum()
        largest = np.abs(outputs - wanted).max()
        rows.append((name, engine, f"{largest:.1e}", f"{np.abs(wanted).max():.1f}", other))
columns = ["network", "runtime", "largest difference", "largest output", "other class"]
pd.DataFrame(rows, columns=columns).style.hide(axis="index")

# %% [markdown]
# File sizes follow the parameters, not the MACs; what does not shrink is the description of the
# network.


# %%
def kilobytes(path):
    return path.stat().st_size / 1e3


dense_parameters, small_parameters = (
    sum(parameter.numel() for parameter in network.parameters()) for network in networks.values()
)
kinds = {"ONNX": "onnx", "torch.export": "pt2", "state_dict": "pt"}
sizes = pd.DataFrame(
    {
        kind: {name: kilobytes(FOLDER / f"{name}.{end}") for name in networks}
        for kind, end in kinds.items()
    }
).T
sizes.loc["weights alone (float32)"] = [4 * dense_parameters / 1e3, 4 * small_parameters / 1e3]
sizes["small / dense"] = sizes["small"] / sizes["dense"]
sizes.style.format({"dense": "{:.0f} kB", "small": "{:.0f} kB", "small / dense": "{:.1%}"})

# %% [markdown]
# ## 6. A process without optprune
# The proof that the file stands on its own: another Python, isolated from this folder, which
# imports numpy and onnxruntime and nothing else. It gets images in a file and gives classes back.

# %%
SERVE = """
import json, sys
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
logits = session.run(None, {"images": np.load(sys.argv[2])})[0]
loaded = [name for name in ("optprune", "torch") if name in sys.modules]
print(json.dumps({"classes": logits.argmax(axis=1).tolist(), "loaded": loaded}))
"""
np.save(FOLDER / "images.npy", images.numpy())
served = subprocess.run(
    [sys.executable, "-I", "-c", SERVE, FOLDER / "small.onnx", FOLDER / "images.npy"],
    capture_output=True,
    text=True,
    check=True,
)
answer = json.loads(served.stdout)
with torch.no_grad():
    classes = small(images).argmax(dim=1).tolist()
print("of optprune and torch it has loaded:", ", ".join(answer["loaded"]) or "neither")
print("the same classes as here:", answer["classes"] == classes)

# %% [markdown]
# ## 7. Is it faster?
# Dense and small, in PyTorch and in onnxruntime, one image and 64 at a time. All of them take
# turns, many rounds, so that whatever disturbs the machine disturbs all alike; a median with its
# quartiles tells how much. One thread computes, so its time on the processor (`time.thread_time`)
# is what a call takes on a machine that does nothing else; the wall clock also counts the turns of
# others, and is told below.
#
# A third network helps to read it: the *least* one, with a single unit in every group. It computes
# next to nothing, so its time is what calls cost whatever is computed.

# %%
least = problem.network(problem.bound_space.decode(problem.bound_space.smallest()[None])[0])
timed = {**networks, "least": least}


def pytorch(network, inputs):
    return lambda: network(inputs)


def runtime(session, inputs):
    return lambda: session.run(None, {"images": inputs.numpy()})


runs = {}
for size in (1, 64):
    for name, network in timed.items():
        runs["PyTorch", size, name] = pytorch(network, images[:size])
        if name in sessions:
            runs["onnxruntime", size, name] = runtime(sessions[name], images[:size])
times = {key: [] for key in runs}
began = time.perf_counter(), time.thread_time()
with torch.no_grad():
    for turn in range(ROUNDS + 3):
        for key, run in runs.items():
            start = time.thread_time()
            run()
            if turn >= 3:  # the first ones warm up
                times[key].append(1e3 * (time.thread_time() - start))
wall, own = time.perf_counter() - began[0], time.thread_time() - began[1]
print(f"of {wall:.1f} s on the wall, this thread had the processor for {own / wall:.0%}")
quartiles = (
    pd.DataFrame(
        {key: np.quantile(values, [0.25, 0.5, 0.75]) for key, values in times.items()},
        index=["lower", "median", "upper"],
    )
    .T.rename_axis(["runtime", "batch", "network"])
    .sort_index()
)

# %%
shown = quartiles.apply(
    lambda q: f"{q['median']:.3f} ({q['lower']:.3f} to {q['upper']:.3f})", axis=1
)
table = shown.unstack("network")[list(timed)].fillna("")
table.columns = [f"{name} (ms)" for name in table.columns]
medians = quartiles["median"].unstack("network")
table["small / dense"] = (medians["small"] / medians["dense"]).map("{:.0%}".format)
table.sort_index(ascending=[False, True])

# %%
colors = {"dense": "#333333", "small": "#0072B2", "least": "#E69F00"}
picture = op.plots.picture.Picture(figsize=(8.2, 3.2), layout="constrained")
panels = picture.subplots(1, 2)
for panel, size in zip(panels, (1, 64), strict=True):
    for place, engine in enumerate(("PyTorch", "onnxruntime")):
        for shift, name in enumerate(timed):
            if (engine, size, name) not in times:
                continue
            low, middle, high = quartiles.loc[(engine, size, name)]
            height = place + 0.22 * (shift - 1)
            panel.barh(height, middle, height=0.2, color=colors[name], label=name)
            panel.plot([low, high], [height, height], color="#8C8C8C", linewidth=2)
    panel.set_yticks([0, 1], labels=["PyTorch", "onnxruntime"])
    panel.set_ylim(1.5, -0.5)
    panel.set_xlabel("milliseconds a call (median, quartiles)")
    panel.set_title(f"{size} image{'s' * (size > 1)} a call", loc="left")
    op.plots.picture.tidy(panel, grid="x")
named = dict(zip(*panels[0].get_legend_handles_labels()[::-1], strict=True))
panels[1].legend(named.values(), named.keys(), frameon=False, fontsize="small")
picture

# %%
share = choice.metrics["macs"]
lines = []
for (engine, size), row in medians.iterrows():
    spread = quartiles.xs((engine, size)).loc[["dense", "small"]]
    apart = spread.loc["small", "upper"] < spread.loc["dense", "lower"]
    fixed = row["least"] / row["dense"]
    lines.append(
        f"- {engine}, {size} at a time: **{row['small'] / row['dense']:.0%}** of the dense time"
        + ("" if apart else ", and the quartiles overlap")
        + (f"; {fixed:.0%} are gone with the least network already" if np.isfinite(fixed) else "")
        + "."
    )
Markdown(f"The small network has **{share:.0%}** of the MACs, and takes\n\n" + "\n".join(lines))

# %% [markdown]
# MACs are what is computed; a call also has what is not: Python, dispatch, memory for the outputs
# of every layer. Pruning widths makes layers narrower, it does not make them fewer. With one small
# image a call, that part rules; with many images the computation counts, and so does what the
# kernels make of odd widths. onnxruntime folds the batch-norm layers into the convolutions and has
# no Python in between: changing the runtime and changing the network are two ways to save, and both
# can be had.
#
# Here is the whole sweep of uniform widths in PyTorch. If time followed the MACs, the points would
# lie on the diagonal.

# %%
shares = np.linspace(0.05, 1, 12 if BUDGET >= 300 else 4)
structures = [problem.uniform(op.metrics.macs <= min(share, 0.9999)) for share in shares]
sweep = {structure: problem.network(structure) for structure in dict.fromkeys(structures)}
macs = [op.metrics.macs.population(problem.graph, s.widths[None])[0] for s in sweep]
swept = {size: {structure: [] for structure in sweep} for size in (1, 64)}
with torch.no_grad():
    for turn in range(ROUNDS // 4 + 3):
        for size, found in swept.items():
            for structure, network in sweep.items():
                start = time.thread_time()
                network(images[:size])
                if turn >= 3:
                    found[structure].append(time.thread_time() - start)

picture = op.plots.picture.Picture(figsize=(6.4, 4.0), layout="constrained")
ax = picture.add_subplot()
ax.plot([0, 1], [0, 1], color="#8C8C8C", linestyle="--", linewidth=1, label="as the MACs")
for size, color in ((1, "#E69F00"), (64, "#0072B2")):
    middle = np.array([np.median(values) for values in swept[size].values()])
    ax.plot(macs, middle / middle[-1], "o-", color=color, label=f"{size} a call")
ax.set(xlim=(0, 1.03), ylim=(0, None))
ax.set_xlabel("MACs (fraction of dense)")
ax.set_ylabel("median time (fraction of the widest)")
ax.set_title("Time and MACs, uniform widths in PyTorch", loc="left")
ax.legend(frameon=False, fontsize="small")
op.plots.picture.tidy(ax)
picture

# %% [markdown]
# ## What to take from this
# - Measure on the machine and with the batch that count; `op.metrics.Latency(batch_size=…)` is an
#   objective like any other, and so is a stopwatch around your own runtime
#   ([06_plug_in_an_objective](06_plug_in_an_objective.ipynb)).
# - Let widths be multiples of what the hardware likes: `op.Widths(step=8)`.
# - A network this small is an unkind example, since calls cost as much as they compute. The larger
#   the layers, the nearer time comes to the MACs.
