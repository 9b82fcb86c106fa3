"""Draw `demo.jpg` from the records of the demonstration: each photograph as the camera saw it and as it was rebuilt.

.venv/bin/python docs/demo_picture.py RUNS FILE.jpg
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cutlayer.records.reading import read
from cutlayer.report.kit.columns import plain
from cutlayer.report.kit.wording import ACCURACY, LEAKAGE_GAIN
from cutlayer.report.runs.groups import group
from cutlayer.report.runs.story import originals, rebuilt_by

SIDE, GAP, CAPTION = 224, 12, 74
PAPER, INK, SOFT = "#fdfdfc", "#1d2125", "#5b636b"


def draw(runs: Path, out: Path) -> None:
    """One column for the camera and one for the worst attack on each defense, of the newest group of runs."""
    newest = group(read(runs)[0])[0]
    baseline, *_ = (setting.members[0].run for setting in newest.settings)
    columns = [("What the camera saw", "", "", originals(baseline))]
    for setting in newest.settings:
        run, worst = setting.members[0].run, setting.worst
        if worst is None or (rebuilt := rebuilt_by(run, worst.label, worst.deployment)) is None:
            continue
        leaked = f"{LEAKAGE_GAIN.value(setting.leakage.value)} leaked to {worst.label}"
        columns.append((setting.label, leaked, f"accuracy {ACCURACY.value(setting.usefulness.value)}", rebuilt))
    step = SIDE + GAP
    sheet = Image.new("RGB", (len(columns) * step - GAP, CAPTION + len(columns[0][3]) * step - GAP), PAPER)
    canvas, large, small = ImageDraw.Draw(sheet), ImageFont.load_default(18), ImageFont.load_default(14)
    for i, (title, *lines, images) in enumerate(columns):
        canvas.text((i * step, 4), plain(title), INK, large)
        canvas.text((i * step, 30), "\n".join(map(plain, lines)), SOFT, small, spacing=5)
        for j, image in enumerate(images):
            pixels = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
            sheet.paste(pixels.resize((SIDE, SIDE), Image.Resampling.BICUBIC), (i * step, CAPTION + j * step))
    sheet.save(out, quality=58)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
