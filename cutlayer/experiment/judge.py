"""The evaluation classifier: a network that says what is to be seen in reconstructions, and is not the victim's.

For CIFAR-10 it is a ResNet-20 with published weights, where the folder of weights has them and the victim has not. For
other data a ResNet-20 is trained once, on the attackers' images, and kept in `runs/models/`; where these have not all
classes of the private images, as with other people's faces, on the images of the training part.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, fx
from torch.nn.functional import adaptive_avg_pool2d

from cutlayer import training
from cutlayer.data.splits import NO_CLASS, Dataset, Splits
from cutlayer.experiment.spec import Experiment, file_digest
from cutlayer.experiment.victim import cached
from cutlayer.machine.compute import pick_device
from cutlayer.metrics.judge import Judge
from cutlayer.metrics.weights import WeightsFile
from cutlayer.models import zoo
from cutlayer.models.halves import split
from cutlayer.models.kept import Say, remembered
from cutlayer.models.start import Start
from cutlayer.privacy.identification import CANDIDATES

MODEL, LAST = "resnet20", "flatten"
"""The network, and the layer that gives its features."""
PUBLISHED = {
    "cifar10": WeightsFile(("resnet20-12fca82f.th",), "https://github.com/akamaster/pytorch_resnet_cifar10"),
}
"""Published weights of the network by the name of the data set."""
IMAGES, EPOCHS = 5000, 8
"""What it is trained on, at most, and for how long."""
SIDE = 64
"""Larger images are shrunk to so many pixels on each side before it looks at them."""
_BATCH = 250


def judge(experiment: Experiment, data: Splits, runs: Path, weights_root: Path | None, say: Say) -> Judge | None:
    """The evaluation classifier of an experiment; None where the classes of the images are not known.

    Args:
        experiment: Names the data, and the weights of the victim, which are not used.
        data: The data.
        runs: Folder of the records, where a classifier that was trained is kept.
        weights_root: Folder of published weights.
        say: Called when there is work to do.
    """
    if (data.private.labels == NO_CLASS).any():
        say("The classes of the images are not known, so there is no evaluation classifier.")
        return None
    small = data.modality.spec(data.input.shape[0], *(min(side, SIDE) for side in data.input.shape[1:]))
    published = PUBLISHED[data.name].found(weights_root) if data.name in PUBLISHED else None
    if published and not _is_victims(published, experiment):
        model, how = zoo.build(MODEL, small, len(data.classes), start=Start(str(published))), published.name
    else:
        apart = set(data.private.labels.tolist()) <= set(data.auxiliary.labels.tolist())
        part, name = (data.auxiliary, "auxiliary") if apart else (data.train, "training")
        images = part.take(IMAGES)
        key = hashlib.sha256(f"{cached(experiment, runs).stem} {name} {MODEL} {IMAGES} {EPOCHS}".encode()).hexdigest()
        seed = int(key[:8], 16)  # other weights than the victim's, which may be the same network

        def train() -> fx.GraphModule:
            model = zoo.build(MODEL, small, len(data.classes), seed)
            say(f"training the evaluation classifier, {MODEL}, on {len(images):,} {name} images")
            training.train(model, _shrunk(images), epochs=EPOCHS, seed=seed)
            return model

        path = runs / "models" / f"judge-{key[:12]}.safetensors"
        model = remembered(path, lambda: zoo.build(MODEL, small, len(data.classes), seed), train, say)
        how = f"trained on {len(images):,} {name} images"
    real = data.private.take(CANDIDATES)
    share = float((training.predictions(model, _shrunk(real)) == real.labels).mean())
    title = f"{MODEL} ({how}), right about {share:.1%} of {len(real):,} real private images."
    say(f"the evaluation classifier is {title}")
    device = pick_device()
    halves = split(model, LAST, small)
    head, tail = halves.head.eval().to(device), halves.tail.eval().to(device)

    def features(images: Tensor) -> Tensor:
        with torch.inference_mode():
            return torch.cat([head(_small(part.float().to(device))) for part in images.split(_BATCH)]).cpu()

    def logits(features: Tensor) -> Tensor:
        with torch.inference_mode():
            return tail(features.to(device)).cpu()  # type: ignore[no-any-return]

    return Judge(title, features, logits)


def _is_victims(path: Path, experiment: Experiment) -> bool:
    return bool(experiment.start.weights) and file_digest(Path(experiment.start.weights)) == file_digest(path)


def _small(images: Tensor) -> Tensor:
    """Images of at most `SIDE` pixels on each side: each pixel is the mean of what it covers."""
    height, width = images.shape[2:]
    size = min(height, SIDE), min(width, SIDE)
    return images if size == (height, width) else adaptive_avg_pool2d(images, size)


def _shrunk(data: Dataset) -> Dataset:
    images = torch.from_numpy(np.ascontiguousarray(data.inputs))
    return Dataset(_small(images).numpy(), data.labels, data.modality)
