"""Labels, softmax and top-k."""

import csv
import math
import re

import goldens
import numpy as np
import pytest

from npmnv3.dumps.labels import LABEL_SETS, class_names, label_set, softmax, top_k
from npmnv3.errors import UsageError

PHOTOS = goldens.SHARED / "photos" / "labels.csv"
ANCHORS = {  # classes that are easily told apart, among them the two cranes and the two maillots
    0: ("n01440764", "tench"),
    7: ("n01514668", "cock"),
    134: ("n02012849", "crane bird"),
    285: ("n02124075", "Egyptian cat"),
    517: ("n03126707", "crane"),
    638: ("n03710637", "maillot"),
    639: ("n03710721", "maillot tank suit"),
    999: ("n15075141", "toilet tissue"),
}


def naive_softmax(row):
    """One row in exact sums of Python floats."""
    weights = [math.exp(v - max(row)) for v in row]
    return [w / math.fsum(weights) for w in weights]


class TestLabelSets:
    def test_imagenet_is_complete_and_in_order(self):
        labels = label_set("imagenet")
        assert [label.index for label in labels] == list(range(1000))
        synsets = [label.synset for label in labels]
        assert all(re.fullmatch(r"n\d{8}", synset) for synset in synsets)
        assert synsets == sorted(set(synsets))
        assert len({label.name for label in labels}) == 1000
        assert all(label.name.strip() == label.name != "" and label.lemma for label in labels)

    @pytest.mark.parametrize("index", ANCHORS)
    def test_known_classes(self, index):
        label = label_set("imagenet")[index]
        assert (label.synset, label.name) == ANCHORS[index]

    def test_lemmas_hold_commas(self):
        assert label_set("imagenet")[0].lemma == "tench, Tinca tinca"

    def test_photos_agree(self):
        if not PHOTOS.exists():
            pytest.skip("needs ../shared/photos/labels.csv")
        with PHOTOS.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows
        for row in rows:
            assert label_set("imagenet")[int(row["class_index"])].synset == row["synset"], row["file"]

    def test_background_comes_first(self):
        labels, imagenet = label_set("imagenet-background"), label_set("imagenet")
        assert labels[0] == (0, "", "background", "background")
        assert [label.index for label in labels] == list(range(1001))
        assert [label[1:] for label in labels[1:]] == [label[1:] for label in imagenet]

    @pytest.mark.parametrize("name", LABEL_SETS)
    def test_sizes_are_as_listed(self, name):
        assert len(label_set(name)) == LABEL_SETS[name]

    @pytest.mark.parametrize("name", ["", "ImageNet", "imagenet21k", None, 1000, ["imagenet"]])
    def test_unknown_set(self, name):
        with pytest.raises(UsageError, match="no label set .*, only imagenet and imagenet-background"):
            label_set(name)


class TestClassNames:
    def test_none_takes_the_set_that_fits(self):
        assert class_names(None, 1000)[7] == "cock"
        assert class_names(None, 1001)[8] == "cock"
        assert class_names(None, 3) == ("0", "1", "2")

    def test_imagenet_with_a_class_more_has_the_background_first(self):
        assert class_names("imagenet", 1001) == class_names("imagenet-background", 1001)
        assert class_names("imagenet", 1001)[:2] == ("background", "tench")

    def test_empty_text_gives_indices(self):
        assert class_names("", 1000)[7] == "7"

    @pytest.mark.parametrize("kind", [list, tuple, np.array])
    def test_own_names(self, kind):
        names = class_names(kind(["0", "180"]), 2)
        assert names == ("0", "180")
        assert {type(name) for name in names} == {str}

    @pytest.mark.parametrize("labels, found", [("imagenet", 1000), (["a"], 1), ([], 0)], ids=["set", "short", "none"])
    def test_wrong_number(self, labels, found):
        with pytest.raises(UsageError, match=f"labels: found {found} names for 37 classes"):
            class_names(labels, 37)

    @pytest.mark.parametrize("labels", [[1, 2], [b"a", b"b"], ["a", None], 5, 2.5])
    def test_not_names(self, labels):
        with pytest.raises(UsageError, match="labels: expected the name of a label set or a sequence of str, found"):
            class_names(labels, 2)


class TestSoftmax:
    @pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 700.0])
    def test_equals_the_definition(self, scale):
        logits = np.random.default_rng(1).standard_normal((5, 1000)) * scale
        found, expected = softmax(logits), np.array([naive_softmax(row) for row in logits.tolist()])
        error = np.abs(found - expected) / np.maximum(expected, np.finfo(float).tiny)
        # the exponent is rounded the same on both sides; exp, the sum of 1000 and the division differ by a few ulps
        assert error.max() < 32 * np.finfo(float).eps, f"worst relative error {error.max():.3g} at {error.argmax()}"

    def test_small_case_by_hand(self):
        assert softmax(np.log([1.0, 2.0, 5.0])).tolist() == pytest.approx([0.125, 0.25, 0.625], abs=1e-15)

    def test_adding_a_constant_changes_nothing(self):
        logits = np.array([1.0, 2.0, 3.0])
        assert np.array_equal(softmax(logits + 2.0**40), softmax(logits))

    def test_float16_is_computed_in_float64(self):
        logits = np.array([-60000, 0, 60000, 60000], np.float16)
        assert softmax(logits).dtype == np.float64
        assert softmax(logits).tolist() == [0, 0, 0.5, 0.5]

    def test_extremes_overflow_nowhere(self):
        largest = np.finfo(float).max
        assert softmax([-largest, largest, 0.0]).tolist() == [0, 1, 0]

    def test_infinities(self):
        inf = math.inf
        assert softmax([0.0, inf, -inf]).tolist() == [0, 1, 0]
        assert softmax([inf, 5.0, inf]).tolist() == [0.5, 0, 0.5]
        assert softmax([-inf, -inf]).tolist() == [0.5, 0.5]

    def test_nan_spoils_its_own_row_only(self):
        found = softmax([[0.0, math.nan], [0.0, 0.0]])
        assert np.isnan(found[0]).all()
        assert found[1].tolist() == [0.5, 0.5]

    def test_axis(self):
        logits = np.random.default_rng(2).standard_normal((3, 4, 5))
        assert np.allclose(softmax(logits, axis=1).sum(axis=1), 1, rtol=0, atol=1e-15)
        assert np.array_equal(softmax(logits.T, axis=0).T, softmax(logits))

    def test_bits_depend_neither_on_the_batch_nor_on_strides(self):
        logits = np.random.default_rng(3).standard_normal((7, 1000))
        alone = np.stack([softmax(row) for row in logits])
        assert np.array_equal(softmax(logits), alone)
        assert np.array_equal(softmax(np.asfortranarray(logits)), alone)
        assert np.array_equal(softmax(np.repeat(logits, 2, axis=1)[:, ::2]), alone)

    @pytest.mark.parametrize("logits", [["a"], [1j], [None], [True], "text", None])
    def test_not_real_numbers(self, logits):
        with pytest.raises(UsageError, match="logits: expected an array of real numbers, found dtype"):
            softmax(logits)

    @pytest.mark.filterwarnings("ignore:Creating an ndarray from ragged")  # what NumPy before 1.24 did
    def test_ragged_rows(self):
        with pytest.raises(UsageError, match="logits"):
            softmax([[1.0], [1.0, 2.0]])

    @pytest.mark.parametrize("shape, axis", [((), -1), ((0,), -1), ((3, 0), 1), ((3,), 1), ((3,), -2)])
    def test_no_classes(self, shape, axis):
        with pytest.raises(UsageError, match="no classes along axis"):
            softmax(np.zeros(shape), axis)


class TestTopK:
    def test_best_first_in_python_types(self):
        best = top_k(np.log(np.array([0.125, 0.625, 0.25], np.float32)), k=2, labels=["a", "b", "c"])
        assert [entry[:2] for entry in best] == [(1, "b"), (2, "c")]
        assert [entry[2] for entry in best] == pytest.approx([0.625, 0.25], abs=1e-7)
        assert [type(value) for value in best[0]] == [int, str, float]

    def test_a_batch_is_a_list_of_rows(self):
        logits = np.random.default_rng(4).standard_normal((4, 37)).astype(np.float32)
        assert top_k(logits, 5) == [top_k(row, 5) for row in logits]
        assert top_k(logits[:0]) == []

    def test_agrees_with_sorting(self):
        logits = np.random.default_rng(5).integers(-3, 4, (50, 12))  # many ties
        for row, best in zip(logits.tolist(), top_k(logits, 12)):
            assert [entry[0] for entry in best] == sorted(range(12), key=lambda i: (-row[i], i))

    def test_ties_come_by_index(self):
        assert [entry[0] for entry in top_k(np.zeros(1000), 5)] == [0, 1, 2, 3, 4]

    def test_ranks_by_logit_where_probabilities_vanish(self):
        assert [entry[0] for entry in top_k([-3000.0, 0.0, -2000.0])] == [1, 2, 0]

    def test_k_beyond_the_classes_gives_all(self):
        assert [entry[1] for entry in top_k([0.0, 1.0], 5)] == ["1", "0"]

    def test_imagenet_names_by_default(self):
        logits = np.zeros(1000)
        logits[285] = 1
        assert top_k(logits, 1)[0][1] == "Egyptian cat"
        assert top_k(np.append(0, logits), 1)[0][:2] == (286, "Egyptian cat")

    def test_nan_comes_last_and_has_no_probability(self):
        best = top_k([math.nan, 1.0, 2.0])
        assert [entry[0] for entry in best] == [2, 1, 0]
        assert all(math.isnan(entry[2]) for entry in best)

    def test_leaves_its_input_alone(self):
        logits = np.random.default_rng(6).standard_normal((2, 10))
        before = logits.copy()
        top_k(logits)
        softmax(logits)
        assert np.array_equal(logits, before)

    @pytest.mark.parametrize("k", [0, -1, 2.0, "5", None, True])
    def test_bad_k(self, k):
        with pytest.raises(UsageError, match="k: expected a whole number of at least 1, found"):
            top_k([0.0, 1.0], k)

    def test_numpy_integers_count(self):
        assert len(top_k([0.0, 1.0, 2.0], np.int64(2))) == 2

    @pytest.mark.parametrize("shape", [(), (1, 3, 1000)])
    def test_bad_shape(self, shape):
        with pytest.raises(UsageError, match=re.escape(f"found {shape}")):
            top_k(np.zeros(shape))

    def test_no_classes(self):
        with pytest.raises(UsageError, match="no classes"):
            top_k(np.zeros((2, 0)))
