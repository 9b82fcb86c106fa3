"""Data sets of the literature, each from a small copy in the layout of its original files."""

from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image
from scipy.io import savemat

from cutlayer.data.load import load, open_data
from cutlayer.data.splits import NO_CLASS, PARTS
from cutlayer.errors import DataError


def write_image(path, value: int, size=(8, 8), mode="RGB"):
    """A picture of one color, so that it is known again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, value, value)).save(path)


def values(data):
    """What each picture was written with."""
    return np.rint(data.inputs.mean(axis=(1, 2, 3)) * 255).astype(int).tolist()


def people(splits, of):
    """Who is to be seen in each part, by the value of the picture."""
    return {part: {of[value] for value in values(getattr(splits, part))} for part in PARTS}


@pytest.fixture
def svhn(tmp_path):
    rng = np.random.default_rng(0)
    for part, n in (("train", 40), ("test", 20)):
        pixels, digits = rng.integers(256, size=(32, 32, 3, n), dtype=np.uint8), np.arange(n) % 10 + 1
        pixels[0, 0, 0] = digits  # the label is in the first pixel
        (tmp_path / "svhn").mkdir(exist_ok=True)
        savemat(tmp_path / f"svhn/{part}_32x32.mat", {"X": pixels, "y": digits[:, None]})
    return tmp_path


def test_house_numbers_have_their_digits_and_ten_is_zero(svhn):
    splits = load("svhn", svhn)
    assert [len(part) for part in splits.parts.values()] == [20, 20, 10, 10]
    for part in splits.parts.values():
        assert part.shape == (3, 32, 32)
        assert (np.rint(part.inputs[:, 0, 0, 0] * 255).astype(int) % 10 == part.labels).all()
    assert set(splits.train.labels.tolist()) <= set(range(10))


@pytest.mark.parametrize(("arrays", "message"), [
    ({"y": np.ones((4, 1))}, "has no array 'X'"),
    ({"X": np.zeros((8, 8, 3, 4), np.uint8), "y": np.ones((4, 1))}, "holds images of shape \\(8, 8, 3, 4\\)"),
    ({"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.ones((5, 1))}, "holds 4 inputs and .* holds 5 labels"),
    ({"X": np.zeros((32, 32, 3, 1), np.uint8), "y": np.array([[11]])}, "holds the label 11"),
])  # fmt: skip
def test_a_file_of_house_numbers_that_cannot_be_is_named(svhn, arrays, message):
    savemat(svhn / "svhn/test_32x32.mat", arrays)
    with pytest.raises(DataError, match=rf"test_32x32\.mat {message}"):
        load("svhn", svhn)
    (svhn / "svhn/test_32x32.mat").write_bytes(b"MATLAB no more")
    with pytest.raises(DataError, match=r"test_32x32\.mat is damaged, or no file of MATLAB"):
        load("svhn", svhn)


@pytest.fixture
def celeba(tmp_path):
    folder, lines, people, parts = tmp_path / "celeba", [], [], []
    for i in range(48):
        write_image(folder / f"img_align_celeba/{i:06}.jpg", 5 * i, (16, 20))
        lines.append(f"{i:06}.jpg  {'1' if i % 2 else '-1'} -1 {'1' if i % 3 else '-1'}")
        person = i // 3
        people.append(f"{i:06}.jpg {person}")
        parts.append(f"{i:06}.jpg {0 if person < 8 else person % 2 + 1}")
    (folder / "list_attr_celeba.txt").write_text("\n".join(["48", "Smiling Bald Young ", *lines, ""]))
    (folder / "identity_CelebA.txt").write_text("\n".join(people))
    (folder / "list_eval_partition.txt").write_text("\n".join(parts))
    return tmp_path


def test_no_celebrity_is_in_two_parts_and_attributes_stay_with_their_face(celeba):
    splits = load("celeba", celeba, shape=(3, 8, 8))
    assert (splits.classes, splits.attributes) == (("not smiling", "smiling"), ("Smiling", "Bald", "Young"))
    seen = people(splits, {5 * i: i // 3 for i in range(48)})
    assert seen["train"] | seen["auxiliary"] == set(range(8))
    assert not seen["train"] & seen["auxiliary"]
    assert seen["private"] | seen["test"] == set(range(8, 16))
    assert not seen["private"] & seen["test"]
    for part in splits.parts.values():
        numbers = [value // 5 for value in values(part)]
        assert part.labels.tolist() == [i % 2 for i in numbers]
        assert part.attributes.tolist() == [[i % 2, 0, int(i % 3 > 0)] for i in numbers]
        assert part.take(2).attributes.shape == (2, 3)


def test_faces_are_of_64_px_unless_another_size_is_asked_for(celeba):
    assert open_data("celeba", celeba).input.shape == (3, 64, 64)
    assert open_data("celeba", celeba, shape=(1, 12, 12)).input.shape == (1, 12, 12)


def test_no_more_faces_are_read_than_are_needed(celeba):
    splits = load("celeba", celeba, shape=(3, 8, 8), most={"train": 4, "private": 3})
    assert [len(part) for part in splits.parts.values()] == [4, 12, 3, 12]
    whole = load("celeba", celeba, shape=(3, 8, 8))
    assert np.array_equal(splits.train.inputs, whole.train.inputs[:4])
    assert np.array_equal(splits.private.attributes, whole.private.attributes[:3])


@pytest.mark.parametrize(("name", "advice"), [("celeba", "training.images"), ("svhn", "a machine with more memory")])
def test_what_does_not_fit_into_memory_is_said_before_it_is_read(celeba, svhn, monkeypatch, name, advice):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100_000))
    with pytest.raises(DataError, match=f"{name} needs .* GB of memory.*{advice}"):
        load(name, celeba)


def test_faces_that_are_not_there_are_counted_and_lists_that_differ_are_refused(celeba):
    (celeba / "celeba/img_align_celeba/000000.jpg").unlink()
    (celeba / "celeba/img_align_celeba/000001.jpg").write_bytes(b"no picture")
    splits = load("celeba", celeba, shape=(3, 8, 8))
    assert sum(map(len, splits.parts.values())) == 46
    assert splits.notes[0] == "1 of 48 listed pictures are not there."
    assert splits.notes[1].startswith("1 file cannot be read and is left out: img_align_celeba/000001.jpg")
    (celeba / "celeba/identity_CelebA.txt").write_text("000000.jpg 0\n")
    with pytest.raises(DataError, match=r"identity_CelebA\.txt does not name 000001\.jpg"):
        load("celeba", celeba)


@pytest.mark.parametrize(("line", "message"), [
    ("000000.jpg 1 1", "is damaged in line 3"),
    ("000000.jpg 1 1 2", "is damaged in line 3"),
])  # fmt: skip
def test_a_damaged_list_of_attributes_is_named(celeba, line, message):
    (celeba / "celeba/list_attr_celeba.txt").write_text(f"1\nSmiling Bald Young\n{line}\n")
    with pytest.raises(DataError, match=rf"list_attr_celeba\.txt {message}"):
        load("celeba", celeba)
    (celeba / "celeba/list_attr_celeba.txt").write_text("something else")
    with pytest.raises(DataError, match="is no list of attributes"):
        load("celeba", celeba)


@pytest.fixture
def imagenet(tmp_path):
    for part, n in (("train", 6), ("val", 4)):
        for label, synset in enumerate(("n01440764", "n01443537")):
            for i in range(n):
                write_image(
                    tmp_path / f"imagenet/{part}/{synset}/{synset}_{i}.JPEG", 100 * label + 10 * i + (part == "val")
                )
    return tmp_path


def test_classes_of_imagenet_have_their_words_and_val_is_private(imagenet):
    assert open_data("imagenet", imagenet).input.shape == (3, 224, 224)
    assert load("imagenet", imagenet, shape=(3, 8, 8)).classes == ("n01440764", "n01443537")
    (imagenet / "imagenet/synset_words.txt").write_text("n01443537 goldfish, Carassius auratus\nn01440764 tench\n")
    splits = load("imagenet", imagenet, shape=(3, 8, 8))
    assert splits.classes == ("tench", "goldfish, Carassius auratus")
    for name, part in splits.parts.items():
        assert {value % 10 for value in values(part)} == {int(name in ("private", "test"))}
        assert [value // 100 for value in values(part)] == part.labels.tolist()


def test_an_imagenet_whose_val_is_not_sorted_is_said_to_lack_it(imagenet):
    for folder in (imagenet / "imagenet/val").iterdir():
        folder.rename(imagenet / folder.name)
    with pytest.raises(DataError, match=r"val is missing.*folder of images for each class"):
        load("imagenet", imagenet)


@pytest.mark.parametrize("folder", ["ffhq", "ffhq/thumbnails128x128/00000"])
def test_faces_of_flickr_have_no_class_and_the_last_are_for_testing(tmp_path, folder):
    for i, number in enumerate([*range(8), *range(60000, 60004)]):
        write_image(tmp_path / folder / f"{number:05}.png", 10 * i)
    splits = load("ffhq", tmp_path, shape=(3, 8, 8))
    assert [len(part) for part in splits.parts.values()] == [4, 4, 2, 2]
    assert {value for part in (splits.train, splits.auxiliary) for value in values(part)} == set(range(0, 80, 10))
    assert set(splits.private.labels.tolist()) == {NO_CLASS}


def test_some_faces_of_flickr_are_dealt_out(tmp_path):
    for i in range(16):
        write_image(tmp_path / f"ffhq/{i:05}.png", 10 * i)
    assert [len(part) for part in load("ffhq", tmp_path, shape=(3, 8, 8)).parts.values()] == [8, 4, 2, 2]


@pytest.fixture
def chest(tmp_path):
    folder = tmp_path / "chestxray8"
    rows, lists = (
        ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"],
        ([], []),
    )
    for i in range(40):
        patient, name = i // 2, f"{i // 2:08}_{i % 2:03}.png"
        write_image(folder / f"images_{i % 3:03}/images/{name}", 6 * i, mode="L")
        finding = "Mass|Hernia" if i % 4 == 0 else "Mass" if i % 4 == 1 else "No Finding"
        rows.append(f"{name},{finding},{i % 2},{patient},50,{'M' if patient % 2 else 'F'},PA")
        lists[patient >= 12].append(name)
    (folder / "Data_Entry_2017.csv").write_text("\n".join(rows) + "\n")
    for name, listed in zip(("train_val", "test"), lists, strict=True):
        (folder / f"{name}_list.txt").write_text("\n".join(listed) + "\n")
    return tmp_path


def test_no_patient_is_in_two_parts_and_findings_stay_with_their_picture(chest):
    splits = load("chestxray8", chest, shape=(1, 8, 8))
    assert (splits.classes, splits.attributes) == (("No Finding", "Finding"), ("Hernia", "Mass", "Male"))
    seen = people(splits, {6 * i: i // 2 for i in range(40)})
    assert seen["train"] | seen["auxiliary"] == set(range(12))
    assert not seen["train"] & seen["auxiliary"]
    assert not seen["private"] & seen["test"]
    for part in splits.parts.values():
        for value, label, attributes in zip(values(part), part.labels, part.attributes.tolist(), strict=True):
            i = value // 6
            assert label == (i % 4 < 2)
            assert attributes == [int(i % 4 == 0), int(i % 4 < 2), i // 2 % 2]


def test_a_patient_in_both_lists_is_kept_for_testing(chest):
    folder = chest / "chestxray8"
    first, moved = (folder / "train_val_list.txt").read_text().split(), "00000000_001.png"
    (folder / "train_val_list.txt").write_text("\n".join(name for name in first if name != moved))
    with (folder / "test_list.txt").open("a") as file:
        file.write(moved)
    splits = load("chestxray8", chest, shape=(1, 8, 8))
    assert splits.notes == ("1 pictures are left out: who or what they show is kept for testing.",)
    seen = people(splits, {6 * i: i // 2 for i in range(40)})
    assert 0 in seen["private"] | seen["test"]
    assert 0 not in seen["train"] | seen["auxiliary"]


@pytest.mark.parametrize(("file", "content", "message"), [
    ("Data_Entry_2017.csv", "Image Index,Patient ID\na.png,1\n", r"has no column 'Finding Labels'"),
    ("Data_Entry_2017.csv", "Image Index,Finding Labels,Patient ID,Patient Gender\na.png,Mass\n",
     "is damaged: line 2 has other columns"),
    ("Data_Entry_2017.csv", "Image Index,Finding Labels,Patient ID,Patient Gender\n", "has no rows"),
    ("test_list.txt", "", r"has neither in train_val_list\.txt nor in test_list\.txt the name 00000012_000\.png"),
])  # fmt: skip
def test_damaged_lists_of_patients_are_named(chest, file, content, message):
    (chest / "chestxray8" / file).write_text(content)
    with pytest.raises(DataError, match=message):
        load("chestxray8", chest)


@pytest.fixture
def skin(tmp_path):
    rows = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for i in range(32):
        write_image(tmp_path / f"ham10000/HAM10000_images_part_{i % 2 + 1}/ISIC_{i:07}.jpg", 8 * i, (12, 9))
        rows.append(
            f"HAM_{i // 2:07},ISIC_{i:07},{('nv', 'mel')[i // 2 % 2]},histo,80.0,{('male', 'female')[i % 2]},scalp"
        )
    (tmp_path / "ham10000/HAM10000_metadata.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_no_lesion_is_in_two_parts(skin):
    splits = load("ham10000", skin, shape=(3, 8, 8))
    assert splits.classes[4:6] == ("mel", "nv")
    seen = people(splits, {8 * i: i // 2 for i in range(32)})
    assert sum(map(len, seen.values())) == 16
    for part in splits.parts.values():
        assert part.labels.tolist() == [(5, 4)[value // 16 % 2] for value in values(part)]
        assert part.attributes[:, 0].tolist() == [int(value // 8 % 2 == 0) for value in values(part)]


def test_an_unknown_diagnosis_is_named(skin):
    path = skin / "ham10000/HAM10000_metadata.csv"
    path.write_text(path.read_text().replace(",mel,", ",gout,"))
    with pytest.raises(DataError, match="has the diagnosis 'gout'; akiec, bcc"):
        load("ham10000", skin)


@pytest.fixture
def bank(tmp_path):
    rows = ['"age";"job";"default";"housing";"loan";"y"']
    for i in range(16):
        job, loan, answer = ("clerk", "artist")[i % 2], ("no", "yes", "unknown")[i % 3], ("no", "yes")[i % 2]
        default, housing = ("no", "yes")[i % 4 == 0], ("no", "yes")[i % 5 > 0]
        rows.append(f'{20 + 2 * i};"{job}";"{default}";"{housing}";"{loan}";"{answer}"')
    (tmp_path / "bank-marketing").mkdir()
    (tmp_path / "bank-marketing/bank-full.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_numbers_are_scaled_and_words_become_a_column_each(bank):
    splits = load("bank-marketing", bank)
    assert (splits.modality.name, splits.input.shape, splits.classes) == ("table", (10,), ("no", "yes"))
    assert splits.attributes == ("default", "housing", "loan")
    for part in splits.parts.values():
        for row, label, attributes in zip(part.inputs, part.labels, part.attributes.tolist(), strict=True):
            i = round(float(row[0]) * 15)
            assert row[0] == pytest.approx(i / 15)
            # artist, clerk; default: no, yes; housing: no, yes; loan: no, unknown, yes
            answers = [i % 4 > 0, i % 4 == 0, i % 5 == 0, i % 5 > 0]
            assert row[1:].tolist() == [i % 2, 1 - i % 2, *answers, i % 3 == 0, i % 3 == 2, i % 3 == 1]
            assert label == i % 2
            assert attributes == [int(i % 4 == 0), int(i % 5 > 0), int(i % 3 == 1)]


def test_an_answer_that_is_none_is_named(bank):
    path = bank / "bank-marketing/bank-full.csv"
    path.write_text(path.read_text().replace('"yes"\n', '"maybe"\n'))
    with pytest.raises(DataError, match="an answer is 'maybe', not yes or no"):
        load("bank-marketing", bank)


def test_a_row_of_a_table_is_drawn_as_a_line_of_pixels(bank):
    splits = load("bank-marketing", bank)
    pixels = splits.modality.pixels(splits.train.inputs)
    assert (pixels.shape, pixels.dtype) == ((8, 1, 1, 10), np.uint8)
    assert len(splits.modality.most_telling(splits.train.inputs, 3)) == 3
