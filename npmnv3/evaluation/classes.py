"""From what the data call a class to a network's own class index, and back to the index that is shown."""

import collections
import re

from ..dumps.labels import LABEL_SETS, class_names, label_set
from .truths import spoken

_WHOLE = re.compile(r"([0-9]+)[.,]0*", re.ASCII)  # 3.0, as tables of floats have it; 3,0 in other countries
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}([.,])000", re.ASCII)  # 1,000 or, written in other countries, 1.000
_SYNSET = re.compile(r"(n[0-9]{8})[-_. ]", re.ASCII)  # n02085620-Chihuahua


class Classes:
    """A network's classes.

    Indices are shown as the data count them: for a network with ImageNet's classes 0 to 999, also if it has 1001 and
    the background comes first (that one is shown as -1); for any other as it counts itself.

    Parameters
    ----------
    names : sequence of str, the network's labels, one a class
    """

    def __init__(self, names):
        names = tuple(names)
        known = next(
            (s for s, size in LABEL_SETS.items() if len(names) == size and names == class_names(s, size)), None
        )
        self.imagenet, self.offset = known is not None, int(known == "imagenet-background")
        self.names = names[self.offset :]
        self._texts = {name: index for index, name in enumerate(self.names)}
        if known:
            self._texts = _imagenet_texts()

    def find(self, label):
        """The shown index of the class that the data call `label` (name, synset or index), or None if there is none."""
        found = self._texts.get(label, self._texts.get(spoken(label)))
        if found is None and (begun := _SYNSET.match(label)):
            return self._texts.get(begun[1])
        if found is None and (whole := _WHOLE.fullmatch(label)) and not self._may_be_thousands(label):
            label = whole[1]
        if found is None and label.isascii() and label.isdigit() and int(label) < len(self.names):
            return int(label)
        return found

    def _may_be_thousands(self, label):
        """Whether a number may be a thousand times what it says as a float: with a comma it may, with a point where the
        network has such a class."""
        grouped = _THOUSANDS.fullmatch(label)
        return bool(grouped) and (grouped[1] == "," or int(label.replace(".", "")) < len(self.names))

    def shown(self, index):
        """The shown index of the network's own class `index`."""
        return index - self.offset

    def name(self, shown):
        """The name of a shown index."""
        return self.names[shown] if shown >= 0 else "background"


def _imagenet_texts():
    """{synset, name or lemma: index} of ImageNet's classes, without the words that mean two of them.

    "crane" and "maillot" are the first lemma of two classes each: which one a file of labels means cannot be told.
    """
    classes = label_set("imagenet")
    lemmas = [[spoken(word) for word in label.lemma.split(", ")] for label in classes]
    firsts = collections.Counter(words[0] for words in lemmas)
    every = collections.Counter(word for words in lemmas for word in set(words))
    texts = {word: label.index for label, words in zip(classes, lemmas) for word in words if every[word] == 1}
    for field in ("lemma", "name"):
        named = [(spoken(getattr(label, field)), label.index) for label in classes]
        texts |= {name: index for name, index in named if firsts[name] < 2}
    return texts | {label.synset: label.index for label in classes}
