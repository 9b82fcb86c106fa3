"""The attackers of a room: what they rebuild where nothing is defended, and what noise leaves of it."""

from time import sleep

import numpy as np
import pytest
import torch

from cutlayer.edge.wishes import SWITCHABLE, Wish, checked, knob
from cutlayer.live.local_ridge import LocalRidge
from cutlayer.live.members import Refitted, Told
from cutlayer.live.pictures import bytes_of, png
from cutlayer.live.told_decoder import Settings, ToldDecoder, described, drawn
from cutlayer.live.watch_list import WatchList
from cutlayer.split_folder import open_split
from tests.live.rooms import Page, smooth, tiny_room, write_room
from tests.live.test_joined import present
from tests.tiny_split import INPUT, SMASHED

LITTLE = Settings(width=16, blocks=1, steps=150, batch=32)


def wish(name, value):
    return Wish(name, checked(name, {knob(name): value}))


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    split, _ = write_room(tmp_path_factory.mktemp("attacked"))
    return open_split(split).head()


@pytest.fixture
def release(head):
    def release(images, wish):
        smashed = head(images.numpy())
        return torch.from_numpy(wish.make().protect(smashed, np.random.default_rng(1)) if wish.strength else smashed)

    return release


def gain(rebuilt, images):
    mean = images.mean(0, keepdim=True)
    return float(1 - (rebuilt - images).square().mean() / (mean - images).square().mean())


class View:
    """What a fitted attack looks at."""

    def __init__(self, release, wish):
        from cutlayer.data.splits import Dataset

        self.input, self.smashed, self.seed = INPUT, SMASHED, 0
        self.auxiliary = Dataset(smooth(120, seed=1), np.zeros(120, np.int64))
        self.query = lambda images: release(images, wish)


def test_local_ridge_rebuilds_what_is_not_defended_and_noise_takes_it(release):
    images = torch.from_numpy(smooth(40, seed=2))
    gains = []
    for setting in (Wish(), wish("gaussian-noise", 1), wish("gaussian-noise", 10)):
        attack = LocalRidge()
        attack.fit(View(release, setting))
        gains.append(gain(attack.invert(release(images, setting)), images))
    assert gains[0] > 0.8
    assert gains[0] > gains[1] > gains[2]
    assert gains[2] < 0.3


def test_one_decoder_is_told_the_defense_and_meets_floor_and_ceiling(release):
    decoder, told = ToldDecoder(INPUT.shape, SMASHED.shape, LITTLE), []
    before = torch.random.get_rng_state()
    decoder.train(torch.from_numpy(smooth(200, seed=1)), release, lambda share, _: told.append(share))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert told[-1] == 1.0
    assert told == sorted(told)
    images = torch.from_numpy(smooth(60, seed=2))
    gains = {}
    for setting in (Wish(), wish("gaussian-noise", 0.5), wish("gaussian-noise", 10), wish("dropout", 0.99)):
        gains[setting.title] = gain(decoder.invert(release(images, setting), [setting] * len(images)), images)
    assert gains["none"] > 0.6
    assert gains["none"] > gains["gaussian-noise sigma=0.5"] > gains["gaussian-noise sigma=10"]
    assert gains["gaussian-noise sigma=10"] < 0.3
    assert gains["dropout rate=0.99"] < 0.3
    assert gains["gaussian-noise sigma=10"] > -0.3  # behind noise it says little, but not nonsense
    again = ToldDecoder(INPUT.shape, SMASHED.shape, LITTLE, seed=9)
    again.load(decoder.weights())
    arrived = release(images, Wish())
    assert torch.equal(again.invert(arrived, [Wish()] * 60), decoder.invert(arrived, [Wish()] * 60))


def test_what_is_drawn_can_be_wished_and_is_described_within_bounds():
    rng = np.random.default_rng(0)
    drawn_wishes = [drawn(rng) for _ in range(400)]
    assert {one.defense for one in drawn_wishes} == {"none", *SWITCHABLE}
    steps = [wish(name, value) for name, values in SWITCHABLE.items() for value in values]
    for one in (*drawn_wishes, *steps):
        assert Wish.read(one.to_json()) == one
        noise, *planes = described(one)
        assert noise >= 0
        assert all(0 <= plane <= 1.001 for plane in planes)
        assert (max(planes) > 0) == (one.strength > 0)


def test_the_watch_list_names_the_picture_behind_what_arrived(head):
    candidates, rng = smooth(50, seed=3), np.random.default_rng(0)
    watch = WatchList(candidates, head)
    for setting in (
        Wish(),
        wish("gaussian-noise", 0.2),
        wish("top-k", 0.5),
        wish("quantize", 4),
        wish("dropout", 0.25),
    ):
        sent = head(candidates[17:18])
        sent = setting.make().protect(sent, rng) if setting.strength else sent
        named = watch.name(sent, setting, None)
        assert (named["index"], named["of"], named["rank"]) == (17, 50, None), setting.title
        assert named["picture"].startswith("data:image/png;base64,")
        assert watch.name(sent, setting, bytes_of(candidates[17]))["rank"] == 1
    assert watch.name(head(candidates[17:18]), Wish(), None)["sure"]
    loud = wish("gaussian-noise", 10)
    noisy = loud.make().protect(head(candidates[17:18]), rng)
    assert watch.name(noisy, loud, bytes_of(candidates[17]))["rank"] > 0
    assert watch.name(head(smooth(1, seed=8)), Wish(), bytes_of(smooth(1, seed=8)[0])) is None
    assert not watch.name(head(1 - smooth(1, seed=8)), Wish(), None)["sure"]
    assert watch.name(np.full((1, *SMASHED.shape), np.nan, np.float32), Wish(), None) is None


def test_pictures_are_png_files():
    pillow = pytest.importorskip("PIL.Image")
    import io

    for channels in (1, 3):
        image = np.random.default_rng(0).integers(0, 256, (channels, 5, 7), np.uint8)
        read = np.asarray(pillow.open(io.BytesIO(png(image))))
        assert np.array_equal(read.reshape(5, 7, channels).transpose(2, 0, 1), image)
    assert bytes_of(np.array([np.nan, -1, 2, 0.5], np.float32)).tolist() == [0, 0, 255, 128]


def test_an_attacker_that_fails_behind_one_defense_says_so_and_stays_with_what_it_knows(release, capsys):
    done, reports = [], []

    def fit(attack, setting):
        done.append(setting.title)
        if setting.strength:
            raise ValueError("too loud")
        attack.fit(View(release, setting))

    member = Refitted("ridge", LocalRidge, fit, lambda: reports.append(member.state()["words"]))
    arrived = release(torch.from_numpy(smooth(1)), Wish())
    assert member.invert(arrived, [Wish()]) is None
    member.start()
    while not member.state()["ready"]:
        pass
    loud = wish("gaussian-noise", 2)
    while "failed behind gaussian-noise sigma=2" not in reports:
        images, learned = member.invert(arrived, [loud])
        assert images.shape == (1, *INPUT.shape)
        assert learned == [False]
    assert member.invert(arrived.repeat(2, 1, 1, 1), [loud, Wish()]).learned == [False, True]
    assert done == ["none", "gaussian-noise sigma=2"]
    assert "too loud" in capsys.readouterr().err


def test_a_decoder_is_kept_for_the_next_start_and_a_damaged_one_is_trained_again(release, tmp_path, capsys):
    images, quick = torch.from_numpy(smooth(60)), Settings(width=8, blocks=1, steps=6, batch=8)

    def member(key):
        return Told(
            "decoder", lambda: ToldDecoder(INPUT.shape, SMASHED.shape, quick), images, release, tmp_path, key,
            lambda: None,
        )  # fmt: skip

    def ready(one):
        while one.state()["words"] != "ready":
            sleep(0.01)  # a loop without a pause would keep the training from computing
        return one

    first = member({"split": "a"})
    first.start()
    ready(first)
    (kept,) = tmp_path.glob("*.safetensors")
    second = member({"split": "a"})
    second.start()
    assert second.state()["words"] == "ready"
    arrived = release(images[:4], Wish())
    assert torch.equal(second.invert(arrived, [Wish()] * 4).inputs, first.invert(arrived, [Wish()] * 4).inputs)
    assert second.invert(arrived, [Wish()] * 4).learned == [True] * 4
    kept.write_bytes(b"damaged")
    third = member({"split": "a"})
    third.start()
    ready(third)
    assert "is damaged" in capsys.readouterr().err
    other = member({"split": "b"})
    other.start()
    assert other.state()["words"] != "ready"
    ready(other)


def test_a_page_sees_the_picture_dissolve(tmp_path):
    write_room(tmp_path)
    with tiny_room(tmp_path, attackers=("ridge",)) as opened, Page(opened) as page:
        page.until(lambda message: any(one["ready"] for one in message.get("attackers", [])))
        with present(opened, tmp_path, name="shown", share_original=True, rate=20.0):
            clear_then_loud(page)


def clear_then_loud(page):
    frame = page.until(lambda message: message["type"] == "frame" and message["rebuilt"][0]["leakage_gain"])
    assert frame["original"].startswith("data:image/png;base64,")
    clear = [page.until(lambda message: message["type"] == "frame")["rebuilt"][0]["leakage_gain"] for _ in range(8)]
    assert np.median(clear) > 0.7
    shown = page.until(lambda message: message.get("candidate"))
    assert (shown["candidate"]["rank"], shown["candidate"]["of"]) == (1, 30)
    page.wish(shown["id"], "gaussian-noise", sigma=10)
    # Frames from before the change are still on their way, and the attacker learns anew.
    behind = page.until(lambda message: message.get("defense") == "gaussian-noise sigma=10" and message.get("rebuilt"))
    while not behind["rebuilt"][0]["learned"]:
        behind = page.until(lambda message: message["type"] == "frame")
    loud = [page.until(lambda message: message["type"] == "frame")["rebuilt"][0]["leakage_gain"] for _ in range(8)]
    assert np.median(loud) < np.median(clear) - 0.3
    page.say({"type": "attackers", "names": []})
    page.until(lambda message: message["type"] == "frame" and message["rebuilt"] == [])


@pytest.mark.slow
def test_the_usual_split_is_rebuilt_well_undefended_and_not_behind_noise(tmp_path):
    """The floors of what a room shows: trained here, measured on pictures that nobody has learned from."""
    from functools import partial

    from cutlayer.data.load import load
    from cutlayer.live.prepare import DATA, usual_split

    split, data = usual_split(tmp_path, DATA, None, 0), load(DATA)
    head, rng = split.head(), np.random.default_rng(2)
    private = torch.from_numpy(data.private.inputs)

    def release(images, setting):
        smashed = head(images.numpy())
        return torch.from_numpy(setting.make().protect(smashed, rng) if setting.strength else smashed)

    decoder = ToldDecoder(split.manifest.input.shape, split.manifest.smashed.shape)
    decoder.train(torch.from_numpy(data.auxiliary.inputs), release, lambda *_: None)
    behind = partial(lambda setting: decoder.invert(release(private, setting), [setting] * len(private)))
    assert gain(behind(Wish()), private) > 0.85
    assert gain(behind(wish("gaussian-noise", 10)), private) < 0.4
