"""Partitions: every slice answered for once, the published patches, ends and lanes, and that (seed, step) decide."""

from collections import Counter

import pytest

from coslice.errors import CosliceError
from coslice.priors.partitions import ENDS, Partition, Patch, RandomPartitions, adjacency, cross, windows

COUNTS = (1, 2, 3, 4, 7, 8, 9, 10, 17, 18, 19, 40)


def every_partition():
    for ends in ENDS:
        for count in COUNTS:
            for size in (2, 3, 4, 5):
                for offset in range(size):
                    yield count, size, ends, adjacency(count, size, offset, ends)
                yield count, size, ends, cross(count, size, ends)
                if size % 2:
                    yield count, size, ends, windows(count, size, ends)


def slices(partition: Partition) -> list[tuple[int, ...]]:
    return [patch.slices for patch in partition.patches]


def answered(patch: Patch) -> list[int]:
    return [patch.slices[place] for place in patch.own]


def test_every_slice_is_answered_for_exactly_once_and_no_other_is_seen():
    for count, size, ends, partition in every_partition():
        answers = Counter(i for patch in partition.patches for i in answered(patch))
        assert answers == Counter(range(count)), (count, size, ends)
        assert all(len(patch.slices) == size and patch.own for patch in partition.patches)
        assert all(0 <= i < count for patch in partition.patches for i in patch.slices)


def test_slices_of_a_patch_are_a_gap_apart_where_none_is_repeated():
    for count, size, ends, partition in every_partition():
        for patch in partition.patches:
            steps = {b - a for a, b in zip(patch.slices, patch.slices[1:], strict=False)}
            long_enough = count > (size - 1) * (size if patch.gap > 1 else 1) + (patch.gap - 1)
            if ends == "overlap" and long_enough:
                assert steps == {patch.gap}, (count, size, patch)
            else:
                assert all(0 <= step <= patch.gap for step in steps)
            assert patch.gap in (1, size)


def test_the_published_partitions():
    """Song et al., section 3, who count from 1."""
    assert slices(adjacency(9, 3)) == [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
    assert slices(cross(9, 3)) == [(0, 3, 6), (1, 4, 7), (2, 5, 8)]
    second = [(9, 12, 15), (10, 13, 16), (11, 14, 17)]
    assert slices(cross(18, 3)) == [(0, 3, 6), (1, 4, 7), (2, 5, 8), *second]
    assert {patch.gap for patch in cross(18, 3).patches} == {3}
    assert {patch.gap for patch in adjacency(18, 3, 1).patches} == {1}
    for partition in (adjacency(18, 3), cross(18, 3)):
        assert all(patch.own == (0, 1, 2) for patch in partition.patches)


@pytest.mark.parametrize(("count", "size", "offset"), [(9, 3, 0), (9, 3, 1), (10, 3, 2), (11, 3, 1), (13, 4, 3)])
def test_at_the_ends_a_whole_patch_is_seen_and_whoever_is_inside_wins(count, size, offset):
    """As the published code has it: the first and last patch are computed inside, then the others written over them."""
    by_whom = dict.fromkeys(range(count), (count - size, "last"))
    by_whom |= dict.fromkeys(range(offset), (0, "first"))
    for begin in range(offset, count - size + 1, size):
        by_whom |= dict.fromkeys(range(begin, begin + size), (begin, "inside"))
    ours = {}
    for patch in adjacency(count, size, offset).patches:
        for place in patch.own:
            ours[patch.slices[place]] = patch.slices
    expected = {i: tuple(range(begin, begin + size)) for i, (begin, _) in by_whom.items()}
    assert ours == expected


def test_jumping_patches_at_the_end_are_moved_by_whole_gaps():
    """(9, 12, 15) of 11 slices is (3, 6, 9), which answers for 9 alone."""
    last = [(patch.slices, answered(patch)) for patch in cross(11, 3).patches[3:]]
    assert last == [((3, 6, 9), [9]), ((4, 7, 10), [10])]


def test_repetition_is_the_partition_of_a_volume_padded_with_its_first_and_last_slice():
    for count, size in ((7, 3), (8, 3), (10, 4), (11, 3), (2, 3)):
        padded = [*[0] * size, *range(count), *[count - 1] * size * size]
        for offset in range(size):
            first = offset - size if offset else 0
            expected = [tuple(padded[size + i : 2 * size + i]) for i in range(first, count, size)]
            assert slices(adjacency(count, size, offset, "repeat")) == expected
        starts = [b + j for b in range(0, count, size**2) for j in range(size) if b + j < count]
        expected = [tuple(padded[size + i : size + i + size * size : size]) for i in starts]
        assert slices(cross(count, size, "repeat")) == expected
    assert slices(windows(4, 3, "repeat")) == [(0, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 3)]
    assert all(patch.own == (1,) for patch in windows(4, 3, "repeat").patches)
    # Too short for a patch, a stack is repeated whatever was asked.
    assert slices(adjacency(2, 3)) == [(0, 1, 1)]


def test_windows_are_centred_but_at_the_ends():
    """DiffusionBlend, Algorithm 2: j neighbours on each side."""
    patches = windows(8, 5).patches
    assert [patch.slices[0] for patch in patches] == [0, 0, 0, 1, 2, 3, 3, 3]
    assert [answered(patch) for patch in patches] == [[i] for i in range(8)]
    assert [patch.own for patch in patches[2:6]] == [(2,)] * 4


def test_slices_of_a_patch_are_of_different_lanes():
    for count, size, _, partition in every_partition():
        for patch in partition.patches:
            seen = sorted(set(patch.slices))
            whole = {b - a for a, b in zip(seen, seen[1:], strict=False)} <= {patch.gap}
            if whole:
                assert len({partition.lanes[i] for i in seen}) == len(seen), (count, size, patch)
        assert {partition.lanes[i] for i in range(count)} <= set(range(partition.lanes.count))


def test_the_patches_of_a_block_lie_alike_in_the_lanes():
    """Place m of every patch is in one lane: what is smooth along a lane is smooth from patch to patch."""
    for offset in range(3):
        whole = [patch for patch in adjacency(30, 3, offset).patches if len(patch.own) == 3]
        lanes = adjacency(30, 3, offset).lanes
        assert {tuple(lanes[i] for i in patch.slices) for patch in whole} == {(0, 1, 2)}
    jumping = cross(27, 3)
    assert {tuple(jumping.lanes[i] for i in patch.slices) for patch in jumping.patches} == {(0, 1, 2)}


def test_a_partition_is_a_function_of_seed_and_step():
    ours, again, other = (RandomPartitions(3, seed) for seed in (5, 5, 6))
    steps = range(40)
    assert [ours(k, 20) for k in reversed(steps)] == [again(k, 20) for k in reversed(steps)]
    assert [ours(k, 20) for k in steps] != [other(k, 20) for k in steps]
    # The offset is of the step, whatever the height of the stack.
    assert [ours(k, 20).lanes for k in steps] == [ours(k, 55).lanes for k in steps]


def test_random_patches_let_all_neighbours_meet_and_fixed_ones_never_across_a_border():
    def meetings(partitions):
        together = {tuple(patch.slices) for k in range(60) for patch in partitions(k, 12).patches if patch.gap == 1}
        return {(i, i + 1) for some in together for i in range(11) if {i, i + 1} <= set(some)}

    every = {(i, i + 1) for i in range(11)}
    assert meetings(RandomPartitions(3, 0)) == every
    assert meetings(RandomPartitions(3, 0, cross_every=0)) == every
    assert meetings(RandomPartitions(3, 0, random=False)) == every - {(2, 3), (5, 6), (8, 9)}


def test_every_offset_is_as_likely():
    partitions = RandomPartitions(3, 1, cross_every=0)
    found = Counter(partitions(k, 12).lanes.offset for k in range(900))
    assert set(found) == {0, 1, 2} and all(abs(n - 300) < 5 * (900 * 2 / 9) ** 0.5 for n in found.values())


@pytest.mark.parametrize("every", [0, 1, 2, 3, 7])
def test_jumping_slices_come_as_often_as_asked(every):
    partitions = RandomPartitions(3, 0, every)
    jumping = [k for k in range(21) if partitions(k, 18).patches[0].gap == 3]
    assert jumping == ([] if every == 0 else list(range(0, 21, every)))


def test_ends_reach_the_patches():
    for k in range(6):
        given = RandomPartitions(3, 2, ends="repeat")(k, 10)
        offset = given.lanes.offset
        assert given == (cross(10, 3, "repeat") if k % 2 == 0 else adjacency(10, 3, offset, "repeat"))


def test_partitions_that_cannot_be_are_refused():
    with pytest.raises(CosliceError, match="patches of 1 slice"):
        RandomPartitions(1)
    with pytest.raises(CosliceError, match="cross_every: -1"):
        RandomPartitions(3, cross_every=-1)
    with pytest.raises(CosliceError, match="a prior of 4 slices was given, but a window has a middle"):
        windows(9, 4)
    with pytest.raises(CosliceError, match='ends: "wrap" was given, overlap or repeat'):
        adjacency(9, 3, ends="wrap")
    with pytest.raises(CosliceError, match='ends: "wrap" was given'):
        RandomPartitions(3, ends="wrap")
