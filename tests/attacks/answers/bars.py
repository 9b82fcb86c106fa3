"""Images of two classes that are told apart by the half that is bright, and a network that knows them."""

import torch
from torch import nn

from cutlayer.attacks.answers.view import ClassView, Reply, Service
from cutlayer.data.splits import Dataset
from cutlayer.spec import image_spec

INPUT = image_spec(1, 8, 8)


def bars(n):
    """Images ``(n, 1, 8, 8)`` in front of a little noise, and their classes: 0 is bright at the top, 1 below."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 2
    images = 0.2 + 0.1 * torch.rand(n, 1, 8, 8, generator=random)
    images[labels == 0, :, :4] += 0.6
    images[labels == 1, :, 4:] += 0.6
    return images, labels


def brighter_above(images):
    """How much brighter the upper half is, for each image of any number of axes."""
    return images[..., 0, :4, :].mean((-2, -1)) - images[..., 0, 4:, :].mean((-2, -1))


def knowing(norm=True):
    """A network that was trained on bars, in eval mode."""
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(8), nn.BatchNorm2d(8)] if norm else [nn.Identity(), nn.Identity()]
    first = nn.Conv2d(1, 8, 3, padding=1), norms[0], nn.ReLU(), nn.Conv2d(8, 8, 3, 2, padding=1), norms[1]
    model = nn.Sequential(*first, nn.Flatten(), nn.Linear(128, 2))
    images, labels = bars(64)
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(40):
        loss = nn.functional.cross_entropy(model(images), labels)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return model.eval()


def view(model, input=INPUT, own=None, reply=Reply.WEIGHTS):
    """The view of an attacker with these own images, or with noise."""
    images = torch.rand(4, *input.shape) if own is None else own

    def ask(inputs):
        with torch.no_grad():
            return model(inputs).log_softmax(1)

    return ClassView(
        input=input,
        classes=2,
        targets=(0, 1),
        auxiliary=Dataset(images.numpy(), torch.zeros(len(images), dtype=torch.long).numpy()),
        reply=reply,
        _service=Service(ask, min(reply, Reply.SCORES)),
        _models=(model,) if reply is Reply.WEIGHTS else (),
    )
