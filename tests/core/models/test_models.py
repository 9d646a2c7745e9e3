"""Networks: exact costs, names that published checkpoints need, and files that are refused unread."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.fx
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pdc_core.data import describe_data, load_data
from pdc_core.errors import PDCError
from pdc_core.export import header
from pdc_core.models import MODELS, build_model, load_model, model_info, read_checkpoint, shipped_data, weights_source
from pdc_core.models.checkpoint import compare_state, load_state_
from pdc_core.models.load import WEIGHTS
from pdc_core.models.resnet import PadShortcut


def macs(model: nn.Module, example: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(example)
    return counter.get_total_flops() // 2


@pytest.fixture(scope="module")
def random20() -> nn.Module:
    return load_model("resnet20", data="digits", weights=False)


# Architecture


@pytest.mark.parametrize(
    ("name", "expected"),
    [("resnet20", 40_551_040), ("resnet56", 125_485_696), ("resnet110", 252_887_680)],
)
def test_macs_are_the_literatures(name, expected):
    assert macs(build_model(name, 3, 10), torch.zeros(1, 3, 32, 32)) == expected


def test_macs_of_torchvisions_resnet50_are_the_literatures():
    with torch.device("meta"):
        model = build_model("resnet50", 3, 1000, size=224)
        assert macs(model, torch.zeros(1, 3, 224, 224)) == 4_089_184_256


def test_projections_cost_what_two_1x1_convolutions_do():
    example = torch.zeros(1, 3, 32, 32)
    by_hand = 16 * 32 * 16 * 16 + 32 * 64 * 8 * 8
    assert macs(build_model("resnet20_b", 3, 10), example) - macs(build_model("resnet20", 3, 10), example) == by_hand


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("resnet")])
def test_depth_in_the_name_is_the_number_of_weighted_layers_on_the_main_path(name):
    model = build_model(name, 1, 4)
    weighted = [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "shortcut" not in path
    ]
    assert len(weighted) == int(name.removeprefix("resnet").removesuffix("_b"))
    shortcuts = [path for path, module in model.named_modules() if isinstance(module, nn.Conv2d) and "shortcut" in path]
    assert len(shortcuts) == (2 if name.endswith("_b") else 0)


def test_names_are_those_of_the_published_checkpoints():
    names = ["conv1", "bn1"]
    for layer in (1, 2, 3):
        names += [f"layer{layer}.{block}.{part}" for block in range(3) for part in ("conv1", "bn1", "conv2", "bn2")]
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = [f"{n}.{p}" for n in names for p in (norm if "bn" in n else ("weight",))]
    assert list(build_model("resnet20", 3, 10).state_dict()) == [*expected, "linear.weight", "linear.bias"]
    projections = {name for name in build_model("resnet20_b", 3, 10).state_dict() if "shortcut" in name}
    assert {"layer2.0.shortcut.0.weight", "layer2.0.shortcut.1.running_var"} <= projections


def test_padding_shortcut_puts_a_quarter_of_zeros_on_each_side():
    x = torch.randn(2, 16, 7, 6)
    out = PadShortcut(32)(x)
    assert out.shape == (2, 32, 4, 3)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(["resnet20", "resnet20_b", "resnet32"]),
    channels=st.integers(1, 4),
    classes=st.integers(2, 12),
    height=st.integers(1, 17),
    width=st.integers(1, 17),
)
def test_any_channels_classes_and_sizes_run_and_trace_to_the_same_function(name, channels, classes, height, width):
    model = build_model(name, channels, classes).eval()
    x = torch.randn(2, channels, height, width)
    with torch.no_grad():
        out = model(x)
        assert out.shape == (2, classes)
        assert torch.equal(torch.fx.symbolic_trace(model)(x), out)


# Names


def test_unknown_name_is_answered_with_close_ones():
    with pytest.raises(PDCError, match=r"'resnet21'.*did you mean .*resnet20"):
        build_model("resnet21", 3, 10)
    with pytest.raises(PDCError, match=r"no network called '\.\./resnet20'"):
        load_model("../resnet20")


@pytest.mark.parametrize(("channels", "classes"), [(0, 10), (3, 1), (-1, 2)])
def test_impossible_channels_and_classes_are_refused(channels, classes):
    with pytest.raises(PDCError, match="at least 1 input channel and 2 classes"):
        build_model("resnet20", channels, classes)


def test_torchvisions_networks_take_colour_only():
    with pytest.raises(PDCError, match=r"3 channels; these have 1.*resnet20"):
        load_model("resnet50", data="digits", weights=False)


@pytest.mark.parametrize(
    ("name", "size"), [("mobilenet_v2", 32), ("googlenet", 32), ("inception_v3", 75), ("vit_b_32", 64)]
)
def test_torchvisions_networks_give_plain_logits_in_either_mode(name, size):
    model = build_model(name, 3, 7, size=size)
    for mode in (True, False):
        assert model.train(mode)(torch.zeros(2, 3, size, size)).shape == (2, 7)


@pytest.mark.parametrize("name", ["vit_b_16", "maxvit_t"])
def test_a_size_that_a_network_cannot_have_is_refused(name):
    with pytest.raises(PDCError, match=f"{name} cannot be built for images of 30x30"):
        build_model(name, 3, 10, size=30)


# load_model: weights and card


@pytest.mark.parametrize(("name", "accuracy"), [("digits", 0.985), ("clothing", 0.9)])
def test_shipped_network_is_ready_and_good(name, accuracy):
    model, data = load_model("resnet20", data=name), load_data(name)
    assert not model.training
    with torch.inference_mode():
        predicted = model(data.prepare(data.test.images)).argmax(1)
    assert (predicted == data.test.labels).float().mean() >= accuracy


def test_card_says_what_the_network_is(random20):
    card, info = model_info(random20), describe_data("digits")
    assert (card.model, card.data, card.shape, card.classes) == (
        "resnet20",
        "digits",
        info.shape,
        info.classes,
    )
    assert (card.mean, card.std) == (info.mean, info.std)
    assert model_info(nn.Linear(2, 2)) is None


def test_torchvisions_networks_are_imagenets_by_default():
    card = model_info(load_model("mobilenet_v2", weights=False))
    assert (card.data, card.shape, len(card.classes)) == ("imagenet", (3, 224, 224), 1000)


@pytest.mark.parametrize("name", ["resnet20", "resnet32_b", "mobilenet_v2", "googlenet"])
def test_random_weights_are_torchs_for_that_seed_and_global_state_is_untouched(name):
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    model = load_model(name, data="cifar10", weights=False, seed=5)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(5)
    oracle = build_model(name, 3, 10)
    for key, value in oracle.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def test_threads_that_load_at_once_get_the_weights_of_their_seed():
    expected = [load_model("resnet20", weights=False, seed=seed).conv1.weight for seed in range(4)]
    found: dict[int, torch.Tensor] = {}

    def run_worker(seed: int) -> None:
        found[seed] = load_model("resnet20", weights=False, seed=seed).conv1.weight

    threads = [threading.Thread(target=run_worker, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[seed], expected[seed]) for seed in range(4))


@pytest.mark.parametrize(
    ("given", "source"),
    [
        (True, "shipped"),
        (False, "random"),
        ("shipped", "shipped"),
        ("random", "random"),
        ("torchvision", "torchvision"),
        ("nets/mine.pt", "nets/mine.pt"),
        (Path("nets/mine.pt"), "nets/mine.pt"),
        (Path("random"), "./random"),
    ],
)
def test_where_weights_come_from_has_one_written_form(given, source):
    assert weights_source(given) == source == weights_source(source)


@pytest.mark.parametrize("given", ["", "  ", None, 1])
def test_what_is_no_source_of_weights_is_refused_with_all_that_are(given):
    with pytest.raises(PDCError, match=r"shipped.*random.*torchvision.*path"):
        weights_source(given)


def test_words_and_their_synonyms_load_the_same_weights():
    for word, synonym in (("shipped", True), ("random", False)):
        one, other = (load_model("resnet20", weights=w, seed=3).state_dict() for w in (word, synonym))
        assert all(torch.equal(one[name], other[name]) for name in one)
    shipped, default = load_model("resnet20", weights="shipped"), load_model("resnet20")
    assert torch.equal(shipped.conv1.weight, default.conv1.weight)
    assert not torch.equal(shipped.conv1.weight, load_model("resnet20", weights="random").conv1.weight)


def test_no_weights_for_a_pair_is_one_error_with_both_ways_out():
    with pytest.raises(PDCError, match=r"resnet56 on cifar10.*weights=.random.*weights=PATH"):
        load_model("resnet56", data="cifar10")


# Checkpoints


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


WRITERS: dict[str, Callable[[Path, dict], Path]] = {
    "plain": lambda folder, state: saved(folder / "a.pt", state),
    "legacy": lambda folder, state: (
        torch.save(state, folder / "a.th", _use_new_zipfile_serialization=False) or folder / "a.th"
    ),
    "container": lambda folder, state: saved(folder / "a.pth", {"epoch": 3, "state_dict": state}),
    "parallel": lambda folder, state: saved(
        folder / "a.th", {"best_prec1": 91.0, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    ),
    "compiled": lambda folder, state: saved(folder / "a.pt", {f"_orig_mod.{k}": v for k, v in state.items()}),
    "safetensors": lambda folder, state: save_file(state, folder / "a.safetensors") or folder / "a.safetensors",
    "without counters": lambda folder, state: saved(
        folder / "a.pt", {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    ),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("as_text", [True, False])
def test_every_common_layout_loads_to_the_same_function(tmp_path, write, as_text):
    original = load_model("resnet20", weights=False, seed=1)
    path = write(tmp_path, original.state_dict())
    loaded = load_model("resnet20", weights=str(path) if as_text else path)
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(original(x), loaded(x))
    assert not loaded.training


def broken(state: dict, **changes: object) -> dict:
    return {**state, **{key.replace("__", "."): value for key, value in changes.items()}}


WRONG_STATES: dict[str, tuple[Callable[[dict], object], str]] = {
    "classes": (
        lambda s: broken(s, linear__weight=torch.zeros(100, 64)),
        r"a.pt is for 100 classes \(the outputs of linear\), but digits has 10",
    ),
    "missing": (
        lambda s: {k: v for k, v in s.items() if "layer1" not in k or "weight" not in k},
        r"12 of the network's tensors missing \(layer1.0.conv1.weight, .*, \.\.\.\)",
    ),
    "unexpected": (lambda s: broken(s, fc__weight=torch.zeros(1)), r"1 unexpected \(fc.weight\)"),
    "nan": (lambda s: broken(s, bn1__bias=torch.full((16,), float("nan"))), "bn1.bias .* not finite"),
    "infinity": (lambda s: broken(s, bn1__bias=torch.full((16,), float("inf"))), "bn1.bias .* not finite"),
    "overflow": (
        lambda s: broken(s, bn1__bias=torch.full((16,), 1e300, dtype=torch.float64)),
        "bn1.bias .* too large",
    ),
    "negative variance": (
        lambda s: broken(s, bn1__running_var=-torch.ones(16)),
        "bn1.running_var .* negative",
    ),
    "integers": (lambda s: broken(s, bn1__bias=torch.zeros(16, dtype=torch.int64)), "bn1.bias has type"),
    "complex": (lambda s: broken(s, bn1__bias=torch.zeros(16, dtype=torch.complex64)), "bn1.bias has type"),
    "number": (lambda s: broken(s, bn1__bias=3), "'bn1.bias' is int, not a tensor"),
    "sparse": (lambda s: broken(s, bn1__bias=torch.zeros(16).to_sparse()), "bn1.bias is a sparse"),
    "nested": (lambda s: broken(s, bn1__bias=torch.nested.nested_tensor([torch.ones(2)])), "bn1.bias is a sparse"),
    # 160 GB of memory from a file of 2 kB
    "repeated": (lambda s: broken(s, bn1__bias=torch.zeros(1).expand(200_000, 200_000)), "40,000,000,000 values"),
    "tiny NaN": (lambda s: broken(s, bn1__bias=torch.full((16,), torch.nan).to(torch.float8_e5m2)), "bn1.bias in"),
    "list": (lambda s: list(s.values()), "holds list, not the named tensors"),
    "tensor": (lambda s: torch.zeros(3), "holds Tensor, not the named tensors"),
    "empty": (lambda s: {}, "not the named tensors"),
    "empty container": (lambda s: {"state_dict": {}}, "not the named tensors"),
}


@pytest.mark.parametrize(("change", "message"), WRONG_STATES.values(), ids=WRONG_STATES)
def test_every_wrong_checkpoint_has_its_message(tmp_path, random20, change, message):
    path = saved(tmp_path / "a.pt", change(random20.state_dict()))
    with pytest.raises(PDCError, match=message):
        load_model("resnet20", weights=path)


def test_variances_may_be_zero_and_not_negative():
    model, norm = torch.nn.Sequential(torch.nn.BatchNorm2d(2)), "0.running_var"
    load_state_(model, {**model.state_dict(), norm: torch.tensor([0.0, 1.0])}, "file")
    assert model[0].running_var.tolist() == [0.0, 1.0]
    with pytest.raises(PDCError, match="negative variances"):
        load_state_(model, {**model.state_dict(), norm: torch.tensor([-1e-9, 1.0])}, "file")


@pytest.mark.parametrize("faults", list(itertools.product([False, True], repeat=3)))
def test_a_checkpoint_matches_as_a_whole_if_nothing_is_missing_unexpected_or_misshapen(faults):
    missing, unexpected, misshapen = faults
    state = torch.nn.Linear(3, 2).state_dict()
    if missing:
        del state["bias"]
    if unexpected:
        state["scale"] = torch.ones(2)
    if misshapen:
        state["weight"] = torch.ones(2, 4)
    assert compare_state(torch.nn.Linear(3, 2), state).whole is not any(faults)


def test_a_checkpoint_that_does_not_fit_leaves_the_network_unchanged(random20):
    model = load_model("resnet20", weights=False, seed=9)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    wrong = broken(random20.state_dict(), linear__bias=torch.zeros(11))
    with pytest.raises(PDCError):
        load_state_(model, wrong, "wrong")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


class Trap:
    """A pickle that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("suffix", ["pt", "th", "safetensors"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, new_format, suffix):
    path, sprung = tmp_path / f"a.{suffix}", tmp_path / "sprung"
    torch.save({"state_dict": {}, "trap": Trap(sprung)}, path, _use_new_zipfile_serialization=new_format)
    with pytest.raises(PDCError, match="not a complete safetensors file" if suffix == "safetensors" else "can run"):
        load_model("resnet20", weights=path)
    assert not sprung.exists()


def test_a_whole_pickled_network_is_refused_with_the_way_out(tmp_path, random20):
    path = saved(tmp_path / "a.pt", random20)
    with pytest.raises(PDCError, match=r"(?s)was not opened.*torch.save\(.*saved.state_dict\(\), .*a-weights.pt"):
        read_checkpoint(path)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_missing_empty_and_foreign_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    with pytest.raises(PDCError, match="there is no checkpoint at"):
        load_model("resnet20", weights=path)
    for content in (b"", b"hello, this is text", bytes(100), b"PK\x03\x04" + bytes(50), b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(PDCError, match="a." + suffix):
            read_checkpoint(path)
    with pytest.raises(PDCError, match="there is no checkpoint at"):
        read_checkpoint(tmp_path)


@settings(max_examples=40, deadline=None)
@given(layout=st.sampled_from(["plain", "legacy", "safetensors"]), data=st.data())
def test_a_file_cut_anywhere_is_refused(tmp_path_factory, layout, data):
    state = {"weight": torch.ones(4, 3), "bias": torch.zeros(4)}
    path = WRITERS[layout](tmp_path_factory.mktemp("cut"), state)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(PDCError):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(max_examples=100, deadline=None)
@given(layout=st.sampled_from(["plain", "legacy", "safetensors"]), data=st.data())
def test_damaged_bytes_never_escape_as_another_error(tmp_path_factory, layout, data):
    state = {"weight": torch.ones(4, 3), "bias": torch.zeros(4)}
    path = WRITERS[layout](tmp_path_factory.mktemp("damaged"), state)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        read_checkpoint(path)
    except PDCError as error:
        assert str(path) in str(error)  # noqa: PT017


# Li et al. (arXiv 1608.08710, table 1) give 3.13e8 for VGG-16 at 32x32; the exact number is the sum over its layers.
@pytest.mark.parametrize("size", [8, 28, 32])
@pytest.mark.parametrize("name", ["vgg16_bn_small", "mobilenet_v2_small"])
def test_small_networks_take_small_images_of_any_channels(name, size):
    model = load_model(name, data="cifar10", weights=False)
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 10)
    assert build_model(name, 1, 7).eval()(torch.zeros(2, 1, size, size)).shape == (2, 7)


def test_vgg16_has_the_macs_of_the_literature():
    model = load_model("vgg16_bn_small", data="cifar10", weights=False)
    assert macs(model, torch.zeros(1, 3, 32, 32)) == 313_201_664


def test_mobilenet_v2_has_the_macs_counted_by_hand():
    from pdc_core.models.mobilenet import STAGES

    side, planes, total = 32, 32, 32 * 32 * 3 * 32 * 9
    for expansion, out, blocks, stride in STAGES:
        for i in range(blocks):
            hidden, after = planes * expansion, side // (stride if i == 0 else 1)
            total += side * side * planes * hidden * (expansion > 1) + after * after * hidden * (9 + out)
            side, planes = after, out
    total += side * side * 320 * 1280 + 1280 * 10
    model = load_model("mobilenet_v2_small", data="cifar10", weights=False)
    assert macs(model, torch.zeros(1, 3, 32, 32)) == total


def test_weights_that_come_with_pdc_were_taught_on_images_normalised_as_they_are_now() -> None:
    assert shipped_data("resnet20") == ("cifar10", "cifar100", "clothing", "digits", "fashion_mnist")
    for data in shipped_data("resnet20"):
        card, info = header(WEIGHTS / f"resnet20-{data}.safetensors")["card"], describe_data(data)
        assert (card["data"], tuple(card["shape"]), tuple(card["classes"])) == (data, info.shape, info.classes)
        assert (tuple(card["mean"]), tuple(card["std"])) == (info.mean, info.std)
        assert load_model("resnet20", data)(torch.zeros(2, *info.shape)).shape == (2, len(info.classes))
