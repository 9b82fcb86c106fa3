import torch

from cutlayer.attacks.features.mean_image import MeanImage
from cutlayer.attacks.view import Access
from tests.attacks.victims import linear_head


def test_is_the_mean_of_the_attackers_images(make_view, private):
    view, attack = make_view(linear_head(), access=Access.QUERY_FREE), MeanImage()
    attack.fit(view)
    mean = torch.from_numpy(view.auxiliary.inputs.mean(axis=0))
    torch.testing.assert_close(attack.invert(torch.zeros(2, 64)), mean.expand(2, *mean.shape))
