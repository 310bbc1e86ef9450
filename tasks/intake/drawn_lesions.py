"""Draw the lesions of each class.

The drawings show the textbook's dermatoscopic features of each class (network, globules, lacunae,
arborizing vessels, milia-like cysts, a central white patch ...). The features vary from lesion to
lesion, so the classes overlap a little. The drawings say nothing about patients.
"""

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from tasks.intake.scene import Kind, Places, Scene
from tasks.lesions import Diagnosis


def draw(diagnosis: Diagnosis, lesion: Generator, view: Generator) -> NDArray[np.uint8]:
    """Draw one picture: uint8 ``(180, 180, 3)``, RGB, 0 to 255.

    Args:
        diagnosis: The class.
        lesion: Random numbers for the lesion, the same for each picture of the lesion.
        view: Random numbers for the picture: angle, zoom, light, hairs.
    """
    kind = KINDS[diagnosis]
    typical = float(lesion.beta(4, 1.3))
    scene = Scene(kind, typical, lesion, view)
    kind.paint(scene, lesion, typical)
    scene.hairs(view)
    return scene.photograph(view)


def _scatter(rng: Generator, count: int, inner: float, outer: float) -> Places:
    """Places on the lesion between two distances from the lesion's centre: ``(count, 2)``."""
    angle = rng.uniform(0, 2 * np.pi, count)
    reach = np.sqrt(rng.uniform(inner**2, outer**2, count))
    return np.stack([np.cos(angle) * reach, np.sin(angle) * reach], axis=1)


def _vessels(rng: Generator, trunks: int) -> list[Places]:
    """Arborizing vessels: each trunk crosses the lesion and sheds thinner twigs."""
    paths = []
    for _ in range(trunks):
        way = rng.uniform(0, 2 * np.pi)
        place = -0.9 * np.array([np.cos(way), np.sin(way)]) + rng.normal(0, 0.25, 2)
        trunk = [place]
        for _ in range(9):
            way += rng.normal(0, 0.35)
            place = place + 0.19 * np.array([np.cos(way), np.sin(way)])
            trunk.append(place)
            if rng.random() < 0.5:
                side = way + rng.choice([-1, 1]) * rng.uniform(0.5, 1.1)
                reach = rng.uniform(0.15, 0.45) * np.array([np.cos(side), np.sin(side)])
                bend = place + reach * 0.5 + rng.normal(0, 0.04, 2)
                paths.append(np.stack([place, bend, place + reach]))
        paths.append(np.stack(trunk))
    return paths


# What is inside the border, class by class --------------------------------------------------------


def _brown(rng: Generator, depth: float) -> NDArray[Any]:
    """Melanin, light (0) to nearly black (1)."""
    light, dark = np.array([172.0, 122.0, 84.0]), np.array([52.0, 34.0, 30.0])
    shade: NDArray[Any] = light + (dark - light) * np.clip(depth + rng.normal(0, 0.07), 0, 1)
    return shade * rng.uniform([0.95, 0.98, 0.92], [1.05, 1.02, 1.08])


def _nevus(scene: Scene, rng: Generator, typical: float) -> None:
    depth = rng.uniform(0.15, 0.7)
    scene.blend(scene.inside * (0.8 + 0.08 * scene.noise(2.0)), _brown(rng, depth), 1)
    scene.blend(scene.disc(rng.uniform(0.3, 0.7), 0.7), _brown(rng, depth + 0.25), 0.5)
    if rng.random() < 0.65:
        net = scene.lines(rng.uniform(7, 10), 0.45) * scene.inside
        scene.blend(net, _brown(rng, depth + 0.3), 0.5)
    else:
        places = _scatter(rng, 45, 0, 0.9)
        globules = scene.dots(places, rng.uniform(0.03, 0.06, 45))
        scene.blend(globules * scene.inside, _brown(rng, depth + 0.3), 0.5)
    if typical < 0.52:  # an atypical nevus has a second colour off its centre, like a melanoma
        scene.blend(scene.patches(0.3, 1.0, 3) * scene.core, _brown(rng, 0.95), 0.8)


def _melanoma(scene: Scene, rng: Generator, typical: float) -> None:
    scene.blend(
        scene.inside * (0.85 + 0.1 * scene.noise(2.0)), _brown(rng, rng.uniform(0.3, 0.7)), 1
    )
    scene.blend(scene.lines(4.5, 0.5) * scene.inside, _brown(rng, 0.85), 0.5)
    scene.blend(scene.patches(0.4, 0.9, 5) * scene.inside, _brown(rng, 0.95), 0.4 + 0.5 * typical)
    zones = ([98, 112, 138], [172, 92, 84], [206, 184, 176])  # veil, blush, regression
    for start, colour in enumerate(zones):
        if rng.random() < 0.25 + 0.5 * typical:
            zone = scene.patches(rng.uniform(0.15, 0.28), 1.1, 31 + 13 * start)
            scene.blend(zone * scene.core, colour, 0.35 + 0.35 * typical)
    if rng.random() < 0.7 * typical:  # streaks, on one side only
        side = rng.uniform(0, 2 * np.pi)
        ways = side + rng.uniform(-0.9, 0.9, 16)
        rays = np.stack([np.cos(ways), np.sin(ways)], axis=1)
        paths = [np.stack([ray * 0.7, ray * rng.uniform(0.9, 1.15)]) for ray in rays]
        scene.blend(scene.strokes(paths, 1.6), _brown(rng, 0.9), 0.5)
    dots = scene.dots(_scatter(rng, 30, 0.3, 0.95), rng.uniform(0.012, 0.05, 30))
    scene.blend(dots * scene.inside, _brown(rng, 1.0), 0.6)


def _pigmented_benign_keratosis(scene: Scene, rng: Generator, typical: float) -> None:
    tan = _brown(rng, rng.uniform(0.0, 0.4))
    scene.blend(scene.inside * (0.85 + 0.1 * scene.noise(2.5)), tan, rng.uniform(0.65, 0.95))
    way = rng.uniform(0, np.pi)
    along = scene.x * np.float32(np.cos(way)) + scene.y * np.float32(np.sin(way))
    bends = 2.6 * scene.noise(1.0) + 1.2 * scene.noise(2.2, 50)
    ridges = 0.5 + 0.5 * np.sin(along * np.float32(rng.uniform(22, 34)) + bends)
    scene.blend(ridges * scene.inside * (0.7 + 0.4 * scene.noise(1.5, 60)), tan * 0.55, 0.55)
    scene.blend(scene.patches(0.3, 1.2, 9) * scene.inside, [158, 136, 122], 0.45)
    if typical < 0.5:
        scene.blend(scene.patches(0.4, 0.9, 7) * scene.inside, _brown(rng, 0.75), 0.75)


def _seborrheic_keratosis(scene: Scene, rng: Generator, typical: float) -> None:
    scene.blend(scene.disc(1.06, 0.12) * (1 - scene.inside), scene.skin * 0.62, 0.5)
    wax = _brown(rng, rng.uniform(0.15, 0.7)) * 0.8 + 24
    scene.blend(scene.inside * (0.9 + 0.08 * scene.noise(5.0)), wax, 1)
    scene.blend(scene.lines(2.6, 0.35) * scene.core, wax * 0.5, 0.5)
    scene.blend(scene.patches(0.3, 2.0, 9) * scene.inside, wax * 1.25, 0.5)
    cysts = scene.dots(_scatter(rng, 20, 0, 0.85), rng.uniform(0.02, 0.06, 20))
    scene.blend(ndimage.gaussian_filter(cysts, 0.8), [236, 222, 200], 0.3 + 0.45 * typical)
    plugs = scene.dots(_scatter(rng, 10, 0, 0.85), rng.uniform(0.025, 0.07, 10))
    scene.blend(plugs, _brown(rng, 0.95), 0.75)


def _basal_cell_carcinoma(scene: Scene, rng: Generator, typical: float) -> None:
    scene.blend(scene.inside * (0.8 + 0.12 * scene.noise(1.5)), [220, 160, 150], 0.85)
    scene.blend(scene.patches(0.3, 1.5, 9) * scene.inside, [232, 196, 186], 0.6)
    count = int(rng.integers(1, 7))
    nests = scene.dots(_scatter(rng, count, 0.2, 0.8), rng.uniform(0.08, 0.24, count))
    nests = ndimage.gaussian_filter(nests, 2.0) * (0.75 + 0.35 * scene.noise(3.0))
    scene.blend(nests, _brown(rng, 0.6) * 0.4 + [46, 52, 70], 0.4 + 0.45 * typical)
    vessels = _vessels(rng, 1 + int(4 * typical))
    scene.blend(scene.strokes(vessels, 1.0), [176, 54, 54], 0.4 + 0.3 * typical)
    if rng.random() < 0.35:  # a small erosion
        spot = scene.dots(_scatter(rng, 3, 0, 0.3), rng.uniform(0.06, 0.14, 3))
        scene.blend(spot * (0.8 + 0.3 * scene.noise(4)), [126, 52, 38], 0.8)


def _actinic_keratosis(scene: Scene, rng: Generator, typical: float) -> None:
    scene.blend(scene.inside * (0.8 + 0.2 * scene.noise(1.2)), [204, 116, 104], 0.5 + 0.3 * typical)
    scene.blend(scene.lines(5.0, 0.5) * scene.inside, [182, 82, 76], 0.5)
    places = _scatter(rng, 40, 0, 1.0)
    sizes = rng.uniform(0.03, 0.065, 40)
    scene.blend(scene.dots(places, sizes), [232, 200, 182], 0.55)
    scene.blend(scene.dots(places, sizes * 0.45), [196, 152, 104], 0.6)
    scales = scene.patches(0.25, 3.5, 11) * scene.patches(0.45, 1.0, 29) * scene.inside
    scene.blend(scales, [240, 226, 206], 0.8)
    if typical < 0.4:  # a pigmented one
        scene.blend(scene.patches(0.5, 0.9, 7) * scene.inside, _brown(rng, 0.4), 0.6)


def _squamous_cell_carcinoma(scene: Scene, rng: Generator, typical: float) -> None:
    scene.blend(scene.inside * (0.85 + 0.12 * scene.noise(2.0)), [200, 112, 104], 0.9)
    heart = scene.disc(rng.uniform(0.4, 0.7), 0.4) * (0.85 + 0.2 * scene.noise(4.0))
    scene.blend(heart, [222, 194, 148], 0.4 + 0.5 * typical)
    scene.blend(scene.patches(0.3, 2.5, 15) * heart, [174, 132, 86], 0.7)
    loops = []
    for place in _scatter(rng, 30, 0.6, 1.0):
        out, turn = place / np.linalg.norm(place), np.linspace(0, np.pi, 5)[:, None]
        across = np.array([-out[1], out[0]])
        loops.append(place + 0.08 * np.sin(turn) * out + 0.03 * np.cos(turn) * across)
    scene.blend(scene.strokes(loops, 0.7), [150, 34, 42], 0.7)
    spots = scene.dots(_scatter(rng, 5, 0, 0.6), rng.uniform(0.02, 0.08, 5))
    scene.blend(spots, [96, 26, 24], 0.75)


def _dermatofibroma(scene: Scene, rng: Generator, typical: float) -> None:
    depth = rng.uniform(0.0, 0.4)
    scene.blend(scene.inside * (0.85 + 0.1 * scene.noise(1.5)), _brown(rng, depth), 0.65)
    scene.blend(scene.lines(9.0, 0.4) * scene.inside, _brown(rng, depth + 0.35), 0.45)
    scar = scene.disc(rng.uniform(0.25, 0.5), 0.5) * (0.9 + 0.12 * scene.noise(3.0))
    scene.blend(scar, [234, 208, 194], 0.4 + 0.45 * typical)
    scene.blend(scene.lines(2.5, 0.2) * scar, [248, 236, 228], 0.5)


def _vascular_lesion(scene: Scene, rng: Generator, typical: float) -> None:
    violet = np.array([132.0, 40.0, 60.0]) * rng.uniform([0.6, 0.7, 0.6], [1.15, 1.2, 1.5])
    scene.blend(scene.inside * (0.9 + 0.1 * scene.noise(2.0)), [192, 98, 100], 0.85)
    count = 26
    places, radii = _scatter(rng, count, 0, 0.82), rng.uniform(0.08, 0.26, count)
    scene.blend(scene.dots(places, radii) * scene.inside, violet * [1.3, 1.2, 1.0], 0.7)
    scene.blend(scene.dots(places, radii * 0.72) * scene.inside, violet, 0.35 + 0.4 * typical)
    scene.blend(scene.patches(0.2, 1.2, 23) * scene.inside, [196, 170, 176], 0.35)
    if typical < 0.5:  # a thrombosed one is nearly black
        scene.blend(scene.patches(0.4, 0.9, 7) * scene.inside, [50, 24, 32], 0.8)


KINDS: dict[Diagnosis, Kind] = {
    "actinic keratosis": Kind(45, (0.45, 0.70), 0.10, 0.50, _actinic_keratosis),
    "basal cell carcinoma": Kind(100, (0.40, 0.65), 0.12, 0.22, _basal_cell_carcinoma),
    "dermatofibroma": Kind(30, (0.35, 0.55), 0.05, 0.40, _dermatofibroma),
    "melanoma": Kind(180, (0.45, 0.75), 0.26, 0.14, _melanoma),
    "nevus": Kind(195, (0.35, 0.65), 0.06, 0.22, _nevus),
    "pigmented benign keratosis": Kind(110, (0.40, 0.65), 0.16, 0.12, _pigmented_benign_keratosis),
    "seborrheic keratosis": Kind(60, (0.40, 0.65), 0.09, 0.06, _seborrheic_keratosis),
    "squamous cell carcinoma": Kind(42, (0.40, 0.65), 0.12, 0.18, _squamous_cell_carcinoma),
    "vascular lesion": Kind(45, (0.35, 0.60), 0.10, 0.08, _vascular_lesion),
}
