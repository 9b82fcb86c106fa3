import torch
from torch import nn

from cutlayer.nets.remembered import REMEMBERED, remembered


def test_the_same_settings_and_material_train_once_and_give_copies():
    trained = []

    def train():
        trained.append(nn.Linear(1, 1))
        return trained[-1]

    material = torch.arange(3.0)
    first = remembered(("test", 1), (material,), train)
    first.weight.data.fill_(7)
    second = remembered(("test", 1), (material.clone(),), train)
    assert len(trained) == 1
    assert second.weight.item() == trained[0].weight.item() != 7
    remembered(("test", 2), (material,), train)
    remembered(("test", 1), (material + 1,), train)
    assert len(trained) == 3


def test_the_oldest_is_forgotten():
    trained = []

    def train():
        trained.append(nn.Linear(1, 1))
        return trained[-1]

    for number in range(REMEMBERED + 1):
        remembered(("forgotten", number), (), train)
    remembered(("forgotten", REMEMBERED), (), train)
    assert len(trained) == REMEMBERED + 1
    remembered(("forgotten", 0), (), train)
    assert len(trained) == REMEMBERED + 2
