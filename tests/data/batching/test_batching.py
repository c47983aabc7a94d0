"""Batches by token budget: every text once per epoch, within the budget, in an order given by seed and epoch."""

from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headway.data.batching import IntervalSampler, TextBatches, TokenBudgetSampler, pad
from headway.data.batching.datamodule import TextDataModule
from headway.data.tokenization.encoded import EncodedTexts

lengths = st.lists(st.integers(1, 60), max_size=120).map(np.array)
seeds = st.none() | st.integers(0, 2**31 - 1)
budgets = st.integers(1, 300)


def batches(some_lengths, budget, seed=None, epoch=0):
    sampler = TokenBudgetSampler(some_lengths, budget, seed)
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.fixture(scope="module")
def train(reviews):
    return EncodedTexts.open(reviews.layout.encoded / "train.arrow")


@pytest.fixture(scope="module")
def validation(reviews):
    return EncodedTexts.open(reviews.layout.encoded / "validation.arrow")


@given(lengths, budgets, seeds, st.integers(0, 50))
def test_every_index_occurs_once_per_epoch(some_lengths, budget, seed, epoch):
    cut = batches(some_lengths, budget, seed, epoch)
    assert sorted(index for batch in cut for index in batch) == list(range(len(some_lengths)))
    assert all(cut)


@given(lengths, budgets, seeds, st.integers(0, 50))
def test_a_padded_batch_is_within_the_budget_unless_a_single_text_exceeds_it(some_lengths, budget, seed, epoch):
    for batch in batches(some_lengths, budget, seed, epoch):
        assert len(batch) == 1 or len(batch) * some_lengths[batch].max() <= budget


@given(lengths, budgets, seeds, st.integers(0, 50))
def test_the_order_is_a_function_of_seed_and_epoch(some_lengths, budget, seed, epoch):
    reused = TokenBudgetSampler(some_lengths, budget, seed)
    for other in (epoch + 1, 0, epoch):  # whatever was iterated before
        reused.set_epoch(other)
        list(reused)
    assert list(reused) == batches(some_lengths, budget, seed, epoch)


@given(lengths, budgets, seeds, st.integers(0, 50))
def test_the_length_of_the_sampler_is_its_number_of_batches_in_the_epoch(some_lengths, budget, seed, epoch):
    sampler = TokenBudgetSampler(some_lengths, budget, seed)
    sampler.set_epoch(epoch)
    assert len(sampler) == len(list(sampler))


def test_another_epoch_or_seed_gives_another_order(train):
    first = batches(train.lengths, 1024, seed=1, epoch=0)
    assert first != batches(train.lengths, 1024, seed=1, epoch=1)
    assert first != batches(train.lengths, 1024, seed=2, epoch=0)


def test_no_two_epochs_batch_the_same_texts_together(ingested):
    words = np.array([len(text.split()) for text in pq.read_table(ingested.layout.raw / "rows.parquet")["text"].to_pylist()])
    together = [{frozenset(batch) for batch in batches(words, 512, seed=1, epoch=epoch)} for epoch in (0, 1)]
    assert len(together[0]) > 300
    assert len(together[0] & together[1]) < len(together[0]) / 100


def test_without_a_seed_every_epoch_is_sorted_by_length(train):
    fixed = batches(train.lengths, 1024, epoch=0)
    ascending = [train.lengths[index] for batch in fixed for index in batch]
    assert ascending == sorted(ascending)
    assert fixed == batches(train.lengths, 1024, epoch=5)


def test_shuffled_batches_are_not_sorted_by_length(train):
    longest = [max(train.lengths[batch]) for batch in batches(train.lengths, 1024, seed=1)]
    assert longest != sorted(longest)


def test_real_texts_are_batched_with_little_padding(train):
    cut = batches(train.lengths, 2048, seed=1)
    padded = sum(len(batch) * train.lengths[batch].max() for batch in cut)
    assert padded < 1.25 * train.lengths.sum()
    arbitrary = np.random.default_rng(0).permutation(len(train))[: 100 * (len(train) // 100)].reshape(-1, 100)
    unsorted = sum(len(rows) * train.lengths[rows].max() for rows in arbitrary)
    assert padded < unsorted / 1.5


def test_batches_are_nearly_full(train):
    budget = 2048
    cut = batches(train.lengths, budget, seed=1)
    assert len(cut) <= 1.5 * train.lengths.sum() / budget + 1


def test_padding_appends_zeros():
    padded = pad([np.array([5, 6, 7], np.int32), np.array([8], np.int32)])
    assert padded.dtype == torch.int64
    assert padded.tolist() == [[5, 6, 7], [8, 0, 0]]


@given(st.lists(st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=9), min_size=1, max_size=9))
def test_padding_loses_no_token(texts):
    padded = pad([np.array(text, np.int32) for text in texts])
    assert padded.shape == (len(texts), max(map(len, texts)))
    assert [row[row > 0].tolist() for row in padded] == texts


def test_a_batch_of_real_texts_has_their_labels(train):
    indices = [3, 1, 100]
    tokens, labels = TextBatches(train)[indices]
    assert labels.dtype == torch.int64
    assert labels.tolist() == [int(train.labels[index]) for index in indices]
    for row, index in enumerate(indices):
        assert tokens[row, : train.lengths[index]].tolist() == train[index].tolist()
        assert not tokens[row, train.lengths[index] :].any()


def test_the_validation_loader_yields_every_text_once_in_a_fixed_order(train, validation):
    data = TextDataModule(train, validation, max_length=512, seed=1)
    served = [[(tokens.tolist(), labels.tolist()) for tokens, labels in data.val_dataloader()] for _ in range(2)]
    assert served[0] == served[1]
    assert sum(len(labels) for _, labels in served[0]) == len(validation)


def test_steps_counts_the_batches_of_all_epochs(train, validation):
    data = TextDataModule(train, validation, max_length=512, seed=1)
    steps = [len(batches(train.lengths, 60, seed=1, epoch=epoch)) for epoch in range(5)]
    assert len(set(steps)) > 1
    assert data.steps(60, 5) == sum(steps)


def test_loading_batches_does_not_change_the_random_state_of_training(train, validation):
    data = TextDataModule(train, validation, max_length=512, seed=1)
    data.follow(SimpleNamespace(tokens_per_batch=512, steps=9, evaluation_steps=3))
    before = torch.random.get_rng_state()
    for loader in (data.train_dataloader(), data.val_dataloader()):
        next(iter(loader))
    assert torch.equal(torch.random.get_rng_state(), before)


@given(lengths, st.integers(1, 5), st.integers(0, 3))
def test_processes_share_an_epoch_in_equal_numbers_of_batches(some_lengths, world_size, epoch):
    def share_of(rank, n):
        sampler = TokenBudgetSampler(some_lengths, 64, 1, rank, n)
        sampler.set_epoch(epoch)
        assert len(sampler) == len(list(sampler))
        return list(sampler)

    alone = share_of(0, 1)
    shares = [share_of(rank, world_size) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    taken = [batch for share in shares for batch in share]
    assert {tuple(batch) for batch in taken} == {tuple(batch) for batch in alone}
    assert len(taken) - len(alone) < world_size


@given(lengths.filter(len), st.integers(1, 3), st.integers(1, 40), st.integers(1, 120), st.data())
def test_intervals_cut_the_epochs_that_follow_one_another(some_lengths, world_size, interval, steps, drawn):
    rank = drawn.draw(st.integers(0, world_size - 1))

    def epochs():
        return TokenBudgetSampler(some_lengths, 64, 1, rank, world_size)

    endless, sampler = [], epochs()
    while len(endless) < steps:
        endless += list(sampler)
        sampler.set_epoch(sampler.epoch + 1)
    numbers = range(-(-steps // interval) + 1)
    for order in (numbers, drawn.draw(st.permutations(numbers))):  # one after the other, or as after a resume
        intervals = IntervalSampler(epochs(), interval, steps)
        for number in order:
            intervals.set_epoch(number)
            expected = endless[:steps][number * interval : (number + 1) * interval]
            assert list(intervals) == expected
            assert len(intervals) == len(expected)
