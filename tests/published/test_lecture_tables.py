"""Why some printed numbers are wrong, where it takes more than another count to say it.

The numbers themselves, and explanations that are another count, are claims: specs/claims, held to truth/published.csv by
test_claims.py.
"""

from fractions import Fraction

import pytest
import sympy
from truth_data import chain, elements, exact, follows, ids, of_kind, published, row, table, verdict

from costcalc.ir.ops.conv import Conv2d

BATCH = 128
RELU_ELEMENTS = 658_272  # outputs of conv1 to conv5, fc6 and fc7 of AlexNet, which only its totals count again


@pytest.mark.parametrize(("column", "rows_say"), [("mflops", "290766.6"), ("actmem", "763.4")])
def test_alexnets_published_totals_count_relus_and_its_rows_do_not(column, rows_say):
    """Two totals follow another rule than the table's own rows and than VGG's: 658,272 ReLU elements more.

    One flop for each, and a tensor of its own (value and gradient) for each.
    """
    costs = table("alexnet-ungrouped", convention="bologna", batch=BATCH)
    relus = sum(elements(r.output) for r in of_kind(costs, ["relu"]))
    assert relus == RELU_ELEMENTS
    total, added = {
        "mflops": (costs.total().flops, relus * BATCH),
        "actmem": (costs.total().activation_bytes, relus * BATCH * 2 * 4),
    }[column]
    claim = f"bo-alex-total-{column}"
    assert verdict(rows_say, published()[claim]["unit"], total) == "rounds-to"
    assert not follows(claim, total)
    assert total + added == exact(claim)
    assert follows(claim, total + added)


AS_DRAWN = {"convs": [2, 2, 2, 3, 3]}


def test_two_ratios_of_a_slide_divide_what_it_prints():
    """13.6 by 0.7, and 1.1 M by 124 K; stage 3 of the slide's VGG-16 lacks a convolution, which spoils both."""
    drawn, alexnet = table("vgg16", **AS_DRAWN), table("alexnet-torchvision", height=227, width=227)
    macs = round(drawn.total().macs, -8), round(alexnet.total().macs, -8)
    assert follows("eecs-tot-flop-ratio", Fraction(*macs))
    stages = [drawn.below(stage).total() for stage in ("stage1", "stage2", "stage3")]
    stem = table("googlenet").below("stem").total()
    params = round(sum(s.weights for s in stages), -5), round(stem.weights, -3)
    assert follows("eecs-stem-ratio-params", Fraction(*params))


def test_the_slides_stem_total_is_not_the_sum_of_its_rows():
    """418 for 481: the rows that it prints are right and add to 481."""
    rows = [claim for claim in ids("eecs-stem-") if claim.endswith("-flop")]
    rows = [claim for claim in rows if not claim.startswith(("eecs-stem-tot", "eecs-stem-vgg", "eecs-stem-ratio"))]
    assert len(rows) == 5
    assert sum(int(published()[claim]["published"]) for claim in rows) == 481
    assert verdict("481", "M", exact("eecs-stem-tot-flop")) == "rounds-to"


def test_inception_v3_table_1_is_not_the_released_network():
    """Its 71×71×80 is nowhere: the released conv3b is a 1×1 (80 channels at 73×73), and conv4a already makes 192."""
    costs = table("inception_v3")
    shapes = {r.output[1:] for r in costs.rows if len(r.output) == 4}
    assert (80, 71, 71) not in shapes
    assert row(costs, "stem/conv3b/conv2d").output == (1, 80, 73, 73)
    assert row(costs, "stem/conv4a/conv2d").output == (1, 192, 71, 71)


C = sympy.Symbol("C", integer=True, positive=True)


def separable_speedup(channels):
    """MACs of a 3×3 convolution over those of a depthwise 3×3 and a 1×1."""
    dense = chain(Conv2d(channels, 3, padding=1), channels=channels).total().macs
    separable = [Conv2d(channels, 3, padding=1, groups=channels), Conv2d(channels, 1)]
    return sympy.Rational(1) * dense / chain(*separable, channels=channels).total().macs


@pytest.mark.parametrize(("channels", "speedup"), [(64, "7.89"), (512, "8.84")])
def test_depthwise_separable_convolutions_approach_nine_times(channels, speedup):
    """9C / (9 + C): 9 is the limit, never reached."""
    assert sympy.simplify(separable_speedup(C) - 9 * C / (9 + C)) == 0
    assert float(sympy.limit(separable_speedup(C), C, sympy.oo)) == exact("eecs-mobilenet")
    assert verdict(speedup, "x", float(separable_speedup(channels))) == "rounds-to"
