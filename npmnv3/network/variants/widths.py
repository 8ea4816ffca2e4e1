"""Networks of widths that nobody published, as anybody can build them with a source's code: 5 % to 300 % in steps of 5 %."""

PERCENTS = range(5, 305, 5)


def with_ends(of_width, beginnings, stem, last):
    """The variants whose first and last convolutions have so many channels.

    of_width : callable (name) -> Variant, None where it is published under another name
    beginnings : of names, before the three digits of their width
    """
    variants = (of_width(f"{beginning}_{percent:03d}") for beginning in beginnings for percent in PERCENTS)
    return [variant for variant in variants if variant and (variant.stem, variant.last) == (stem, last)]
