import torch
from torch import Tensor, nn

from cutlayer.nets import wgan
from cutlayer.nets.critics import Critics

IMAGE = (1, 8, 8)


def critic() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return wgan.critic(4, IMAGE)


def images(n: int, seed: int) -> Tensor:
    return torch.rand(n, *IMAGE, generator=torch.Generator().manual_seed(seed))


def critics(n: int) -> Critics:
    return Critics(critic(), images(20, 1) * 0.2, torch.Generator().manual_seed(0), n)


def test_at_first_each_is_the_critic():
    batch = images(3, 2)
    torch.testing.assert_close(critics(3)(batch), critic()(batch)[:, 0])


def test_each_learns_from_its_own_image_alone():
    generated, other = images(3, 2), images(3, 3)
    together, apart = critics(3), critics(3)
    together.sharpen(generated, gp=1.0, steps=3)
    apart.sharpen(torch.cat([generated[:1], other[1:]]), gp=1.0, steps=3)
    scores, changed = together(generated), apart(generated)
    torch.testing.assert_close(scores[0], changed[0])
    assert not torch.isclose(scores[1:], changed[1:], atol=1e-4).any()
    alone = critics(1)
    alone.sharpen(generated[:1], gp=1.0, steps=3)
    torch.testing.assert_close(alone(generated[:1]), scores[:1])


def test_sharpened_they_tell_their_image_from_the_priors():
    generated, prior = images(3, 2), (images(20, 1) * 0.2)[:3]
    sharp = critics(3)
    before = sharp(prior) - sharp(generated)
    sharp.sharpen(generated, gp=1.0, steps=30)
    assert (sharp(prior) - sharp(generated) > before + 0.01).all()
