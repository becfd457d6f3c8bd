"""Windows, masks and window attention against a reference that never pads, rolls or masks."""

from __future__ import annotations

import itertools

import pytest
import torch

from scalefuse.networks.hifuse.global_branch import GlobalStage, WindowAttention
from scalefuse.networks.hifuse.windows import (
    MAX_CACHED_MASKS,
    MaskCache,
    attention_mask,
    merge_windows,
    partition_windows,
    relative_position_index,
)


def attention_over_groups(attention: WindowAttention, x, window: int, shift: tuple[int, int]):
    """Attention of ``(H, W, C)`` by its definition.

    Tokens share a window if they lie in one cell of a grid that starts at ``shift``; the biases follow from
    the distances. There is no padding, so no padded token can have an influence.
    """
    height, width, channels = x.shape
    heads, depth = attention.num_heads, channels // attention.num_heads
    cells: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for r, c in itertools.product(range(height), range(width)):
        cells.setdefault(((r - shift[0]) // window, (c - shift[1]) // window), []).append((r, c))
    out = torch.zeros_like(x)
    for tokens in cells.values():
        rows = torch.tensor([r for r, _ in tokens])
        columns = torch.tensor([c for _, c in tokens])
        query, key, value = attention.qkv(x[rows, columns]).view(-1, 3, heads, depth).unbind(1)
        entry = (
            (rows[:, None] - rows + window - 1) * (2 * window - 1) + columns[:, None] - columns + window - 1
        )
        scores = torch.einsum("qhd,khd->hqk", query, key) / depth**0.5
        scores = scores + attention.relative_position_bias[entry].permute(2, 0, 1)
        joined = torch.einsum("hqk,khd->qhd", scores.softmax(-1), value).reshape(-1, channels)
        out[rows, columns] = attention.projection(joined)
    return out


def blocks_over_groups(stage: GlobalStage, x, shift: tuple[int, int]):
    """The blocks of a stage on ``(H, W, C)``, by the definition above."""
    for number, block in enumerate(stage.blocks):
        grid = shift if number % 2 else (0, 0)
        attended = attention_over_groups(block.attention, block.norm(x), stage.window_size, grid)
        x = x + torch.nn.functional.gelu(block.linear(attended))
    return x


def make_stage(window: int, shift_single_window: bool = False) -> GlobalStage:
    torch.manual_seed(0)
    stage = GlobalStage(8, 2, window, shift_single_window, drop_path=(0.0, 0.0)).double().eval()
    for block in stage.blocks:
        torch.nn.init.normal_(block.attention.relative_position_bias)
        torch.nn.init.normal_(block.attention.qkv.weight)
    return stage


@pytest.mark.parametrize(
    ("size", "window", "shift"),
    [
        ((8, 8), 4, (2, 2)),  # whole windows
        ((7, 10), 4, (2, 2)),  # padded on both axes
        ((14, 14), 7, (3, 3)),
        ((9, 5), 4, (2, 2)),
        ((4, 9), 4, (0, 2)),  # one window covers the height: nothing to shift there
        ((3, 2), 4, (0, 0)),  # one window covers everything and is padded
        ((1, 1), 7, (0, 0)),
        ((5, 6), 1, (0, 0)),
    ],
)
def test_a_stage_equals_attention_without_padding(size, window, shift):
    stage = make_stage(window)
    x = torch.randn(2, *size, 8, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.stack([blocks_over_groups(stage, sample, shift) for sample in x])
        torch.testing.assert_close(stage(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [(7, 7), (5, 7), (7, 20)])
def test_a_single_window_can_be_shifted_as_in_the_released_program(size):
    stage = make_stage(7, shift_single_window=True)
    x = torch.randn(1, *size, 8, dtype=torch.float64)
    with torch.no_grad():
        shifted = blocks_over_groups(stage, x[0], (3, 3))
        torch.testing.assert_close(stage(x)[0], shifted, rtol=1e-10, atol=1e-10)
        unshifted = make_stage(7)(x)[0]
    assert (shifted - unshifted).abs().max() > 1e-3


def test_what_stands_in_the_padding_has_no_influence():
    attention = make_stage(4).blocks[0].attention
    windows = partition_windows(torch.randn(1, 8, 8, 8, dtype=torch.float64), 4)
    mask = attention_mask((6, 7), 4, (2, 2))
    position = (torch.arange(8) + 2) % 8
    real_HW = (position < 6)[:, None] & (position < 7)[None, :]
    real = partition_windows(real_HW[None, :, :, None], 4)[0, :, :, 0]
    disturbed = torch.where(real[None, :, :, None], windows, 1e6)
    with torch.no_grad():
        before, after = attention(windows, mask), attention(disturbed, mask)
    assert torch.equal(before[0][real], after[0][real])
    assert torch.isfinite(before).all()


def test_partition_and_merge_are_inverse():
    x = torch.randn(2, 6, 9, 5)
    windows = partition_windows(x, 3)
    assert windows.shape == (2, 6, 9, 5)
    assert torch.equal(windows[1, 4], x[1, 3:6, 3:6].reshape(9, 5))
    assert torch.equal(merge_windows(windows, 3, 6, 9), x)


def test_relative_position_index_numbers_offsets_row_by_row():
    index = relative_position_index(7)
    assert index.shape == (49, 49)
    assert index[0, 0] == index[24, 24] == 84  # no offset: the middle of 13 × 13
    assert index[48, 0] == 168
    assert index[0, 48] == 0
    assert index[0, 1] == 83
    assert len(index.unique()) == 169


def test_mask_of_a_whole_map_is_not_needed():
    assert attention_mask((14, 7), 7, (0, 0)) is None


def test_mask_is_symmetric_and_lets_every_token_see_itself():
    mask = attention_mask((9, 12), 7, (3, 3))
    assert mask.shape == (4, 49, 49)
    assert torch.equal(mask, mask.transpose(1, 2))
    assert mask.diagonal(dim1=1, dim2=2).all()


def test_masks_are_built_once_per_size(monkeypatch):
    built = []

    def counting(size, *rest):
        built.append(size)
        return attention_mask(size, *rest)

    monkeypatch.setattr("scalefuse.networks.hifuse.windows.attention_mask", counting)
    stage = make_stage(4)
    with torch.inference_mode():
        stage(torch.randn(1, 9, 9, 8, dtype=torch.float64))
    first = len(built)
    assert first == 2  # one with shift, one without
    stage(torch.randn(3, 9, 9, 8, dtype=torch.float64)).sum().backward()  # a mask from inference serves here
    assert len(built) == first
    stage(torch.randn(1, 5, 9, 8, dtype=torch.float64))
    assert len(built) == 2 * first


def test_the_cache_stays_small():
    cache = MaskCache(2)
    for side in range(1, 2 * MAX_CACHED_MASKS):
        cache.get((side, 3), (0, 0), torch.device("cpu"))
    assert len(cache._masks) == MAX_CACHED_MASKS
