"""How many were right, how sure that is, and whether it agrees with what was published."""

import collections
import math

Z95 = 1.959963984540054  # standard deviations on either side that hold 95% of a normal distribution


def wilson(right, total, z=Z95):
    """Wilson's score interval of a proportion.

    Parameters
    ----------
    right, total : int, 0 <= right <= total
    z : float, standard normal quantile; the default gives 95%

    Returns
    -------
    (low, high) in 0..1; (0, 1) of nothing

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953. Unlike the normal approximation it holds near 0 and 1.
    """
    if not total:
        return 0.0, 1.0
    share = right / total
    middle = share + z * z / (2 * total)
    reach = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    low, high = (middle - reach) / scale, (middle + reach) / scale
    return low if right else 0.0, high if right < total else 1.0  # which rounding would miss by a hair


def percent_interval(right, total):
    """The 95% interval of a proportion, (low, high) in percent."""
    return tuple(100 * end for end in wilson(right, total))


class Tally:
    """What one model's rows of results add up to. A picture that is unreadable or of no known class is no answer.

    Attributes
    ----------
    pictures : int, answers that count
    top1, top5 : int, of them right with the first, or one of the five first
    unreadable : list of files
    unknown : Counter {label: pictures}
    """

    def __init__(self):
        self.pictures = self.top1 = self.top5 = 0
        self.unreadable, self.unknown = [], collections.Counter()

    def add(self, row):
        """Count a `results.Row`."""
        if not row.top1:
            self.unreadable.append(row.file)
        elif row.error:
            self.unknown[row.label] += 1
        else:
            self.pictures += 1
            self.top1 += row.label == row.top1
            self.top5 += row.label in row.top5.split()

    def share(self, right):
        """Percent of the answers, or None if there are none."""
        return 100 * right / self.pictures if self.pictures else None

    def interval(self, right):
        """95% interval, percent."""
        return percent_interval(right, self.pictures)


def verdict(published, share, interval, quantized=False):
    """`75.77 published; 75.70 +- 0.38 here: consistent`: does the published figure lie within the interval?

    Parameters
    ----------
    published, share : float, percent
    interval : (low, high), percent
    quantized : bool, what was measured is a quantised network, whose float network the published figure is of: the two are
        shown, and not held against each other

    Returns
    -------
    (bool, None of a quantised network, str)
    """
    low, high = interval
    here = f"{share:.2f} +- {(high - low) / 2:.2f} here"
    if quantized:
        return None, f"{published:.2f} published for the float network; {here}, quantised"
    consistent = low <= published <= high
    answer = "consistent" if consistent else "not consistent"
    return consistent, f"{published:.2f} published; {here}: {answer}"
