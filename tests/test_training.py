import copy

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.data.modality import TABLE
from cutlayer.data.splits import NO_CLASS, Dataset
from cutlayer.errors import ConfigError
from cutlayer.training import accuracy, optimize, train

CPU = torch.device("cpu")


def model(seed: int = 0, dropout: float = 0.0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(4 * 36, 2)
        )


def bright_side(n: int, seed: int = 0) -> Dataset:
    """Label 1 when the right half is the brighter one."""
    rng = np.random.default_rng(seed)
    images, labels = rng.random((n, 1, 8, 8), np.float32) / 2, rng.integers(2, size=n)
    images[labels == 1, :, :, 4:] += 0.4
    images[labels == 0, :, :, :4] += 0.4
    return Dataset(images, labels)


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(module.state_dict())


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns():
    net = model()
    losses = train(net, bright_side(256), epochs=3, seed=0, batch=32, lr=1e-2, device=CPU)
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    correct, n = accuracy(net, bright_side(101, seed=1), batch=50, device=CPU)
    assert n == 101
    assert correct > 95


def test_rows_of_a_table_are_learned_as_images_are():
    images = bright_side(200)
    rows = Dataset(images.inputs.reshape(200, 64), images.labels, TABLE)
    net = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2))
    train(net, rows, epochs=20, seed=0, device=CPU)
    assert accuracy(net, rows, device=CPU)[0] > 180


def test_accuracy_is_counted_in_eval_mode():
    net, data = model(dropout=0.5).train(), bright_side(30)
    before, counts = weights(net), accuracy(net, data, device=CPU)
    assert not net.training
    assert same(before, weights(net))
    assert counts == ((net(torch.from_numpy(data.inputs)).argmax(1).numpy() == data.labels).sum(), 30)


def test_the_model_comes_back_in_eval_mode_contiguous_and_trainable():
    net = model()
    parameters = list(net.parameters())
    train(net, bright_side(16), epochs=1, seed=0, device=CPU)
    assert not any(module.training for module in net.modules())
    assert all(
        p is q and p.is_contiguous() and not p.is_inference() for p, q in zip(parameters, net.parameters(), strict=True)
    )
    accuracy(net, bright_side(4), device=CPU)
    assert not any(p.is_inference() for p in net.parameters())


def test_one_seed_gives_one_model_and_leaves_the_global_generators_alone():
    results = []
    for seed in (1, 1, 2):
        net = model(dropout=0.3)
        torch.manual_seed(7)
        before = torch.get_rng_state()
        train(net, bright_side(64), epochs=1, seed=seed, batch=16, flip=True, device=CPU)
        assert torch.equal(before, torch.get_rng_state())
        results.append(weights(net))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_a_tail_is_trained_behind_a_head_that_stays_as_it_is():
    head = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval()
    tail = nn.Sequential(nn.Flatten(), nn.Linear(72, 2))
    frozen, start, draws = weights(head), weights(tail), []

    def forward(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        draws.append(rng.random())
        return tail(head(images).detach())

    train(tail, bright_side(64), epochs=2, seed=0, batch=32, forward=forward, device=CPU)
    assert same(frozen, weights(head))
    assert not same(start, weights(tail))
    assert len(set(draws)) == 4


def batches(data: Dataset, **options) -> list[torch.Tensor]:
    """The images of each step of one epoch."""
    net, images = model(), list[torch.Tensor]()

    def forward(batch: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        images.append(batch.clone())
        return net(batch)

    train(net, data, epochs=1, seed=0, batch=64, forward=forward, device=CPU, **options)
    return images


def test_flipping_mirrors_some_images_and_no_label():
    data = Dataset(np.tile(np.linspace(0, 1, 8, dtype=np.float32), (40, 1, 8, 1)), np.zeros(40, np.int64))
    images = torch.cat(batches(data, flip=True))
    mirrored = images[:, 0, 0, 0] == 1
    assert 5 < mirrored.sum() < 35
    assert torch.equal(images[mirrored].flip(-1), images[~mirrored][:1].expand(int(mirrored.sum()), -1, -1, -1))


@pytest.mark.parametrize("n", [1, 2, 65])
def test_no_step_is_left_with_a_single_image(n):
    sizes = list(map(len, batches(bright_side(n))))
    assert sum(sizes) == n
    assert max(sizes) - min(sizes) <= 1


def test_no_epochs_change_nothing():
    net = model()
    before = weights(net)
    train(net, bright_side(8), epochs=0, seed=0, device=CPU)
    assert same(before, weights(net))


def test_a_training_that_diverges_says_so_and_leaves_eval_mode():
    net = model()
    with pytest.raises(ConfigError, match=r"diverged in epoch 1 .*use a lower lr than 0\.002"):
        train(net, bright_side(8), epochs=1, seed=0, forward=lambda images, _: net(images) * np.nan, device=CPU)
    assert not net.training


def test_any_loss_is_minimized_and_a_module_at_rate_zero_stays_as_it_is():
    still, moving, data = model().eval(), nn.Linear(2, 2), bright_side(96)
    before, start = weights(still), weights(moving)

    def loss(images, labels, rng):
        assert moving.training
        assert not still.training
        return (moving(still(images).detach().float()) - 1).square().mean()

    losses = optimize([still, moving], data, loss, epochs=3, seed=0, lr=[0.0, 1e-2], device=CPU)
    assert same(before, weights(still))
    assert not same(start, weights(moving))
    assert losses[-1] < losses[0]
    assert not moving.training


def test_samples_without_classes_train_nothing():
    data = Dataset(np.zeros((4, 1, 2, 2), np.float32), np.full(4, NO_CLASS))
    with pytest.raises(ConfigError, match="have no classes, which a model is trained on"):
        train(nn.Flatten(), data, epochs=1, seed=0)
