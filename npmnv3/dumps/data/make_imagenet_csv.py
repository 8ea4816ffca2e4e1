"""Make imagenet.csv from two wheels, and check that both list the classes in the same order.

pip download --no-deps timm==1.0.31 torchvision==0.29.2
python make_imagenet_csv.py timm-*.whl torchvision-*.whl imagenet.csv
"""

import argparse
import ast
import csv
import re
import zipfile

NAMES = "torchvision/models/_meta.py"
SYNSETS = "timm/data/_info/imagenet_synsets.txt"
LEMMAS = "timm/data/_info/imagenet_synset_to_lemma.txt"

# torchvision adds a word where two synsets share a lemma: construction crane and crane bird; two kinds of maillot
RENAMED = {134: "crane bird", 639: "maillot tank suit"}


def torchvision_names(wheel):
    """The 1000 category names, read without importing torchvision."""
    for node in ast.parse(wheel.read(NAMES)).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "_IMAGENET_CATEGORIES":
            return ast.literal_eval(node.value)
    raise SystemExit(f"{NAMES} has no _IMAGENET_CATEGORIES")


def timm_synsets(wheel):
    """The 1000 (synset id, lemmas) in class order; the lemma file covers all of ImageNet."""
    lemmas = dict(line.split("\t") for line in wheel.read(LEMMAS).decode().splitlines())
    return [(synset, lemmas[synset]) for synset in wheel.read(SYNSETS).decode().split()]


def letters(text):
    return re.sub("[^a-z]", "", text.lower())


def same_class(index, name, lemmas):
    return RENAMED.get(index) == name or letters(name) in [letters(lemma) for lemma in lemmas.split(", ")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("timm", type=zipfile.ZipFile, help="timm's wheel")
    parser.add_argument("torchvision", type=zipfile.ZipFile, help="torchvision's wheel")
    parser.add_argument("out", help="the CSV file to write")
    args = parser.parse_args()

    names, synsets = torchvision_names(args.torchvision), timm_synsets(args.timm)
    if len(names) != 1000 or len(synsets) != 1000:
        raise SystemExit(f"expected 1000 classes of each, found {len(names)} names and {len(synsets)} synsets")
    rows = [(index, synset, name, lemmas) for index, (name, (synset, lemmas)) in enumerate(zip(names, synsets))]
    strangers = [row for row in rows if not same_class(row[0], row[2], row[3])]
    if strangers:
        raise SystemExit(f"names and synsets disagree in {len(strangers)} classes: {strangers[:5]}")
    with open(args.out, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("index", "synset", "name", "lemma"))
        writer.writerows(rows)


if __name__ == "__main__":
    main()
