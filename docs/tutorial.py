# ruff: noqa: E402 - cells import what they need

# %% [markdown]
# # Certify a denoiser in five minutes
#
# You build a network, train it for a few seconds, look at what it does, and find out what it guarantees: first by its
# certificate, then by attacks that try to break it, then by dense matrices that share no code with it. You need the
# library with its compiled kernel, `pip install ".[fast]"` in the project, and no GPU.
#
# This page is the script [docs/tutorial.py](tutorial.py) with its output; the figures need matplotlib. Its cells are
# those of a notebook for editors that know the mark `# %%`.

# %% [markdown]
# ## Build
#
# A network is a scheme for a diffusion equation, with trainable filters and step sizes. Here it is four explicit steps
# with eight filters each. `certified=True` keeps every step size below its stability limit, whatever training does.

# %%
import schemenets as sn

architecture = sn.Architecture(
    name="symmetric", blocks=4, filters=8, kernel_size=5, flux="perona_malik", certified=True
)
print(architecture.count().total, "parameters")

# %% [markdown]
# ## Train
#
# The signals are piecewise affine, with values from 0 to 255 and noise of standard deviation 10. The first network of a
# kind compiles for half a minute; the training itself takes seconds.

# %%
import tempfile
from pathlib import Path

from schemenets.training import Training, fit

data = sn.signals.generate(
    {
        "family": "piecewise_affine",
        "length": 256,
        "noise": 10.0,
        "seed": 1,
        "train": 2048,
        "validation": 128,
        "test": 64,
    }
)
folder = Path(tempfile.mkdtemp())
job = Training(architecture=architecture, seeds=(0,), learning_rate=0.02, epochs=20, batch=64)
(run,) = fit(job, data, folder / "state.safetensors", "tutorial")
net = run.network
print(f"PSNR on validation signals: {run.curve[0]:.1f} dB after one epoch, {run.curve[-1]:.1f} dB after twenty")

# %% [markdown]
# ## Look at it
#
# On test signals that training has not seen:

# %%
import torch

from schemenets.metrics import psnr

noisy, clean = (torch.from_numpy(data[f"test/{part}"]) / 255 for part in ("noisy", "clean"))
with torch.no_grad():
    denoised = net(noisy)
before, after = (psnr(255 * u.numpy(), 255 * clean.numpy()).mean() for u in (noisy, denoised))
print(f"{before:.1f} dB before, {after:.1f} dB after")

# %% [hidden]
from _parts import plots

PICTURES = Path(__file__).parent / "_static"
figure, ((left, right),) = plots.figure(9, 2.8, 1, 2, sharey=True)
for axis, title, u, color in ((left, "before", noisy, plots.THIRD), (right, "after", denoised, plots.FIRST)):
    axis.plot(255 * u[3], color=color, linewidth=1.2)
    axis.plot(255 * clean[3], color=plots.SECOND, linewidth=1, linestyle="--")
    axis.set(title=title, xlabel="position", xlim=(0, 255))
left.set_ylabel("value")
left.legend(["noisy", "clean"], frameon=False)
right.legend(["denoised", "clean"], frameon=False)
(PICTURES / "tutorial_signal.svg").write_text(plots.svg(figure), encoding="utf-8")

# %% [markdown]
# ![A noisy signal, and the denoised one, which keeps the edges of the clean one](_static/tutorial_signal.svg)
#
# ## Certify
#
# A certificate follows from the parameters alone. It holds for every signal of every length, and says by which theorem:

# %%
certificate = sn.certify(net)
print(certificate.theorem)
print("holds:", certificate.holds)
print(f"no output is longer than {certificate.euclidean:g} times its input")
print(f"no two outputs are further apart than {certificate.lipschitz:.2f} times their inputs")
for number, block in enumerate(certificate.blocks):
    print(f"block {number}: step size at {1 - block.step_margin:.0%} of its limit")

# %% [markdown]
# ## Attack
#
# A search by gradient ascent looks for the signal that the network makes longest. No search should beat the
# certificate. A ResNet of the same depth, trained in the same way, has no such guarantee, and the search shows it:

# %%
from dataclasses import replace

free = replace(architecture, name="resnet", certified=False, biases=False)
(other,) = fit(replace(job, architecture=free), data, folder / "resnet.safetensors", "ResNet")
for name, trained in (("certified", net), ("ResNet", other.network)):
    found = sn.stability.largest_amplification(trained, noisy, steps=50).item()
    bound = sn.certify(trained).euclidean
    print(f"{name}: found an output {found:.3f} times as long as its input, the bound is {bound:.3g}")

# %% [markdown]
# A second kind of attack perturbs the noisy signal so that the output is as wrong as possible. The Lipschitz constant
# of the certificate limits the damage of every perturbation, found or not:

# %%
sizes = [0.0, 2.0, 4.0, 8.0, 16.0]  # root mean square, in grey values
starts = torch.randn(2, *noisy.shape, generator=torch.Generator().manual_seed(0))
quality = {"random": [], "worst found": [], "guaranteed": []}
for size in sizes:
    radius = size / 255 * noisy.shape[-1] ** 0.5
    random = radius * starts[0] / starts[0].norm(dim=-1, keepdim=True)
    worst = sn.stability.worst_perturbation(net, noisy, clean, radius, starts, steps=20)
    for name, delta in (("random", random), ("worst found", worst)):
        with torch.no_grad():
            quality[name].append(psnr(255 * net(noisy + delta).numpy(), 255 * clean.numpy()).mean())
    own = psnr(255 * denoised.numpy(), 255 * clean.numpy())
    quality["guaranteed"].append(sn.stability.guaranteed_psnr(own, certificate.lipschitz, size).mean())
for name, values in quality.items():
    print(f"{name:12}", " ".join(f"{value:5.1f}" for value in values), "dB")

# %% [hidden]
figure, ((axis,),) = plots.figure(5.5, 3)
styles = (("random", plots.THIRD, "o:"), ("worst found", plots.SECOND, "s-"), ("guaranteed", plots.FIRST, "^--"))
for name, color, style in styles:
    axis.plot(sizes, quality[name], style, color=color, label=name, markersize=5, linewidth=1.5)
axis.set(xlabel="size of the perturbation in grey values", ylabel="PSNR in dB")
axis.legend(frameon=False)
(PICTURES / "tutorial_attack.svg").write_text(plots.svg(figure), encoding="utf-8")

# %% [markdown]
# ![PSNR by size of the perturbation; the worst ones found stay above the guarantee](_static/tutorial_attack.svg)
#
# ## Verify
#
# A certificate is only as good as the code that computes it. `verify` reads a checkpoint without torch, runs the
# numerical scheme with dense matrices, and returns what contradicts the certificate:

# %%
path = folder / "denoiser.safetensors"
sn.save(net, path)
print("contradictions:", sn.stability.verify(path, length=256))

# %% [markdown]
# ## Save and load
#
# The file holds the architecture with the weights, so loading needs no code of yours. A certified network is certified
# again when it is read: no value in the file can break a constraint.

# %%
loaded = sn.load(path)
print("same output:", torch.equal(loaded(noisy), net(noisy)))

# %% [markdown]
# ## Use it without code
#
# The command line takes the file as well. Here are a test signal as CSV, its denoised version, and the certificate
# with the check by dense matrices:

# %%
import numpy as np

np.savetxt(folder / "signal.csv", data["test/noisy"][3], fmt="%.2f")

# %% [commands]
# schemenets denoise denoiser.safetensors signal.csv -o denoised.csv --range 0 255
# schemenets certify denoiser.safetensors --verify 256

# %% [markdown]
# ## Where to go from here
#
# * [Train a network of your own](training.md): several seeds at once, loops of your own, GPUs.
# * [Stability certificates](stability.md): what every field means, biases, and networks inside of other networks.
# * [The networks](index.md#the-networks): which schemes there are, and what each guarantees.
# * [What the study found](study.md): which claims about such networks hold.
