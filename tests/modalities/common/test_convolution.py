"""Convolutions on maps of which one column is left: right, and the same every time.

On a CPU in bf16 oneDNN reads memory there that nobody wrote; without bf16 units the tests compare
two ways to the same sum.
"""

import math
from typing import Any, TypeAlias

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from modalities.audio.network.encoder import build
from modalities.common.network.convolution import WORTH, Conv, ConvTranspose, careful

Convolution: TypeAlias = nn.Conv2d | nn.ConvTranspose2d


def soil() -> None:
    """What memory is handed out next holds no zeros."""
    old = [torch.full((1 << power,), float("nan")) for power in range(8, 22) for _ in range(2)]
    del old


def found(conv: Convolution, x: torch.Tensor, *, low: bool) -> list[torch.Tensor]:
    """The output and the gradients of the input and the weights for a gradient of cosines."""
    x = x.clone().requires_grad_()
    conv.weight.grad = None
    soil()
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        y = conv(x)
    given = torch.arange(y.numel()).cos().view(y.shape)
    soil()
    y.backward(given.to(y.dtype))
    assert x.grad is not None and conv.weight.grad is not None
    return [y.detach().float(), x.grad, conv.weight.grad]


def check(careful: Convolution, plain: Convolution, x: torch.Tensor) -> None:
    """In float32 as torch has it; in bf16 near that, and the same five times."""
    right = found(plain, x, low=False)
    for mine, true in zip(found(careful, x, low=False), right, strict=True):
        torch.testing.assert_close(mine, true, rtol=1e-4, atol=1e-4)
    first, *others = [found(careful, x, low=True) for _ in range(5)]
    for other in others:
        assert all(torch.equal(one, two) for one, two in zip(first, other, strict=True))
    for one, true in zip(first, right, strict=True):
        assert (one - true).norm() < 0.02 * true.norm()


def operations(conv: Convolution, x: torch.Tensor) -> list[Any]:
    """What torch did for the output."""
    with torch.profiler.profile() as seen:
        conv(x)
    return list(seen.events() or [])


def multiplied(conv: Convolution, x: torch.Tensor) -> int:
    """Multiplications and additions for the output, and for its gradients."""
    with FlopCounterMode(display=False) as counter:
        conv(x.clone().requires_grad_()).sum().backward()
    return counter.get_total_flops()


@pytest.mark.slow
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (4, 2, 1), (5, 2, 2), (7, 2, 3)]
)
def test_one_column_is_right_and_the_same_every_time(
    kernel: int, stride: int, padding: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    narrow = Conv(64, 128, kernel, stride, padding, bias=False).to(memory_format=layout)
    plain = nn.Conv2d(64, 128, kernel, stride, padding, bias=False)
    plain.load_state_dict(narrow.state_dict())
    for height in (4, 8):
        for width in (1, 2, 3, 4):
            if width + 2 * padding < kernel:
                continue
            x = torch.randn(16, 64, height, width).contiguous(memory_format=layout)
            check(narrow, plain, x)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 2), (4, 4)])
def test_tiny_maps_are_right_and_the_same(size: tuple[int, int]) -> None:
    """Of tiles a few pixels wide nothing but a pixel is left for the last stages."""
    torch.manual_seed(0)
    narrow, plain = (each(128, 256, 3, 2, 1, bias=False) for each in (Conv, nn.Conv2d))
    plain.load_state_dict(narrow.state_dict())
    x = torch.randn(288, 128, *size).contiguous(memory_format=torch.channels_last)
    check(narrow, plain, x)


@pytest.mark.parametrize("height", [1, 2, 5])
def test_one_column_is_spread_right(height: int) -> None:
    torch.manual_seed(0)
    narrow, plain = (each(128, 64, 4, 2, 1) for each in (ConvTranspose, nn.ConvTranspose2d))
    plain.load_state_dict(narrow.state_dict())
    for width in (1, 2):
        x = torch.randn(16, 128, height, width)
        check(narrow, plain, x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [
        (3, 1, 1, (1, 1)), (3, 1, 1, (2, 2)), (3, 1, 1, (1, 2)), (3, 2, 1, (2, 2)),
        (1, 1, 0, (1, 1)), (1, 2, 0, (1, 1)), (5, 1, 2, (3, 2)), (7, 2, 3, (4, 3)),
        ((3, 1), (2, 1), (1, 0), (2, 1)), ((3, 5), 1, (1, 2), (2, 3)), (4, 1, 0, (4, 4)),
    ],
)  # fmt: skip
def test_maps_below_one_kernel_are_one_product(
    kernel: Any, stride: Any, padding: Any, size: tuple[int, int], layout: torch.memory_format
) -> None:
    """Where every place meets every other: right, with and without a bias, and less to multiply."""
    torch.manual_seed(0)
    x = torch.randn(WORTH, 24, *size).contiguous(memory_format=layout)
    for bias in (False, True):
        mine, plain = (
            each(24, 40, kernel, stride, padding, bias=bias).to(memory_format=layout)
            for each in (Conv, nn.Conv2d)
        )
        plain.load_state_dict(mine.state_dict())
        check(mine, plain, x)
    spared = math.prod(size) < math.prod(mine.kernel_size)
    assert (multiplied(mine, x) < multiplied(plain, x)) == spared
    assert multiplied(mine, x) <= multiplied(plain, x)
    assert {m.name for m in operations(mine, x)} & {"aten::addmm", "aten::mm"}


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [(3, 1, 1, (3, 3)), (3, 1, 1, (2, 3)), (3, 2, 1, (3, 2)), (1, 1, 0, (2, 2)), (2, 2, 0, (2, 3))],
)
def test_maps_above_one_kernel_are_convolved(
    kernel: int, stride: int, padding: int, size: tuple[int, int]
) -> None:
    """Some place does not meet some other; so are small batches, and all outside training."""
    torch.manual_seed(0)
    mine = Conv(24, 40, kernel, stride, padding)
    plain = nn.Conv2d(24, 40, kernel, stride, padding)
    plain.load_state_dict(mine.state_dict())
    x = torch.randn(WORTH, 24, *size)
    check(mine, plain, x)
    tiny = torch.randn(WORTH, 24, 1, 1)
    small = Conv(24, 40, 3, 1, 1)
    for conv, map_ in ((mine, x), (small, tiny[1:]), (small.eval(), tiny)):
        names = {m.name for m in operations(conv, map_)}
        assert "aten::convolution" in names and not names & {"aten::addmm", "aten::mm"}


def test_a_map_that_is_too_small_is_refused_as_torch_refuses_it() -> None:
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        Conv(4, 4, 5)(torch.zeros(WORTH, 4, 2, 2))


def test_other_convolutions_are_as_torch_has_them() -> None:
    """Strings for padding, dilation, other strides, groups, a bias."""
    torch.manual_seed(0)
    x = torch.randn(2, 8, 5, 3)
    for options in (
        {"padding": "same"}, {"padding": 2, "dilation": 2}, {"padding": 1, "stride": 3},
        {"padding": 1, "stride": (2, 3), "groups": 4},
    ):  # fmt: skip
        mine = Conv(8, 8, 3, **options)  # type: ignore[arg-type]
        plain = nn.Conv2d(8, 8, 3, **options)  # type: ignore[arg-type]
        plain.load_state_dict(mine.state_dict())
        torch.testing.assert_close(mine(x), plain(x))


def test_other_transposed_convolutions_are_as_torch_has_them() -> None:
    """Nothing left of the kernel, an output of another size, dilation, groups."""
    torch.manual_seed(0)
    x = torch.randn(2, 8, 5, 1)
    cases: list[tuple[int, dict[str, Any], list[int] | None]] = [
        (4, {"padding": (1, 2), "output_padding": 1}, None),
        (2, {"dilation": 2}, None),
        (4, {"padding": 1}, [11, 3]),
        (4, {"padding": 1, "groups": 4}, None),
    ]
    for kernel, options, size in cases:
        mine = ConvTranspose(8, 8, kernel, 2, **options)
        plain = nn.ConvTranspose2d(8, 8, kernel, 2, **options)
        plain.load_state_dict(mine.state_dict())
        torch.testing.assert_close(mine(x, size), plain(x, size))


def test_networks_are_made_careful_in_place() -> None:
    """All but those that pad in a way of their own."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding_mode="reflect"))
    assert careful(model) is model
    assert type(model[0]) is Conv and type(model[1]) is nn.Conv2d
    sounds = build("small")
    assert all(isinstance(m, Conv) for m in sounds.modules() if isinstance(m, nn.Conv2d))
