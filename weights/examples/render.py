"""Draw the example lines of text, each once upright and once upside down.

    python weights/examples/render.py FOLDER_WITH_DEJAVU_FONTS

The fonts are DejaVu 2.35, as in the folder mpl-data/fonts/ttf of matplotlib 3.11.2. Needs Pillow (13.0.0 was used).
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

MARGIN = 8  # pixels
# fmt: off
LINES = (  # file       text                   font                   pixels  ink              paper
    ("hello",    "Hello, world!",        "DejaVuSans.ttf",       32, (20, 20, 20),    (255, 255, 255)),
    ("sign",     "Platform 9",           "DejaVuSans-Bold.ttf",  34, (250, 240, 200), (20, 50, 110)),
    ("receipt",  "Total 42.70 EUR",      "DejaVuSansMono.ttf",   26, (60, 60, 70),    (238, 234, 222)),
)
# fmt: on


def draw(text, font, ink, paper):
    """One line of text, upright, as small as it fits with its margin."""
    left, top, right, bottom = font.getbbox(text)
    picture = Image.new("RGB", (right - left + 2 * MARGIN, bottom - top + 2 * MARGIN), paper)
    ImageDraw.Draw(picture).text((MARGIN - left, MARGIN - top), text, font=font, fill=ink)
    return picture


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fonts", type=Path, help="the folder with the DejaVu .ttf files")
    fonts, here = parser.parse_args().fonts, Path(__file__).parent
    for name, text, font, pixels, ink, paper in LINES:
        picture = draw(text, ImageFont.truetype(str(fonts / font), pixels), ink, paper)
        picture.save(here / f"{name}_upright.png", optimize=True)
        picture.transpose(Image.Transpose.ROTATE_180).save(here / f"{name}_upside_down.png", optimize=True)


if __name__ == "__main__":
    main()
