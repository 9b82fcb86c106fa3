"""A camera that is not there: a module with the functions of OpenCV, whose frames the test gives. And real videos."""

import queue
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from cutlayer.edge.camera import Camera
from cutlayer.edge.send import send
from cutlayer.errors import ConfigError, DataError
from cutlayer.spec import TensorSpec, image_spec
from tests.cloud_process import CloudProcess
from tests.tiny_split import INPUT

RGB = image_spec(3, 4, 4)


class Capture:
    """What `cv2.VideoCapture` returns: `give` frames to it, None for the end."""

    def __init__(self, frames):
        self.frames, self.taken, self.released = frames, threading.Semaphore(0), False

    def isOpened(self):  # noqa: N802
        return self.frames is not None

    def read(self):
        self.taken.release()
        try:
            frame = self.frames.get(timeout=20)
        except AttributeError:
            frame = next(self.frames, None)
        return frame is not None, frame

    def release(self):
        self.released = True


def resize(picture, size, interpolation):
    rows, columns = (np.arange(n) * old // n for n, old in zip(size[::-1], picture.shape, strict=False))
    return picture[rows][:, columns]


def opencv(opens):
    return SimpleNamespace(
        VideoCapture=opens,
        cvtColor=lambda picture, how: picture[..., ::-1] if how == "rgb" else picture.mean(axis=2).astype(np.uint8),
        COLOR_BGR2RGB="rgb",
        COLOR_BGR2GRAY="gray",
        resize=resize,
        INTER_AREA=3,
        INTER_LINEAR=1,
    )


def plain(value, height=4, width=4):
    return np.full((height, width, 3), value, np.uint8)


def shades(frames):
    return [round(float(frame.image.mean() * 255)) for frame in frames]


@pytest.fixture
def live():
    """A camera, and the queue of the frames that it will give."""
    pictures = queue.Queue()
    pictures.put(plain(0))
    captures = []
    camera = Camera("0", RGB, None, cv2=opencv(lambda source: captures.append(Capture(pictures)) or captures[-1]))
    yield camera, pictures, captures[0]
    pictures.put(None)
    camera.close()
    assert captures[0].released


def test_a_camera_gives_its_newest_frame_and_counts_the_others(live):
    camera, pictures, capture = live
    for value in (10, 20, 30):
        pictures.put(plain(value))
    for _ in range(5):
        # The fifth attempt to read means that the four frames before it have been taken in.
        assert capture.taken.acquire(timeout=20)
    frame = camera.take(0)
    assert shades([frame]) == [30]
    assert camera.skipped == 2
    assert frame.taken_ns > 0
    pictures.put(plain(40))
    assert shades([camera.take(1)]) == [40]
    assert camera.skipped == 2
    assert camera.due == "when the camera has given a frame"


def test_a_camera_that_stops_says_so(live):
    camera, pictures, _ = live
    pictures.put(None)
    with pytest.raises(DataError, match="The camera 0 gives no more frames"):
        camera.take(0)


def video(*values):
    return opencv(lambda source: Capture(iter([plain(value) for value in values])))


def test_a_video_gives_each_frame_once_and_begins_again_in_a_loop():
    camera = Camera("a.mp4", RGB, 5, cv2=video(10, 20, 30))
    frames = [camera.take(number) for number in range(4)]
    assert shades(frames[:3]) == [10, 20, 30]
    assert frames[3] is None
    assert (camera.skipped, camera.due, frames[0].taken_ns) == (0, "", None)
    camera.close()
    camera = Camera("a.mp4", RGB, 5, loop=True, cv2=video(10, 20))
    assert shades(camera.take(number) for number in range(5)) == [10, 20, 10, 20, 10]
    assert camera.total is None
    camera.close()


@pytest.mark.parametrize("source", ["7", "nothing.mp4"])
def test_what_cannot_be_opened_is_named(source):
    with pytest.raises(DataError, match=rf"{source} cannot be opened"):
        Camera(source, RGB, None, cv2=opencv(lambda source: Capture(None)))
    with pytest.raises(DataError, match=r"empty\.mp4 gives no frame"):
        Camera("empty.mp4", RGB, None, cv2=video())


def test_the_middle_of_a_frame_is_used_in_the_order_of_the_head():
    picture = np.zeros((8, 16, 3), np.uint8)
    picture[:, 4:12] = (1, 2, 3)  # blue, green, red
    frames = opencv(lambda source: Capture(iter([picture])))
    camera = Camera("a.mp4", RGB, None, cv2=frames)
    image = camera.take(0).image
    assert image.dtype == np.float32
    np.testing.assert_allclose(
        image, np.broadcast_to(np.array([3, 2, 1])[:, None, None] / 255, (1, 3, 4, 4)), rtol=1e-6
    )
    camera.close()
    gray = Camera("a.mp4", image_spec(1, 4, 4), None, cv2=opencv(lambda source: Capture(iter([picture]))))
    np.testing.assert_allclose(gray.take(0).image, np.full((1, 1, 4, 4), 2 / 255), rtol=1e-6)
    gray.close()


def test_a_head_that_takes_no_image_has_no_camera():
    with pytest.raises(ConfigError, match="1 or 3 channels"):
        Camera("0", TensorSpec((10,)), None, cv2=video(1))


def test_without_opencv_the_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(ConfigError, match="pip install opencv-python-headless"):
        Camera("0", RGB, None)


def test_a_real_video_is_sent_to_a_real_server(folder, tmp_path):
    cv2 = pytest.importorskip("cv2")
    path = str(tmp_path / "v.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 10, (24, 16))
    for value in range(12):
        writer.write(plain(20 * value, 16, 24))
    writer.release()
    camera = Camera(path, INPUT, None)
    seen = shades(camera.take(number) for number in range(12))
    assert camera.take(12) is None
    camera.close()
    np.testing.assert_allclose(seen, 20 * np.arange(12), atol=3)
    with CloudProcess(folder, "zmq://127.0.0.1:0") as cloud:
        assert send(folder, cloud.address, camera=path).n == 12
        assert send(folder, cloud.address, camera=path, count=5, rate=100).n == 5
