"""Pictures drawn at random, with words for what was drawn: a start for classifiers of few medical images.

    python drawn_pictures.py drawn/ --number 100000
    scalefuse train hifuse_drawn_pictures

Every picture shows what medical images are made of: coarse or fine texture, uneven light, speckle, stripes,
bodies with dark cavities, and up to four objects with smooth, lobed or spiculated outlines, sharp or soft,
bright or dark, plain, textured, ringed or of two colours, some with a shadow below. The words that hold for a
picture are its labels, known exactly since they were drawn; no picture comes from a patient, and as many as
wanted can be made. A network that has learnt to tell the words apart starts other trainings with better
weights than random ones. Needs numpy, SciPy and Pillow. Research software, not a medical device.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Array = NDArray[np.float32]
VALIDATION = 0.02  # the fraction of pictures that is set apart


def texture(random: Generator, side: int, exponent: float) -> Array:
    """Noise of mean 0 and deviation 1 whose amplitudes fall with frequency**-exponent."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(random.standard_normal((side, side))) * frequency**-exponent
    noise = np.fft.irfft2(spectrum, (side, side))
    return ((noise - noise.mean()) / noise.std()).astype(np.float32)


def outline(random: Generator, polar: tuple[Array, Array], lobes: float, spikes: float) -> Array:
    """The radius of an object's edge in every direction, about 1."""
    angle = polar[1]
    radius = np.ones_like(angle)
    for order in range(2, 7):
        radius += lobes / order * random.standard_normal() * np.cos(order * angle + random.uniform(0, 6.3))
    order = int(random.integers(9, 16))
    return np.clip(radius + spikes * np.cos(order * angle + random.uniform(0, 6.3)), 0.3, 2.0)


def place(random: Generator, side: int, size: float, stretch: float) -> tuple[Array, Array, Array]:
    """A centre in the picture, and distances (in units of the object's size) and angles around it."""
    centre = random.uniform(0.1, 0.9, 2).astype(np.float32)
    rows, columns = (np.mgrid[:side, :side].astype(np.float32) + 0.5) / side
    turn = random.uniform(0, np.pi)
    along = (columns - centre[1]) * np.cos(turn) + (rows - centre[0]) * np.sin(turn)
    across = (rows - centre[0]) * np.cos(turn) - (columns - centre[1]) * np.sin(turn)
    distance = np.hypot(along / stretch, across * stretch) / size
    return centre, distance, np.arctan2(across, along)


def draw_object(random: Generator, canvas: Array, colour: bool) -> set[str]:
    """Draw one object onto ``canvas`` (side, side, 3) in place; what is to be said of it."""
    side = len(canvas)
    words = {"object"}
    size = float(np.exp(random.uniform(np.log(0.05), np.log(0.35))))
    stretch = float(random.choice([1.0, 1.15, 1.6]))
    lobed, spiculated = random.random() < 0.35, random.random() < 0.2
    centre, distance, angle = place(random, side, size, stretch)
    edge = outline(random, (distance, angle), 0.45 if lobed else 0.05, 0.25 if spiculated else 0.0)
    soft = random.random() < 0.35
    width = random.uniform(0.25, 0.6) if soft else max(0.04, 1 / (side * size))
    inside = 1 / (1 + np.exp(np.clip((distance - edge) / width * 4, -30, 30)))
    contrast = random.uniform(0.08, 0.16) if random.random() < 0.3 else random.uniform(0.2, 0.5)
    sign = random.choice([-1.0, 1.0])
    tint = np.ones(3) if not colour else random.uniform(0.3, 1.3, 3)
    fill = np.full((side, side), sign * contrast, np.float32)
    for word, holds in (
        ("large_object", size > 0.2),
        ("small_object", size < 0.09),
        ("elongated", stretch > 1.5),
        ("lobed_border", lobed),
        ("spiculated_border", spiculated),
        ("soft_border", soft),
        ("faint_object", contrast < 0.18),
        ("dark_object", sign < 0),
        ("bright_object", sign > 0),
        ("object_left", centre[1] < 0.4),
        ("object_right", centre[1] > 0.6),
        ("object_above", centre[0] < 0.4),
        ("object_below", centre[0] > 0.6),
    ):
        words |= {word} if holds else set()
    if random.random() < 0.3:
        words.add("textured_object")
        fill += random.uniform(0.4, 0.9) * contrast * texture(random, side, random.uniform(0.2, 1.2))
    if size > 0.09 and random.random() < 0.25:
        words.add("ringed_object")
        inner = random.uniform(0.4, 0.7)
        inside = inside * (1 - random.uniform(0.7, 1.0) / (1 + np.exp((distance - inner * edge) / width * 4)))
    layer = fill[..., None] * tint
    if size > 0.09 and random.random() < 0.25:
        words.add("object_of_two_colours")
        half = np.cos(angle + random.uniform(0, 6.3))[..., None] > random.uniform(-0.5, 0.5)
        other = random.uniform(-0.4, 0.4, 3) if colour else random.uniform(-0.4, 0.4)
        layer = np.where(half, layer, layer * 0.3 + other)
    canvas += inside[..., None] * layer
    if random.random() < 0.15:
        words.add("shadow")
        rows, columns = (np.mgrid[:side, :side] + 0.5) / side
        below = (rows > centre[0]) & (np.abs(columns - centre[1]) < size * 0.8)
        strength = ndimage.gaussian_filter(below.astype(np.float32), 1.0)
        canvas *= 1 - random.uniform(0.4, 0.8) * strength[..., None]
    return words


def draw_body(random: Generator, canvas: Array) -> set[str]:
    """A bright body on a dark ground, perhaps with two dark cavities, perhaps with haze in them."""
    side = len(canvas)
    words = {"body"}
    rows, columns = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    rows, columns = rows + random.uniform(-0.05, 0.05), columns + random.uniform(-0.05, 0.05)
    height, width = random.uniform(0.3, 0.48, 2)
    body = 1 / (1 + np.exp(np.clip((np.hypot(rows / height, columns / width) - 1) * 25, -30, 30)))
    if random.random() < 0.6:
        words.add("cavities")
        haze = random.random() < 0.5
        for direction in (-1, 1):
            middle = direction * width * random.uniform(0.42, 0.52)
            cavity = np.hypot(
                rows / (height * random.uniform(0.55, 0.75)), (columns - middle) / (width * 0.36)
            )
            inside = 1 / (1 + np.exp(np.clip((cavity - 1) * 20, -30, 30)))
            content = random.uniform(0.05, 0.2)
            if haze:
                words.add("haze_in_cavities")
                cloud = np.clip(texture(random, side, 1.6) - random.uniform(-0.3, 0.5), 0, None)
                content = content + random.uniform(0.2, 0.4) * cloud
            body = body * (1 - inside * (1 - content))
    canvas *= np.clip(body, 0, None)[..., None]
    return words


def draw(random: Generator, side: int) -> tuple[NDArray[np.uint8], set[str]]:
    """One picture ``(side, side, 3)`` of 8 bit, and its words."""
    words: set[str] = set()
    colour = random.random() < 0.5
    exponent = random.uniform(0.3, 2.2)
    words |= {"coarse_texture"} if exponent > 1.5 else {"fine_texture"} if exponent < 0.8 else set()
    ground = random.uniform(0.25, 0.8, 3) if colour else np.full(3, random.uniform(0.25, 0.8))
    strength = random.uniform(0.02, 0.15)
    canvas = (ground + strength * texture(random, side, exponent)[..., None]).astype(np.float32)
    rows, columns = ((np.mgrid[:side, :side] + 0.5) / side - 0.5).astype(np.float32)
    if random.random() < 0.2:
        words.add("stripes")
        angle, number = random.uniform(0, np.pi), random.uniform(3, 12)
        words |= {"upright_stripes"} if abs(np.cos(angle)) > 0.7 else set()
        wave = np.sin(2 * np.pi * number * (columns * np.cos(angle) + rows * np.sin(angle)))
        canvas += random.uniform(0.05, 0.15) * wave[..., None]
    if random.random() < 0.3:
        words |= draw_body(random, canvas)
    number = int(random.choice(5, p=[0.2, 0.4, 0.2, 0.1, 0.1]))
    for _ in range(number):
        words |= draw_object(random, canvas, colour)
    words |= {"several_objects"} if number > 1 else set()
    words |= {"many_objects"} if number > 2 else set()
    if random.random() < 0.15:
        words.add("hairs")
        for _ in range(int(random.integers(2, 8))):
            _, distance, _ = place(random, side, 1.0, 1.0)
            radius = random.uniform(0.2, 1.0)
            canvas -= 0.3 * np.exp(-(((distance - radius) * side) ** 2))[..., None]
    if random.random() < 0.3:
        words.add("uneven_light")
        angle = random.uniform(0, 6.3)
        words |= {"lighter_above"} if np.sin(angle) < -0.5 else set()
        slope = columns * np.cos(angle) + rows * np.sin(angle)
        canvas *= 1 + random.uniform(0.6, 1.2) * slope[..., None]
    if random.random() < 0.25:
        words.add("blurred")
        canvas = ndimage.gaussian_filter(canvas, (random.uniform(1.0, 2.0),) * 2 + (0,))
    if random.random() < 0.2:
        words.add("speckle")
        grain = texture(random, side, random.uniform(0.0, 0.5))
        canvas *= 1 + random.uniform(0.2, 0.4) * grain[..., None]
    if random.random() < 0.2:
        words.add("noise")
        canvas += random.uniform(0.04, 0.1) * random.standard_normal(
            canvas.shape if colour else (side, side, 1)
        )
    if colour:
        red, green, blue = canvas.mean((0, 1))
        words |= {"colour"} | (
            {"reddish"} if red > 1.15 * blue else {"bluish"} if blue > 1.15 * red else set()
        )
        words |= {"greenish"} if green > 1.1 * (red + blue) / 2 else set()
    return (np.clip(canvas, 0, 1) * 255).round().astype(np.uint8), words


def main() -> None:
    parser = argparse.ArgumentParser(description="Pictures drawn at random, and a multi-label CSV file.")
    parser.add_argument("folder", type=Path, help="gets images/ and labels.csv")
    parser.add_argument("--number", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=64, help="pixels")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    images = options.folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(options.number):
        pixels, words = draw(np.random.default_rng((options.seed, index)), options.side)
        Image.fromarray(pixels).save(images / f"{index:06d}.png")
        split = "val" if index < VALIDATION * options.number else "train"
        rows.append((f"images/{index:06d}.png", ";".join(sorted(words)), split))
        if (index + 1) % 10_000 == 0:
            print(f"{index + 1} of {options.number}", flush=True)
    with (options.folder / "labels.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("path", "label", "split"), *rows])
    print(f"{options.number} pictures: {options.folder / 'labels.csv'}")


if __name__ == "__main__":
    main()
