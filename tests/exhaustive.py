"""Which cases of the parametrised tests run by default; the others are marked `exhaustive`.

`pytest` runs the default cases, `pytest -m exhaustive` the others, and `.ci/run` both. Only the choice of cases stands
here: tests list all of their cases and assert the same of each. Every test keeps a case in the default run, except those
in ONLY_EXHAUSTIVE.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import pytest

# Groups and LRN, convolutions alone, batch norm, branches with auxiliary heads, and residual sums.
REPRESENTATIVES = ("alexnet", "nin", "vgg11_bn", "googlenet-torchvision", "resnet18")

# Patterns of the ids of the default cases, by test; {network} stands for each of the REPRESENTATIVES.
DEFAULT_CASES: dict[str, tuple[str, ...]] = {
    # analysis
    "test_analysis.py::test_rows_add_up_however_they_are_grouped": ("flops-*", "*-googlenet", "*-resnet18"),
    "test_analysis.py::test_everything_but_parameters_is_linear_in_the_batch": ("{network}",),
    "test_analysis.py::test_networks_agree_on_ints_arrays_and_expressions": ("googlenet", "resnet18"),
    "test_conventions.py::test_conventions_agree_on_ints_arrays_and_expressions": ("resnet18-*",),
    "test_memory.py::test_every_network_on_meta": ("{network}-1", "resnet18-8"),
    "test_memory_training.py::test_checkpointing_is_torchs": ("resnet18", "resnet20-cifar", "plain18", "nin"),
    "test_memory_training.py::test_checkpointing_never_raises_what_is_saved": ("{network}",),
    "test_receptive_field.py::test_the_command_and_the_report_agree": ("{network}",),
    # cli
    "test_cli.py::test_explained_values_are_the_analysed_ones": ("resnet18-*", "vgg16-full"),
    "test_cli.py::test_every_command_prints_every_format": ("*-text", "*-json", "report*", "compare*"),
    "test_cli.py::test_reports_fit_a_terminal_of_100_columns": ("{network}", "googlenet", "resnet152"),
    "test_memory_command.py::test_the_batch_that_fits_is_exact": ("*-alexnet", "*-resnet20-cifar"),
    "test_memory_command.py::test_the_input_that_fits_is_exact": ("*-resnet18", "*-resnet20-cifar"),
    "test_memory_command.py::test_memory_never_falls_as_the_input_grows": ("alexnet", "resnet18"),
    "test_speed.py::test_designs_and_fields_take_so_many_bare_pythons": ("stage-*", "field *"),
    "test_speed.py::test_reconciling_takes_so_many_bare_pythons": ("4.11G-*",),
    # exploration
    "test_building_blocks.py::test_formulas_give_the_numbers": ("flops-*", "*-residual"),
    "test_closed_forms.py::test_forms_equal_the_analysis_on_the_default_domain": ("{network}",),
    "test_closed_forms.py::test_exact_forms_equal_the_analysis_at_every_size": ("{network}",),
    "test_closed_forms.py::test_the_domain_begins_where_the_network_does": ("{network}-*",),
    # frontends
    "test_import_spec.py::test_a_shipped_spec_reads_back_equal": ("{network}", "inception_v3"),
    "test_import_timm.py::test_model": ("test_byobnet", "test_efficientnet_gn"),
    "test_import_torchvision.py::test_model": (
        *("alexnet", "vgg11_bn", "squeezenet1_1", "resnet18", "mobilenet_v2", "shufflenet_v2_x0_5", "mnasnet0_5"),
        *("convnext_tiny", "googlenet"),
    ),
    "test_import_torchvision.py::test_segmentation_video_quantizable_and_optical_flow": ("lraspp*",),
    "test_onnx.py::test_resnet18_is_that_of_its_spec": ("script",),
    "test_onnx.py::test_other_networks_are_those_of_torch_export": ("squeezenet1_1",),
    "test_onnx.py::test_a_vision_transformer_is_that_of_torch_export": ("script",),
    "test_onnx.py::test_recurrent_layers_are_those_of_torch_export": ("LSTM*", "GRU-{}", "RNN-{}"),
    "test_onnx.py::test_free_sizes_are_those_of_torch_export": ("decoder-*", "windows-False"),
    "test_spec_language.py::test_a_shipped_spec_written_flat_reads_back_equal": ("{network}",),
    # published
    "test_reconcile.py::test_a_known_number_has_its_explanation_first": ("resnet50-*", "vgg16-1*", "alexnet-*"),
    "test_reconcile.py::test_bridges_add_up_and_costs_are_in_order": ("resnet50-*", "vgg16-1*", "alexnet-*"),
    "test_reconcile.py::test_a_number_that_nothing_gives": ("vgg16-*", "resnet50-*"),
    # report
    "test_reports.py::test_a_result_is_what_its_digest_says": ("report {network} *", "claims *", "stage*", "moves*"),
    # torch_backend
    "test_torchvision.py::test_same_function": ("alexnet-torchvision", "resnet18", "vgg11_bn", "googlenet-torchvision"),
    "test_torchvision.py::test_same_function_with_auxiliary_heads": ("googlenet",),
    # transforms
    "test_rewrites.py::test_laws": ("{network}-*",),
    "test_rewrites.py::test_a_rewritten_network_is_a_spec_that_reads_back_equal": ("alexnet-*", "resnet18-*", "nin-*"),
    "test_rewrites.py::test_a_pattern_limits_a_move_to_what_it_matches": ("vgg16-*",),
    "test_rewrites.py::test_a_move_serves_symbols_as_it_serves_numbers": ("vgg16-*",),
    "test_rewrite_torch.py::test_the_outputs_are_equal": (
        *("fc-to-conv-alexnet", "1x1-to-linear-nin", "1x1-to-linear-googlenet", "linear-to-1x1-resnet18"),
        *("linear-to-1x1-alexnet", "fold-bn-resnet18", "fold-bn-vgg11_bn", "fold-bn-googlenet-torchvision"),
    ),
    "test_rewrite_heads.py::test_torch_agrees_with_the_costs_of_the_linear_layers": (
        "*-nin",
        "*-googlenet-torchvision",
    ),
    "test_rewrite_heads.py::test_what_comes_before_a_head_stays_as_it_was": ("*-{network}",),
    "test_rewrite_heads.py::test_as_convolutions_a_head_costs_the_same": ("{network}",),
    "test_rewrite_inception.py::test_torch_agrees": ("googlenet-naive-reduce:4", "inception_v3-reduce:3"),
    "test_rewrite_residual.py::test_torch_agrees": ("resnet18-*", "resnet50-basic"),
    "test_rewrite_residual.py::test_every_option_into_every_other_is_the_spec_s_own": ("resnet18", "resnet20-cifar"),
    "test_rewrite_convolutions.py::test_other_layers_stay_and_see_what_they_saw": ("{network}-*",),
    "test_rewrite_convolutions.py::test_every_convolution_is_changed_or_it_is_said_why_not": ("{network}-*",),
    # validation
    "test_cross_check.py::test_every_figure_of_every_layer_is_torchs": ("{network}",),
    "test_cross_check.py::test_every_figure_in_training_too": ("{network}",),
    "test_cross_check.py::test_backward_is_twice_forward_but_for_the_first_layer": ("{network}",),
    "test_cross_check.py::test_auxiliary_heads": ("googlenet",),
}

# Tests of all networks at once, or of a time: the law that each holds has a default case elsewhere.
ONLY_EXHAUSTIVE = {
    "test_cross_check.py::test_the_committed_report_is_what_the_checks_give": "test_every_figure_of_every_layer_is_torchs",
    "test_cross_check.py::test_the_widest_tables_fit_100_columns": "test_reports_fit_a_terminal_of_100_columns",
    "test_import_torchvision.py::test_a_detector_is_refused_and_its_backbone_is_imported": "test_targets.py",
    "test_reconcile.py::test_every_convention_is_found_by_its_own_number": "test_a_known_number_has_its_explanation_first",
    "test_speed.py::test_checking_all_networks_takes_under_2_minutes": "test_every_figure_of_every_layer_is_torchs",
    "test_speed.py::test_checking_resnet152_takes_3_imports_of_torch_and_5_seconds": "test_speed.py",
    "test_speed.py::test_verifying_all_claims_takes_at_most_180_bare_pythons": "test_speed.py",
}


def mark(items: Iterable[pytest.Item]) -> None:
    """Add the marker `exhaustive` to the cases that are not in the default run."""
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        name = f"{item.path.name}::{item.originalname}"
        if name in ONLY_EXHAUSTIVE or (name in DEFAULT_CASES and not _is_default(name, item)):
            item.add_marker(pytest.mark.exhaustive)


def _is_default(name: str, item: pytest.Function) -> bool:
    patterns = (pattern.replace("{network}", network) for pattern in DEFAULT_CASES[name] for network in REPRESENTATIVES)
    return any(fnmatchcase(item.callspec.id, pattern.replace("[", "[[]")) for pattern in patterns)
