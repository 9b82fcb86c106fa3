import pytest
import torch

from cutlayer.attacks.features.averaging import Averaging
from cutlayer.attacks.features.mask_aware import MaskAware
from cutlayer.attacks.features.mean_image import MeanImage
from cutlayer.defenses.dropout import Dropout
from cutlayer.defenses.top_k import TopK
from tests.attacks.victims import error, linear_head


@pytest.fixture
def seen_by_the_wrapped(make_view, private, monkeypatch):
    """What arrives with 5 of 64 values kept, and what the wrapped attack gets of it, in the shape of its view."""

    def show(see, axis=None):
        head = linear_head() if axis is None else torch.nn.Sequential(linear_head(), torch.nn.Unflatten(1, axis)).eval()
        view, attack = make_view(head, TopK(sparsity=1 - 5 / 64)), MaskAware(attack="nearest", see=see)
        fitted = {}
        monkeypatch.setattr(attack._inner, "fit", lambda inner: fitted.update(view=inner))
        monkeypatch.setattr(attack._inner, "invert", lambda smashed: smashed)
        attack.fit(view)
        received = view.query(private)
        shown = attack.invert(received)
        assert torch.equal(fitted["view"].query(private), shown), "it is fitted on what it inverts later"
        assert fitted["view"].smashed.shape == shown.shape[1:]
        return received, shown

    return show


@pytest.mark.parametrize(("shape", "axis"), [(None, 1), ((4, 4, 4), 1), ((4, 16), 2)], ids=["vector", "grid", "tokens"])
def test_both_are_the_smashed_data_and_its_mask(seen_by_the_wrapped, shape, axis):
    received, shown = seen_by_the_wrapped("both", shape)
    smashed, mask = shown.chunk(2, dim=axis)
    assert torch.equal(smashed, received)
    assert torch.equal(mask, (received != 0).float())


def test_positions_tell_no_value(seen_by_the_wrapped):
    received, shown = seen_by_the_wrapped("positions", (4, 4, 4))
    assert shown.shape == received.shape
    assert set(shown.unique().tolist()) == {0, 1}
    assert (shown.flatten(1).sum(dim=1) == 5).all()


def test_values_tell_no_position(seen_by_the_wrapped):
    received, shown = seen_by_the_wrapped("values", (4, 4, 4))
    assert shown.shape == (len(received), 5)
    for smashed, values in zip(received, shown, strict=True):
        assert torch.equal(smashed[smashed != 0], values), "packed, in the order in which they were sent"


def test_positions_alone_leak(make_view, private):
    view = make_view(linear_head(), TopK(sparsity=1 - 12 / 64))
    floor = error(MeanImage(), view, private)
    assert error(MaskAware(attack="ridge", see="positions"), view, private) < 0.8 * floor


def test_the_mask_tells_the_dropped_from_the_small(make_view, private):
    """A bias far from 0 makes every dropped value look like a strange picture to an attacker without the mask."""
    head = linear_head()
    head[1].bias.data.fill_(3)
    view = make_view(head, Dropout(rate=0.3))
    errors = {see: error(MaskAware(attack="ridge", see=see), view, private) for see in ("both", "values")}
    assert errors["both"] < errors["values"]
    assert errors["both"] < 0.7 * error(Averaging(attack="ridge", n_releases=1), view, private)


def test_the_survivors_of_many_releases_are_exact(make_view, private):
    view = make_view(linear_head(), Dropout(rate=0.5))
    over = {
        over: error(Averaging(attack="ridge", n_releases=16, over=over), view, private)
        for over in ("releases", "survivors")
    }
    assert over["survivors"] < 0.05 * over["releases"]
    wrapped = Averaging(attack="mask-aware", n_releases=16, over="survivors", options={"attack": "ridge"})
    assert error(wrapped, view, private) < 0.05 * over["releases"]
