"""Cut a model of your own, serve it, attack it, and print what leaks."""

from sklearn.datasets import load_digits
from torch import nn

import cutlayer

images, labels = load_digits(return_X_y=True)
data = cutlayer.load_data(images.reshape(-1, 8, 8) / 16, labels)
model = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10))
split = cutlayer.split(model, "2", data, "artifacts/mine", epochs=5)
with cutlayer.serve(split) as address, cutlayer.connect(split, address, codec="int8") as device:
    logits, trace = device.infer(data.test.inputs[:1])
print(f"answer {logits.argmax()} after {trace.end_to_end_ns / 1e6:.1f} ms")
print(cutlayer.attack("ridge", split, data, codec="int8"))
