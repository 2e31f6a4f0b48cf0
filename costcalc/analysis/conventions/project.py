"""The conventions of costcalc itself: FLOPs, MACs and all operations."""

from __future__ import annotations

from costcalc.analysis.conventions.terms import MAC_ADDS, MACS, Convention, Term

PROJECT = (
    Convention(
        name="flops",
        label="FLOPs",
        definition=(
            "2 FLOPs per multiply-accumulate of convolutions, linear layers and matrix products, and nothing else: "
            "the lecture's 2·H·W·Cout·Cin·k². Multiplications with zero padding are counted. Activation memory is the "
            "sum of all tensors that layers create."
        ),
        work=(MACS, MAC_ADDS),
        prior=0,
    ),
    Convention(
        name="macs",
        label="MACs",
        definition=(
            "1 per multiply-accumulate of convolutions, linear layers and matrix products, and nothing else: the "
            "number that the ResNet paper calls FLOPs and torchvision prints as GFLOPS."
        ),
        work=(MACS,),
        prior=0,
    ),
    Convention(
        name="full",
        label="FLOPs",
        definition=(
            "Every operation: 2 per multiply-accumulate, and each add of a bias, a skip connection, a normalisation "
            "or an average, each compare of a ReLU or a max pool, each exp and each division as 1."
        ),
        work=(
            MACS,
            MAC_ADDS,
            Term("every other add", lambda layer: layer.work.adds),
            Term("every other multiply", lambda layer: layer.work.muls),
            Term("divisions", lambda layer: layer.work.divs),
            Term("exps", lambda layer: layer.work.exps),
            Term("compares", lambda layer: layer.work.compares),
        ),
        prior=2,
    ),
)
