"""Rows become batches: where they go, and in what order."""

from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as reference
from hypothesis import given
from hypothesis import strategies as st

from shared.messaging.record_batches import murmur2, partition_of

_theirs = DefaultPartitioner()


@given(st.binary(max_size=80))
def test_the_hash_is_that_of_kafkas_own_clients(data: bytes) -> None:
    assert murmur2(data) == reference(data)


@given(st.text(max_size=40), st.integers(1, 50))
def test_a_key_goes_where_other_clients_would_put_it(key: str, partitions: int) -> None:
    places = list(range(partitions))
    assert partition_of(key.encode(), partitions) == _theirs(key.encode(), places, places)
