"""Each kind of defect is planted in a sound delivery: exactly these are found, and nothing else."""

import io
import zlib
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.records.ingested import Ingested
from tasks.records.validated import Validated
from tests.support.deliveries import do, run_of, table_of

CLASSES = {"melanoma": 100, "nevus": 200, "basal cell carcinoma": 300}
EACH = 24  # half of them with ids of HAM10000, so that no source tells a class apart
HEADER = "image_id,diagnosis,lesion_id,patient_id,age,sex,site\n"


@cache
def lesion(number: int) -> Image.Image:
    """A smooth random picture; those of two numbers correlate little."""
    noise = np.random.default_rng(number).normal(size=(64, 80, 3))
    plane = gaussian_filter(noise, (5, 5, 0))
    pixels = np.interp(plane, (plane.min(), plane.max()), (0, 255)).astype(np.uint8)
    return Image.fromarray(pixels)


def packed(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}) | options)
    return buffer.getvalue()


def names(first: int) -> list[str]:
    half = EACH // 2
    return [f"ISIC_{first + n:07d}" for n in range(half)] + [
        f"ISIC_{25000 + first + n:07d}" for n in range(half)
    ]


def row(name: str, diagnosis: str, lesion_id: str = "", patient: str = "", rest: str = "") -> str:
    number = zlib.crc32(name.encode())
    told = rest or f"{30 + number % 40},{('female', 'male')[number % 2]},back"
    return f"{name},{diagnosis},{lesion_id or 'L' + name},{patient or 'P' + name},{told}\n"


def sound_delivery(store: Store) -> None:
    rows = []
    for diagnosis, first in CLASSES.items():
        for name in names(first):
            store.create(f"raw/d/{diagnosis}/{name}.jpg", packed(lesion(int(name[5:]))))
            rows.append(row(name, diagnosis))
    store.create("raw/d/labels.csv", (HEADER + "".join(rows)).encode())


class Planted:
    """Defects, each with what must be found of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.counts: dict[str, int] = defaultdict(int)  # law: count
        self.out: dict[str, str] = {}  # key: law that quarantines it
        self.kept: set[str] = set()  # keys of unusual files that are sound
        self.rows: list[str] = []

    def put(self, place: str, data: bytes, **told: str) -> str:
        key = f"raw/p/{place}"
        self.store.create(key, data)
        name = told.pop("named", Path(place).stem)
        if told.pop("silent", "") == "":
            self.rows.append(row(name, told.pop("diagnosis", Path(place).parts[-2]), **told))
        return key

    def breaks(self, law: str, *keys: str, count: int | None = None) -> None:
        self.counts[law] += len(keys) if count is None else count
        self.out |= dict.fromkeys(keys, law)

    def sound(self, *keys: str) -> None:
        self.kept |= set(keys)


def plant(store: Store) -> Planted:
    planted = Planted(store)
    for kind in (copies, labels, lesions, broken_files, odd_but_sound_files, tables):
        kind(planted)
    store.create("raw/p/labels.csv", (HEADER + "".join(planted.rows)).encode())
    return planted


def copies(planted: Planted) -> None:
    """Of one melanoma each: the same image again, under other names and in other dress."""
    source = names(100)
    like = [lesion(int(name[5:])) for name in source]
    # Identical pixels under another name: the first by name is kept.
    key = planted.put(
        "melanoma/ISIC_0009001.png", packed(Image.open(io.BytesIO(packed(like[0]))), "PNG")
    )
    planted.breaks("duplicate_pixels", key)
    # Near duplicates are kept, together on one side.
    alike = {
        9002: packed(like[1], quality=40),
        9003: packed(like[2].transpose(Image.Transpose.ROTATE_90)),
        9004: packed(like[3].transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        9005: packed(like[4].resize((160, 128))),
        9006: packed(like[5].resize((40, 32))),
        9007: packed(like[6].point(lambda value: 20 + value * 0.85)),
    }
    for number, data in alike.items():
        planted.sound(planted.put(f"melanoma/ISIC_{number:07d}.jpg", data))
    planted.breaks("near_duplicate", count=len(alike))
    # The same image id with other pixels: the largest is kept.
    small = packed(like[7].resize((60, 48)))
    key = planted.put(f"melanoma/{source[7]}_downsampled.JPG", small, silent="yes")
    planted.breaks("delivered_again", key)
    key = planted.put(
        f"again/melanoma/{source[8].lower()} - Copy.jpeg",
        packed(like[8].resize((60, 48))),
        silent="yes",
    )
    planted.breaks("delivered_again", key)


def labels(planted: Planted) -> None:
    """Images under two labels, under one that a table rules out, under none of the nine."""
    nevi = names(200)
    key = planted.put(f"melanoma/{nevi[0]}.jpg", packed(lesion(5000)), silent="yes")
    planted.breaks("contradictory_label", key, f"raw/d/nevus/{nevi[0]}.jpg", count=1)
    # Counts do not depend on other laws. This image breaks three more: its table row names a nevus,
    # its lesion stands under two labels, and it is delivered twice with other pixels.
    for law in ("label_disagrees_with_archive", "lesion_under_two_labels", "delivered_again"):
        planted.breaks(law, count=1)
    key = planted.put("melanoma/ISIC_0009010.jpg", packed(lesion(int(nevi[1][5:]))))
    planted.breaks("contradictory_label", key, f"raw/d/nevus/{nevi[1]}.jpg", count=2)
    planted.breaks("duplicate_pixels", count=1)
    key = planted.put("melanoma/ISIC_0009011.jpg", packed(lesion(9011)), diagnosis="nv")
    planted.breaks("label_disagrees_with_archive", key)
    for number, folder in enumerate(("BKL", "warts & all", "Train/mole"), 9020):
        key = planted.put(f"{folder}/ISIC_{number:07d}.jpg", packed(lesion(number)), diagnosis="")
        planted.breaks("unknown_label", key)
    key = planted.put("images/ISIC_0009023.jpg", packed(lesion(9023)), diagnosis="bkl")
    planted.breaks("unknown_label", key)
    spellings = ("Seborrheic Keratosis", "seborrheic_keratosis", "SEBORRHEIC-KERATOSIS", "SK")
    for number, folder in enumerate(spellings * 3, 9030):
        planted.sound(planted.put(f"{folder}/ISIC_{number:07d}.jpg", packed(lesion(number))))
    key = planted.put("dermatofibroma/ISIC_0009050.jpg", packed(lesion(9050)))
    planted.breaks("class_not_learnable", key)  # one lesion only


def lesions(planted: Planted) -> None:
    told = (("melanoma", "X", "A"), ("nevus", "X", "A"), ("nevus", "Y", "B"), ("nevus", "Y", "C"))
    for number, (folder, lesion_id, patient) in enumerate(told, 9060):
        key = planted.put(
            f"{folder}/ISIC_{number:07d}.jpg",
            packed(lesion(number)), lesion_id=lesion_id, patient=patient,
        )  # fmt: skip
        law = "lesion_under_two_labels" if lesion_id == "X" else "lesion_of_two_patients"
        planted.breaks(law, key, count=number % 2)  # two files each, one lesion


def broken_files(planted: Planted) -> None:
    whole = packed(lesion(9070))
    header = whole[:30]
    frames = [lesion(9071), lesion(9072)]
    broken = {
        "truncated.jpg": whole[: len(whole) // 2],
        "header.jpg": header,
        "zero.jpg": b"",
        "zeros.jpg": bytes(5000),
        "text.jpg": b"<html>404 Not Found</html>",
        "cut.png": packed(lesion(9073), "PNG")[:2000],
        "moving.webp": packed(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "pages.tif": packed(frames[0], "TIFF", save_all=True, append_images=frames[1:]),
        "animated.png": packed(frames[0], "PNG", save_all=True, append_images=frames[1:]),
    }
    for name, data in broken.items():
        planted.breaks("undecodable", planted.put(f"nevus/{name}", data, silent="yes"))
    planted.breaks("image_without_metadata", count=len(broken))
    planted.breaks("lesion_not_named", count=len(broken))
    key = planted.put("nevus/ISIC_0009074.png", packed(lesion(9074).resize((20, 20)), "PNG"))
    planted.breaks("schema", key)


def odd_but_sound_files(planted: Planted) -> None:
    sideways = Image.Exif()
    sideways[0x0112] = 6
    sixteen = np.asarray(lesion(9087).convert("L")).astype(np.uint16) * 257
    odd = {
        "nevus/ISIC_0009080.JPG": packed(lesion(9080)),
        "nevus/ISIC_0009081.jpg": packed(lesion(9081), "PNG"),  # wrong extension
        "nevus/ISIC_0009082.jpg": packed(lesion(9082).convert("CMYK")),
        "nevus/ISIC_0009083.jpg": packed(lesion(9083).convert("L")),
        "nevus/ISIC_0009084.png": packed(lesion(9084).convert("RGBA"), "PNG"),
        "nevus/ISIC_0009085.png": packed(lesion(9085).convert("P"), "PNG"),
        "nevus/ISIC_0009086.jpg": packed(lesion(9086), exif=sideways),
        "nevus/ISIC_0009087.png": packed(Image.fromarray(sixteen), "PNG"),
        "Test/nevus/patient 12/left arm/ISIC_0009088.TIFF": packed(lesion(9088), "TIFF"),
        "nevus/ISIC_0009089.jpg": packed(lesion(9089), progressive=True),
    }
    for place, data in odd.items():
        planted.sound(planted.put(place, data, diagnosis="nevus"))
    planted.sound(planted.put("nevus/läsion ✓ №1.jpg", packed(lesion(9099))))


def tables(planted: Planted) -> None:
    """Tables in other dress, and such that contradict each other or say nothing."""
    put = planted.store.create
    age = row(names(200)[6], "").split(",")[4]
    put("raw/t/semicolons.csv", f"\ufeffIMAGE_ID;Age\r\n{names(200)[6]};{age},0\r\n".encode())
    put("raw/t/again.csv", (HEADER + row(names(200)[3], "nevus") * 2).encode())
    put("raw/t/letters.csv", b"to,whom\nit,may concern\n")
    put("raw/t/notes.txt", b"thank you")
    put("raw/t/.DS_Store", b"\0\0\0\1Bud1")
    put("raw/t/__MACOSX/nevus/._ISIC_0000204.jpg", b"\0\5\26\7")
    put("raw/t/nevus/._ISIC_0000204.jpg", b"\0\5\26\7")
    put("raw/t/nevus/.ipynb_checkpoints/ISIC_0000204-checkpoint.jpg", packed(lesion(204)))
    one, two = names(200)[4], names(200)[5]
    put("raw/t/other.csv", f"image_id,lesion_id,sex\n{one},other,\n{two},,unknown\n".encode())
    planted.breaks("contradictory_metadata", f"raw/d/nevus/{one}.jpg")
    put("raw/t/absent.csv", b"image_id,age\nISIC_0070000,50\nISIC_0070001,60\n")
    planted.breaks("metadata_row_without_image", count=2)
    planted.breaks("table_of_other_images", count=1)
    planted.breaks("table_not_understood", count=1)  # the letter


@pytest.fixture(scope="module", params=["sound", "planted"])
def checked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Planted]:
    store = open_store(str(tmp_path_factory.mktemp(request.param) / "store"))
    sound_delivery(store)
    planted = plant(store) if request.param == "planted" else Planted(store)
    run = run_of(store, minimum_groups=12)
    do(run, "ingest", "validate")
    return run, planted


def record_of(run: Run) -> Validated:
    record = run.record("validate")
    assert isinstance(record, Validated)
    return record


def test_every_planted_defect_is_counted_and_no_law_alarms_besides(
    checked: tuple[Run, Planted],
) -> None:
    run, planted = checked
    found = {each.law: each.count for each in record_of(run).findings if each.count}
    assert found == {law: count for law, count in planted.counts.items() if count}


def test_exactly_the_planted_files_are_quarantined_each_by_its_law(
    checked: tuple[Run, Planted],
) -> None:
    run, planted = checked
    table = table_of(run, record_of(run).quarantine)
    assert dict(zip(table["key"], table["law"], strict=True)) == planted.out
    assert table["reason"].notna().all()


def test_unusual_but_sound_files_are_accepted(checked: tuple[Run, Planted]) -> None:
    run, planted = checked
    accepted = table_of(run, record_of(run).accepted)
    assert planted.kept <= set(accepted["key"])
    assert len(accepted) + len(planted.out) == len(table_of(run, ingested(run).manifest))


def ingested(run: Run) -> Ingested:
    record = run.record("ingest")
    assert isinstance(record, Ingested)
    return record


def test_litter_and_letters_are_ignored_by_name_and_odd_tables_are_read(
    checked: tuple[Run, Planted],
) -> None:
    run, planted = checked
    record = ingested(run)
    if not planted.out:
        assert record.ignored == ()
        assert list(record.tables) == ["raw/d/labels.csv"]
        return
    assert sorted(record.ignored) == sorted(
        f"raw/t/{name}"
        for name in (
            "letters.csv", "notes.txt", ".DS_Store", "nevus/._ISIC_0000204.jpg",
            "__MACOSX/nevus/._ISIC_0000204.jpg",
            "nevus/.ipynb_checkpoints/ISIC_0000204-checkpoint.jpg",
        )
    )  # fmt: skip
    assert {"raw/t/semicolons.csv", "raw/t/other.csv"} <= set(record.tables)
